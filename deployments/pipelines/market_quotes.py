#!/usr/bin/env python
"""Example pipeline: saves quotes of a list of symbols as Parquet files, repeatedly while the market is open.

Copy this file and `etrade_data.py`. Change `SCHEMA` and `_row`, which belong together, to the fields that you
need; those here suit shares and funds that are traded on an exchange. Keep the shape of the flow:

1. Outside market hours it completes at once, without any call. It knows the hours 09:30 to 16:00 US Eastern
   from Monday to Friday, but no holidays: on those, it reads the last close.
2. `etrade_client` comes next, and renews the token if needed. If a person must sign in, the pipeline ends
   here with the advice, before its first data call. It runs 79 times a day: `end_without_sign_in` lets the
   first of its scheduled runs fail, which alerts, and the others end quietly. `renew_access_token` would be a
   linked run of its own, and fail each time.
3. Each run writes one file, in a folder for each day (`date=2027-06-15/`), which pandas, Polars, DuckDB and
   Spark can read. If Prefect retries a run, it replaces only its own file.

It needs pyarrow.

Try it: `python deployments/pipelines/market_quotes.py`.
"""

import calendar
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
import pyarrow as pa  # type: ignore[import-untyped]
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pyarrow import parquet
from pydantic import BaseModel, ConfigDict, Field

from etrade_data import Document, data_call, exact, get_document
from prefect_etrade import SignInRequired, end_without_sign_in, etrade_client

EASTERN = ZoneInfo("America/New_York")
OPENS_AT = time(9, 30)
CLOSES_AT = time(16)

SYMBOLS_A_CALL = 25
"""E*TRADE leaves out further symbols; with `overrideSymbolCount=true` it reads 50."""

PLACES = Decimal("0.000001")
PRICE = pa.decimal128(18, 6)

SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("security_type", pa.string(), nullable=False),
        pa.field("read_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("quoted_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("last", PRICE),
        pa.field("bid", PRICE),
        pa.field("ask", PRICE),
        pa.field("open", PRICE),
        pa.field("high", PRICE),
        pa.field("low", PRICE),
        pa.field("previous_close", PRICE),
        pa.field("bid_size", pa.int64()),
        pa.field("ask_size", pa.int64()),
        pa.field("volume", pa.int64()),
    ]
)
"""The columns of every file; prices in dollars. Files with the same schema can be read together."""


class QuotesSummary(BaseModel):
    """What one run read and wrote."""

    model_config = ConfigDict(frozen=True)

    quotes: int = 0
    unknown_symbols: int = 0
    unread_symbols: int = 0
    """Of kinds that have other fields than `SCHEMA`, such as mutual funds."""
    file: str | None = None
    """The file with the quotes, within the folder; None if the market was closed."""


@flow(name="market-quotes", flow_run_name="market quotes")
def market_quotes(
    credentials: str = "etrade",
    symbols: Annotated[Sequence[str], Field(min_length=1)] = ("AAPL", "MSFT", "VTI"),
    folder: Path = Path("quotes"),
    only_in_market_hours: bool = True,
) -> QuotesSummary | State[QuotesSummary]:
    """Writes the quotes of these symbols to one Parquet file; outside market hours it ends without a call.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        symbols: The symbols, in any case; a symbol that is named twice is read once.
        folder: The folder of the day's folders, which are created if needed.
        only_in_market_hours: Do nothing outside 09:30 to 16:00 US Eastern on weekdays. Switch it off to try
            the pipeline in the evening.

    Returns:
        How many quotes were written, and where.

    Raises:
        ETradeError: As `etrade_client` raises; its text says what to do next. If nobody is signed in, only
            the first scheduled run of the day fails.
        DataCallFailed: E*TRADE returned no data; nothing was written.
    """
    read_at = now()
    if only_in_market_hours and not market_is_open(read_at):
        told = f"The market is closed: {read_at.astimezone(EASTERN):%A, %H:%M} US Eastern. No call was made."
        return Completed(message=told, data=QuotesSummary())
    try:
        with etrade_client(credentials) as client:
            answers = [read_quotes(client, batch) for batch in batches(symbols)]
    except SignInRequired as error:
        return end_without_sign_in(error)
    entries = [entry for answer in answers for entry in answer.get("QuoteData", [])]
    rows = [_row(entry, read_at) for entry in entries if "All" in entry]
    unread = [entry["Product"]["symbol"] for entry in entries if "All" not in entry]
    messages = [told for answer in answers for told in answer.get("Messages", {}).get("Message", [])]
    unknown = [told["description"] for told in messages]
    file = file_of_this_run(read_at)
    write_quotes(rows, folder / file)
    logger = get_run_logger()
    if unknown:
        logger.warning("E*TRADE gave no quote for %d symbols: %s.", len(unknown), "; ".join(unknown))
    if unread:
        logger.warning("Not written, because they have other fields: %s.", ", ".join(unread))
    saved_in = (folder / file).absolute()
    show_quotes(rows, saved_in)
    logger.info("Wrote %d quotes to %s.", len(rows), saved_in)
    return QuotesSummary(
        quotes=len(rows), unknown_symbols=len(unknown), unread_symbols=len(unread), file=str(file)
    )


def now() -> datetime:
    """The time by this machine's clock. A test replaces this function."""
    return datetime.now(UTC)


@data_call
def read_quotes(client: httpx.Client, symbols: Sequence[str]) -> Document:
    """E*TRADE's `QuoteResponse` for up to `SYMBOLS_A_CALL` symbols."""
    path = f"/v1/market/quote/{','.join(quote(symbol, safe=':') for symbol in symbols)}.json"
    response: Document = get_document(client, path, detailFlag="ALL").get("QuoteResponse", {})
    return response


@task(name="write-quotes", cache_policy=NO_CACHE, persist_result=False)
def write_quotes(rows: list[Document], file: Path) -> None:
    """Write the complete file at once: readers see all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Readers of a folder of Parquet files ignore names that begin with a dot.
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def show_quotes(rows: list[Document], file: Path) -> None:
    """Show the quotes as a table in the Prefect UI, which says where they are saved."""
    shown = ("symbol", "last", "bid", "ask", "volume", "quoted_at")
    table = [{name: None if row[name] is None else str(row[name]) for name in shown} for row in rows]
    create_table_artifact(table, key="market-quotes", description=f"{len(rows)} quotes, saved in `{file}`")


def market_is_open(at: datetime) -> bool:
    """Whether the market is open, to the minute: a run due at 16:00 begins a few seconds later."""
    eastern = at.astimezone(EASTERN)
    minute = eastern.time().replace(second=0, microsecond=0)
    return eastern.weekday() < calendar.SATURDAY and OPENS_AT <= minute <= CLOSES_AT


def batches(symbols: Sequence[str]) -> Iterator[list[str]]:
    """The symbols in as few calls as E*TRADE allows, each symbol once and in the order given."""
    wanted = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
    for start in range(0, len(wanted), SYMBOLS_A_CALL):
        yield wanted[start : start + SYMBOLS_A_CALL]


def file_of_this_run(read_at: datetime) -> Path:
    """The file of this run's quotes, such as `date=2027-06-15/20270615T1005-<id of the run>.parquet`.

    The name has the minute when the run was due, in US Eastern time, and the run's id. Both stay when Prefect
    retries the run, so it replaces its own file. The folder is the day of the quotes themselves.
    """
    due: datetime = flow_run.scheduled_start_time
    day = f"date={read_at.astimezone(EASTERN):%Y-%m-%d}"
    return Path(day, f"{due.astimezone(EASTERN):%Y%m%dT%H%M}-{flow_run.id}.parquet")


def _row(entry: Document, read_at: datetime) -> Document:
    """One row of `SCHEMA`."""
    fields = entry["All"]
    return {
        "symbol": entry["Product"]["symbol"],
        "security_type": entry["Product"]["securityType"],
        "read_at": read_at,
        "quoted_at": datetime.fromtimestamp(entry["dateTimeUTC"], UTC),
        "status": entry["quoteStatus"],
        "last": _price(fields.get("lastTrade")),
        "bid": _price(fields.get("bid")),
        "ask": _price(fields.get("ask")),
        "open": _price(fields.get("open")),
        "high": _price(fields.get("high")),
        "low": _price(fields.get("low")),
        "previous_close": _price(fields.get("previousClose")),
        "bid_size": fields.get("bidSize"),
        "ask_size": fields.get("askSize"),
        "volume": fields.get("totalVolume"),
    }


def _price(number: Any) -> Decimal | None:  # noqa: ANN401  # as in the document
    # Arrow refuses a number with more decimal places than its column has.
    price = exact(number)
    return None if price is None else price.quantize(PLACES)


if __name__ == "__main__":
    market_quotes()
