#!/usr/bin/env python
"""Example pipeline: saves accounts, balances and positions of every account in a database, once a night.

Copy this file, `positions_tables.py` and `etrade_data.py`. Change the tables and the functions that fill them
(`_account`, `_balance`, `_position`) to what you need. Keep the shape of the flow:

1. `renew_access_token` comes first. It shows in the Prefect UI as a linked run. If a person must sign in, the
   pipeline fails here with the advice, before its first data call.
2. Read everything before you write anything. A failed call then leaves the database unchanged.
3. Write the whole day in one transaction. A second run on the same day (US Eastern) replaces the first and
   never adds to it.

Closed accounts are listed, but E*TRADE has no balance or positions for them. The pipeline needs SQLAlchemy,
which comes with Prefect, and a driver for databases other than SQLite.

Try it: `python deployments/pipelines/nightly_positions.py`.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine, delete
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from etrade_data import Document, data_call, exact, get_document
from positions_tables import Account, Balance, Base, Position
from prefect_etrade import TokenSession, etrade_client, renew_access_token

EASTERN = ZoneInfo("America/New_York")


class NightlySummary(BaseModel):
    """What one run saved: only counts, which do not identify anybody."""

    model_config = ConfigDict(frozen=True)

    day: date
    accounts: int
    closed_accounts: int
    positions: int


@flow(name="nightly-positions", flow_run_name="nightly positions")
def nightly_positions(
    credentials: str = "etrade", database: str = "sqlite:///positions.db"
) -> NightlySummary:
    """Saves accounts, balances and positions of every account; a second run on one day replaces the first.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        database: Where to save, as a SQLAlchemy URL without a password, because anybody who may see the run
            sees its parameters. Put the password into the database driver's own file or environment variable.

    Returns:
        How much was saved.

    Raises:
        ETradeError: As `renew_access_token` raises; its text says what to do next.
        DataCallFailed: E*TRADE returned no data; nothing was saved.
        ValueError: The database URL contains a password.
    """
    session = renew_access_token(credentials)
    url = url_without_password(database)
    day = day_of(session)
    balances: list[Balance] = []
    positions: list[Position] = []
    with etrade_client(credentials) as client:
        accounts = read_accounts(client)
        for account in accounts:
            if account.status != "CLOSED":
                balances.append(read_balance(client, account.key, day))
                positions.extend(read_positions(client, account.key, day))
    summary = NightlySummary(
        day=day,
        accounts=len(accounts),
        closed_accounts=len(accounts) - len(balances),
        positions=len(positions),
    )
    # Made before the rows are saved: after that they belong to the database's session.
    tables = tables_of(accounts, balances, positions)
    save_day(url, day, accounts, [*balances, *positions])
    for key, table in tables.items():
        create_table_artifact(table, key=key, description=f"{day}, saved in `{url}`")
    get_run_logger().info(
        "Saved %d positions of %d accounts (%d closed) for %s in %s.",
        summary.positions,
        summary.accounts,
        summary.closed_accounts,
        summary.day,
        url,
    )
    return summary


@data_call
def read_accounts(client: httpx.Client) -> list[Account]:
    """Every account, including closed ones."""
    document = get_document(client, "/v1/accounts/list.json")
    return [_account(entry) for entry in document["AccountListResponse"]["Accounts"]["Account"]]


@data_call
def read_balance(client: httpx.Client, account_key: str, day: date) -> Balance:
    """The account's current balance."""
    path = f"/v1/accounts/{account_key}/balance.json"
    document = get_document(client, path, instType="BROKERAGE", realTimeNAV="true")
    return _balance(document["BalanceResponse"], account_key, day)


@data_call
def read_positions(client: httpx.Client, account_key: str, day: date) -> list[Position]:
    """Everything that the account holds, from all pages; empty if it holds nothing."""
    positions: list[Position] = []
    page = pages = 1
    while page <= pages:
        path = f"/v1/accounts/{account_key}/portfolio.json"
        document = get_document(client, path, pageNumber=page)
        if not document:  # 204: the account holds nothing
            break
        (portfolio,) = document["PortfolioResponse"]["AccountPortfolio"]
        positions += [_position(entry, account_key, day) for entry in portfolio.get("Position", [])]
        page, pages = page + 1, portfolio.get("totalPages", 1)
    return positions


@task(name="save-day", cache_policy=NO_CACHE, persist_result=False)
def save_day(url: URL, day: date, accounts: Sequence[Account], rows: Iterable[Balance | Position]) -> None:
    """Replace the day's rows of these accounts with these rows, all or nothing.

    Deleting first also removes positions that were sold since the day's earlier run.
    """
    engine = create_engine(url)
    try:
        Base.metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            for account in accounts:
                session.merge(account)
            session.flush()  # the rows refer to the accounts
            for table in (Balance, Position):
                keys = [account.key for account in accounts]
                session.execute(delete(table).where(table.day == day, table.account_key.in_(keys)))
            session.add_all(rows)
    finally:
        engine.dispose()


def tables_of(
    accounts: Sequence[Account], balances: Sequence[Balance], positions: Sequence[Position]
) -> dict[str, list[dict[str, str | None]]]:
    """The tables that the run shows in the Prefect UI, to everybody who may see the run."""
    names = {account.key: account.name for account in accounts}

    def cell(row: Balance | Position, column: str) -> str | None:
        value = names[row.account_key] if column == "account" else getattr(row, column)
        return None if value is None else str(value)

    def table(rows: Sequence[Balance | Position], columns: str) -> list[dict[str, str | None]]:
        return [{column: cell(row, column) for column in columns.split()} for row in rows]

    return {
        "nightly-balances": table(balances, "account cash buying_power positions_value total_value"),
        "nightly-positions": table(positions, "account symbol quantity last_price market_value total_gain"),
    }


def day_of(session: TokenSession) -> date:
    """The US Eastern day of the session, which expires at the midnight that ends this day."""
    return session.expires_at.astimezone(EASTERN).date() - timedelta(days=1)


def url_without_password(database: str) -> URL:
    """The database's URL, if it contains no password.

    Raises:
        ValueError: It contains a password; the message does not repeat it.
    """
    url = make_url(database)
    if url.password is not None or "password" in url.query:
        raise ValueError(
            "The database URL contains a password, and whoever sees a run sees its parameters. Next: remove "
            "it, change it, and give it to the database driver (for PostgreSQL: PGPASSWORD or ~/.pgpass)."
        )
    return url


def _account(entry: Document) -> Account:
    return Account(
        key=entry["accountIdKey"],
        name=entry.get("accountName") or entry["accountDesc"],
        kind=entry["accountType"],
        mode=entry["accountMode"],
        status=entry["accountStatus"],
    )


def _balance(entry: Document, account_key: str, day: date) -> Balance:
    computed = entry["Computed"]
    real_time = computed.get("RealTimeValues", {})
    return Balance(
        day=day,
        account_key=account_key,
        cash=exact(computed.get("cashBalance")),
        buying_power=exact(computed.get("cashBuyingPower")),
        positions_value=exact(real_time.get("netMv")),
        total_value=exact(real_time.get("totalAccountValue")),
    )


def _position(entry: Document, account_key: str, day: date) -> Position:
    return Position(
        day=day,
        account_key=account_key,
        position_id=entry["positionId"],
        symbol=entry["Product"]["symbol"],
        security_type=entry["Product"]["securityType"],
        quantity=exact(entry["quantity"]),
        price_paid=exact(entry.get("pricePaid")),
        last_price=exact(entry.get("Quick", {}).get("lastTrade")),
        market_value=exact(entry.get("marketValue")),
        total_cost=exact(entry.get("totalCost")),
        total_gain=exact(entry.get("totalGain")),
    )


if __name__ == "__main__":
    nightly_positions()
