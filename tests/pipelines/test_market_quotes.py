"""The example pipeline `market-quotes`, on a real Prefect server and against the simulator."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from pyarrow import parquet

import market_quotes as pipeline
from etrade_data import Document
from etrade_simulator import Fault, Simulator
from etrade_simulator.sample_quotes import Price
from market_quotes import EASTERN, QuotesSummary, batches, market_is_open, market_quotes, write_quotes

RENEW = "/oauth/renew_access_token"
SYMBOLS = ("AAPL", "MSFT", "VTI")
SIXTY = [f"TEST{number}" for number in range(60)]

Statuses = Callable[..., list[int | None]]


@pytest.fixture(autouse=True)
def same_clock(quick: None, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline's clock is the simulator's."""
    monkeypatch.setattr(pipeline, "now", simulator.now)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the folder of each day will be."""
    return tmp_path / "quotes"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def rows(folder: Path) -> list[dict[str, object]]:
    """Every row of every file."""
    return [row for file in files(folder) for row in parquet.ParquetFile(file).read().to_pylist()]


def test_quotes_are_saved(simulator: Simulator, block: str, folder: Path, client: SyncPrefectClient) -> None:
    """A run saves its quotes, exact and typed, in one file that is named for its Eastern day and its run."""
    state = market_quotes(block, SYMBOLS, folder, return_state=True)
    run = client.read_flow_run(state.state_details.flow_run_id)
    due = f"{run.expected_start_time.astimezone(EASTERN):%Y%m%dT%H%M}"
    (file,) = files(folder)
    assert folder / "date=2027-06-15" / f"{due}-{run.id}.parquet" == file
    schema = parquet.read_schema(file)
    assert pipeline.SCHEMA == schema
    assert [] == [field.name for field in schema if pa.types.is_floating(field.type)]
    row, *others = rows(folder)
    assert list(SYMBOLS[1:]) == [each["symbol"] for each in others]
    price = Price.of("AAPL")
    last = Decimal(str(price.last))
    assert ("AAPL", "EQ", "REALTIME") == (row["symbol"], row["security_type"], row["status"])
    assert (last, last - Decimal("0.02"), last + Decimal("0.02")) == (row["last"], row["bid"], row["ask"])
    assert (Decimal(str(price.previous)), price.volume) == (row["previous_close"], row["volume"])
    assert (100, 200) == (row["bid_size"], row["ask_size"])
    assert row["low"] < row["open"] < row["high"]
    assert timedelta(0) <= simulator.now() - row["read_at"] < timedelta(minutes=1)
    assert timedelta(0) <= simulator.now() - row["quoted_at"] < timedelta(minutes=1)


def test_run_says_what_it_saved_and_where(
    simulator: Simulator,
    block: str,
    folder: Path,
    table: Callable[[str], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run's result, its log and its table in the Prefect UI say which quotes are in which file."""
    caplog.set_level(logging.INFO)
    summary = market_quotes(block, ["AAPL"], folder)
    (file,) = files(folder)
    assert QuotesSummary(quotes=1, unknown_symbols=0, file=str(file.relative_to(folder))) == summary
    assert f"Wrote 1 quotes to {file}." in caplog.messages
    (row,), said = table("market-quotes")
    assert ("AAPL", f"1 quotes, saved in `{file}`") == (row["symbol"], said)
    assert Decimal(str(Price.of("AAPL").last)) == Decimal(row["last"])


def test_a_mutual_fund_does_not_end_the_run(
    simulator: Simulator, block: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A quote with other fields than the files have is named in a warning; one that lacks some has nulls."""
    fund = {"MutualFund": {"netAssetValue": 12.3}, "Product": {"symbol": "VFIAX", "securityType": "MF"}}
    share = {"All": {"lastTrade": 1.23456789}, "Product": {"symbol": "AAPL", "securityType": "EQ"}}
    told = [{"dateTimeUTC": 1813075200, "quoteStatus": "CLOSING", **entry} for entry in (fund, share)]
    body = json.dumps({"QuoteResponse": {"QuoteData": told}})
    simulator.plant(Fault(status=200, body=body, content_type="application/json"), path="/VFIAX,AAPL.json")
    summary = market_quotes(block, ["VFIAX", "AAPL"], folder)
    assert (1, 1) == (summary.quotes, summary.unread_symbols)
    assert "Not written, because they have other fields: VFIAX." in caplog.messages
    (row,) = rows(folder)
    assert (Decimal("1.234568"), None, None) == (row["last"], row["bid"], row["bid_size"])


def test_run_that_is_run_again_replaces_its_file(
    simulator: Simulator, block: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fails after writing and is run again a minute later leaves only the later file."""
    attempts = []

    def write_then_fail_once(found: list[Document], file: Path) -> None:
        write_quotes(found, file)
        attempts.append(file)
        if len(attempts) == 1:
            simulator.advance(timedelta(minutes=1))
            raise OSError("planted")

    monkeypatch.setattr(pipeline, "write_quotes", write_then_fail_once)
    market_quotes.with_options(retries=1)(block, ["AAPL"], folder)
    assert [2, 1] == [len(attempts), len(rows(folder))]
    assert simulator.now() - rows(folder)[0]["read_at"] < timedelta(minutes=1)


def test_failed_write_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that breaks off leaves no file, under whatever name."""

    def half(table: pa.Table, where: Path) -> None:
        where.write_bytes(b"PAR1")
        raise OSError("planted")

    monkeypatch.setattr(parquet, "write_table", half)
    with pytest.raises(OSError, match="planted"):
        write_quotes.fn([], folder / "quotes.parquet")
    assert [] == files(folder)


def test_symbols_are_asked_for_in_batches(
    simulator: Simulator, block: str, folder: Path, data_calls: Statuses
) -> None:
    """Sixty symbols take three calls; a temporary failure of one is retried, and no other is made again."""
    busy = Fault(status=400, body="Number of requests exceeded the rate limit set")
    simulator.plant(busy, path=f"{','.join(SIXTY[25:50])}.json", times=2)
    assert 60 == market_quotes(block, SIXTY, folder).quotes
    assert [200, 400, 400, 200, 200] == data_calls()
    assert SIXTY == [row["symbol"] for row in rows(folder)]


@pytest.mark.parametrize(
    ("symbols", "asked"),
    [
        (SIXTY[:25], [SIXTY[:25]]),
        (SIXTY[:26], [SIXTY[:25], SIXTY[25:26]]),
        (["aapl", "MSFT ", "AAPL"], [["AAPL", "MSFT"]]),
    ],
)
def test_call_names_as_many_symbols_as_etrade_allows(symbols: list[str], asked: list[list[str]]) -> None:
    """Each call names 25 symbols, the last one the rest; another case or blanks make no other symbol."""
    assert asked == list(batches(symbols))


def test_unknown_symbol_is_reported_and_stops_nothing(
    simulator: Simulator, block: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A symbol that E*TRADE does not know is counted and named in a warning; the others are written."""
    summary = market_quotes(block, ["AAPL", "1BAD"], folder)
    assert (1, 1) == (summary.quotes, summary.unknown_symbols)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["E*TRADE gave no quote for 1 symbols: 1BAD is an invalid symbol."] == warnings


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2027-06-15T09:29:59", False),
        ("2027-06-15T09:30:00", True),
        ("2027-06-15T16:00:59", True),
        ("2027-06-15T16:01:00", False),
        ("2027-06-18T12:00:00", True),
        ("2027-06-19T12:00:00", False),
        ("2027-06-20T12:00:00", False),
        ("2027-12-15T09:29:59", False),  # in winter, an hour later in UTC
        ("2027-12-15T09:30:00", True),
    ],
)
def test_market_hours(at: str, is_open: bool) -> None:
    """The market is open from 09:30 to the minute of 16:00 US Eastern, Monday to Friday."""
    assert is_open == market_is_open(datetime.fromisoformat(at).replace(tzinfo=EASTERN).astimezone(UTC))


def test_closed_market_ends_the_run_without_a_call(simulator: Simulator, block: str, folder: Path) -> None:
    """In the evening a run makes no call and says why, unless it is told to ignore the market's hours."""
    simulator.advance(timedelta(hours=5))
    state = market_quotes(block, SYMBOLS, folder, return_state=True)
    assert "Completed" == state.name
    assert "The market is closed: Tuesday, 17:00 US Eastern. No call was made." == state.message
    assert QuotesSummary(quotes=0, unknown_symbols=0, file=None) == state.result()
    assert ([], False) == (simulator.calls(), folder.exists())
    assert 3 == market_quotes(block, SYMBOLS, folder, only_in_market_hours=False).quotes


def test_token_that_dies_in_the_middle_is_revived(
    simulator: Simulator,
    block: str,
    folder: Path,
    data_calls: Statuses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token that goes idle between two batches is renewed once, and every quote is written."""
    read_quotes = pipeline.read_quotes

    def slowly(client: httpx.Client, symbols: Sequence[str]) -> Document:
        answer = read_quotes(client, symbols)
        simulator.advance(timedelta(hours=3))
        return answer

    monkeypatch.setattr(pipeline, "read_quotes", slowly)
    assert 30 == market_quotes(block, SIXTY[:30], folder).quotes
    assert [200, 200] == [call.status for call in simulator.calls(RENEW)]
    assert [200, 401, 200] == data_calls()


@pytest.mark.real_time
def test_one_scheduled_run_without_a_sign_in_fails_and_the_rest_are_quiet(
    simulator: Simulator,
    signed_out: str,
    folder: Path,
    run_by_schedule: Callable[..., State],
    children: Callable[[UUID], list[FlowRun]],
) -> None:
    """Only the first run fails; later ones complete with the same advice, and none has a child run."""
    options = {"symbols": ["AAPL"], "folder": str(folder), "only_in_market_hours": False}
    states = [run_by_schedule(market_quotes, signed_out, **options) for _ in range(2)]
    assert ["Failed", "Completed"] == [state.name for state in states]
    assert [True] * 2 == ["\nNext: sign in " in state.message for state in states]
    assert [] == [run for state in states for run in children(state.state_details.flow_run_id)]
    assert ([], False) == (simulator.calls(), folder.exists())


def test_nothing_left_behind_holds_a_secret(
    simulator: Simulator, block: str, folder: Path, secrets: list[str], leaks: Callable[..., list[str]]
) -> None:
    """Logs, the run's record and its file contain no secret, even if E*TRADE's answer echoes them all."""
    simulator.plant(Fault(status=503, body=f"oauth_token={' '.join(secrets)}"), path="/AAPL.json")
    state = market_quotes(block, ["AAPL"], folder, return_state=True)
    (file,) = files(folder)
    assert [] == leaks([state], file)


def test_empty_list_of_symbols_is_refused(simulator: Simulator, block: str, folder: Path) -> None:
    """A run without a symbol is refused before any call."""
    with pytest.raises(Exception, match="at least 1 item"):
        market_quotes(block, [], folder)
    assert [] == simulator.calls()
