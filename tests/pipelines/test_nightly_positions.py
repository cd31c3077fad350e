"""The example pipeline `nightly-positions`, on a real Prefect server and against the simulator."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

import nightly_positions as pipeline
from etrade_data import PAUSES, DataCallFailed
from etrade_simulator import Fault, Simulator, SimulatorClock, sample_data
from etrade_simulator.sample_quotes import Price
from etrade_tasks import ETradeCredentials, SignInRequired
from etrade_tasks.clock import use_clock
from nightly_positions import Account, Balance, NightlySummary, Position, nightly_positions

pytestmark = pytest.mark.usefixtures("quick")

LIST = "/v1/accounts/list.json"
BROKERAGE, RETIREMENT = sample_data.ACCOUNTS
TUESDAY = date(2027, 6, 15)
JSON = "application/json"

Statuses = Callable[..., list[int | None]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of the database, which may not exist yet."""
    return tmp_path / "positions.db"


@pytest.fixture
def database(file: Path) -> str:
    """The database's URL."""
    return f"sqlite:///{file}"


@contextmanager
def reading(database: str) -> Iterator[Session]:
    engine = create_engine(database)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def counts(file: Path) -> dict[str, int]:
    """The number of positions for each day."""
    with closing(sqlite3.connect(file)) as connection:
        return dict(connection.execute("select day, count(*) from positions group by day"))


def page_of(account: sample_data.Account, symbols: set[str], pages: int = 1) -> Fault:
    """An answer with a page of the account's portfolio that has only these symbols."""
    document = sample_data.portfolio(account, "https://api.etrade.com", datetime(2027, 6, 15, tzinfo=UTC))
    (entry,) = document["PortfolioResponse"]["AccountPortfolio"]
    entry["totalPages"] = pages
    entry["Position"] = [each for each in entry["Position"] if each["Product"]["symbol"] in symbols]
    return Fault(status=200, body=json.dumps(document), content_type=JSON)


def test_accounts_balances_and_positions_are_saved(
    simulator: Simulator, block: str, database: str, file: Path
) -> None:
    """Every account, balance and position is saved for the Eastern day, to the cent and of the right type."""
    nightly_positions(block, database)
    with reading(database) as session:
        accounts = session.scalars(select(Account).order_by(Account.name)).all()
        balances = {each.account_key: each for each in session.scalars(select(Balance))}
        saved = session.scalars(select(Position).order_by(Position.position_id)).all()
    assert [(BROKERAGE.key, BROKERAGE.name, "MARGIN"), (RETIREMENT.key, RETIREMENT.name, "CASH")] == [
        (each.key, each.name, each.mode) for each in accounts
    ]
    for account in sample_data.ACCOUNTS:
        cash, worth = Decimal(str(account.cash)), Decimal(str(sample_data.market_value(account)))
        kept = balances[account.key]
        expected = (TUESDAY, cash, worth, cash + worth)
        assert expected == (kept.day, kept.cash, kept.positions_value, kept.total_value)
    assert [
        (TUESDAY, account.key, held.symbol, "EQ", Decimal(held.quantity), Decimal(str(held.paid)))
        for account in sample_data.ACCOUNTS
        for held in account.positions
    ] == [
        (each.day, each.account_key, each.symbol, each.security_type, each.quantity, each.price_paid)
        for each in saved
    ]
    for each in saved:
        last = Decimal(str(Price.of(each.symbol).last))
        assert (last, each.quantity * last) == (each.last_price, each.market_value)
        assert each.market_value - each.total_cost == each.total_gain
    # SQLite keeps money as text, never as a float, and can still add it up.
    with closing(sqlite3.connect(file)) as connection:
        (kinds,) = connection.execute("select group_concat(distinct typeof(cash)) from balances").fetchone()
        (total,) = connection.execute("select sum(cash) from balances").fetchone()
    assert ("text", 15_710.25) == (kinds, total)


def test_run_says_what_it_saved_and_where(
    *,
    simulator: Simulator,
    block: str,
    database: str,
    table: Callable[[str], Any],
    children: Callable[[UUID], list[FlowRun]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run's result, log and tables in the Prefect UI say what is saved where, and its renewal is linked."""
    caplog.set_level(logging.INFO)
    state = nightly_positions(block, database, return_state=True)
    assert NightlySummary(day=TUESDAY, accounts=2, closed_accounts=0, positions=5) == state.result()
    said = f"Saved 5 positions of 2 accounts (0 closed) for 2027-06-15 in {database}."
    assert said in caplog.messages
    (balances, told), (positions, _) = table("nightly-balances"), table("nightly-positions")
    assert f"2027-06-15, saved in `{database}`" == told
    assert (2, 5) == (len(balances), len(positions))
    assert {BROKERAGE.name, RETIREMENT.name} == {row["account"] for row in [*balances, *positions]}
    assert not {BROKERAGE.key, RETIREMENT.key} & {value for row in positions for value in row.values()}
    (renewal,) = children(state.state_details.flow_run_id)
    assert "COMPLETED" == renewal.state_type.value
    assert renewal.name.startswith(f"renew {block}: renewed until ")


def test_a_run_keeps_to_the_rate_limit_by_itself(
    noon: datetime, prefect_server: None, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With E*TRADE's limit of two calls a second, no call is refused."""
    monkeypatch.setattr("etrade_data.PAUSES", PAUSES)
    with Simulator(clock=SimulatorClock(noon), rate_limits=True) as strict, use_clock(strict.now):
        credentials = ETradeCredentials.model_validate(strict.credentials(strict.sign_in("live")))
        credentials.save("strict-limits", overwrite=True)
        nightly_positions("strict-limits", database)
        statuses = [call.status for call in strict.calls() if call.path.startswith("/v1/")]
    assert [200] * 5 == statuses


def test_second_run_on_a_day_replaces_the_first_and_another_day_adds(
    simulator: Simulator,
    block: str,
    credentials_for: Callable[..., ETradeCredentials],
    database: str,
    file: Path,
) -> None:
    """What changed or was sold since the Eastern day's first run is corrected; the next day's run adds."""
    nightly_positions(block, database)
    simulator.advance(timedelta(hours=11))  # the next day has already begun in UTC
    later = page_of(BROKERAGE, {"AAPL", "MSFT"})
    simulator.plant(
        Fault(status=200, body=later.body.replace('"quantity": 40', '"quantity": 41.5'), content_type=JSON),
        path=f"{BROKERAGE.key}/portfolio.json",
    )
    assert TUESDAY == nightly_positions(block, database).day
    with reading(database) as session:
        held = select(Position).where(Position.account_key == BROKERAGE.key).order_by(Position.symbol)
        saved = [(each.symbol, each.quantity) for each in session.scalars(held)]
    assert [("AAPL", Decimal("41.5")), ("MSFT", Decimal(15))] == saved
    assert {"2027-06-15": 4} == counts(file)
    simulator.advance(timedelta(hours=13))
    credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
    nightly_positions(block, database)
    assert {"2027-06-15": 4, "2027-06-16": 5} == counts(file)


def test_failed_call_leaves_nothing(
    simulator: Simulator, block: str, database: str, file: Path, data_calls: Statuses
) -> None:
    """If E*TRADE refuses the last call for good, it is not repeated, and nothing of the others is saved."""
    last = f"{RETIREMENT.key}/portfolio.json"
    simulator.plant(Fault(status=404, body="no such account"), path=last)
    with pytest.raises(DataCallFailed, match="status 404: 'no such account'"):
        nightly_positions(block, database)
    assert ([404], False) == (data_calls(last), file.exists())


def test_failed_write_leaves_the_day_as_it_was(
    simulator: Simulator, block: str, database: str, file: Path
) -> None:
    """When the database refuses the last row, the rows of the day's earlier run are all still there."""
    nightly_positions(block, database)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "create trigger planted before insert on positions when new.symbol = 'VXUS' "
            "begin select raise(abort, 'planted'); end"
        )
        before = connection.execute("select * from positions order by position_id").fetchall()
        with pytest.raises(Exception, match="planted"):
            nightly_positions(block, database)
        assert before == connection.execute("select * from positions order by position_id").fetchall()


def test_all_pages_are_read(
    simulator: Simulator, block: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A portfolio of three pages is read page by page, and each position is saved once."""
    for symbol in ("AAPL", "MSFT", "VTI"):
        simulator.plant(page_of(BROKERAGE, {symbol}, pages=3), path=f"{BROKERAGE.key}/portfolio.json")
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "etrade_client", watched(pipeline.etrade_client, asked))
        summary = nightly_positions(block, database)
    assert ["1", "2", "3"] == [
        url.params["pageNumber"] for url in asked if url.path.endswith(f"{BROKERAGE.key}/portfolio.json")
    ]
    assert 5 == summary.positions


def watched(client_of: Callable[..., object], asked: list[httpx.URL]) -> Callable[..., object]:
    """The same client, which also records the address of each request."""

    @contextmanager
    def client(credentials: str) -> Iterator[httpx.Client]:
        with client_of(credentials) as made:
            made.event_hooks = {"request": [lambda request: asked.append(request.url)]}
            yield made

    return client


def test_closed_account_is_left_alone_and_an_empty_one_is_no_failure(
    simulator: Simulator, block: str, database: str, data_calls: Statuses
) -> None:
    """A closed account is listed without any call about it; an empty one has a balance and no positions."""
    document = sample_data.account_list()
    document["AccountListResponse"]["Accounts"]["Account"][1]["accountStatus"] = "CLOSED"
    simulator.plant(Fault(status=200, body=json.dumps(document), content_type=JSON), path=LIST)
    simulator.plant(Fault(status=204), path=f"{BROKERAGE.key}/portfolio.json")
    summary = nightly_positions(block, database)
    assert (2, 1, 0) == (summary.accounts, summary.closed_accounts, summary.positions)
    assert [[], []] == [data_calls(f"{RETIREMENT.key}/{of}.json") for of in ("balance", "portfolio")]
    with reading(database) as session:
        assert "CLOSED" == session.get(Account, RETIREMENT.key).status
        assert [BROKERAGE.key] == [each.account_key for each in session.scalars(select(Balance))]


def test_failed_renewal_fails_the_pipeline_before_its_first_data_call(
    simulator: Simulator, block: str, database: str, data_calls: Statuses, caplog: pytest.LogCaptureFixture
) -> None:
    """Past midnight the pipeline fails, and its own log, not just the renewal's, says what to do next."""
    simulator.advance(timedelta(hours=12))
    state = nightly_positions(block, database, return_state=True)
    with pytest.raises(SignInRequired):
        state.result()
    run = str(state.state_details.flow_run_id)
    own_log = [each.getMessage() for each in caplog.records if getattr(each, "flow_run_id", None) == run]
    assert [] != [line for line in own_log if "Next: sign in " in line]
    assert [] == data_calls()


def test_passing_fault_is_overcome(
    simulator: Simulator, block: str, database: str, data_calls: Statuses
) -> None:
    """A call that is not answered is made again until it is."""
    simulator.plant(Fault(drop="before-answer"), path=LIST, times=4)
    assert 5 == nightly_positions(block, database).positions
    assert [None] * 4 + [200] == data_calls(LIST)


def test_password_in_the_url_is_refused_unrepeated(
    simulator: Simulator, block: str, data_calls: Statuses, caplog: pytest.LogCaptureFixture
) -> None:
    """A database URL with a password is refused before any data call, and no log repeats the password."""
    with pytest.raises(ValueError, match="contains a password") as refused:
        nightly_positions(block, "postgresql://me:fake-password@db.invalid/positions")
    assert "fake-password" not in str(refused.value) + caplog.text
    assert [] == data_calls()


def test_nothing_left_behind_holds_a_secret(
    block: str, simulator: Simulator, file: Path, secrets: list[str], leaks: Callable[..., list[str]]
) -> None:
    """Logs, the runs' records and the database contain no secret, even if E*TRADE's answers echo them all."""
    echo = f"oauth_token={' '.join(secrets)}"
    simulator.plant(Fault(status=503, body=echo), path=LIST)
    simulator.plant(Fault(status=404, body=echo), path=f"{RETIREMENT.key}/portfolio.json")
    states = [nightly_positions(block, f"sqlite:///{file}", return_state=True) for _ in range(2)]
    assert ["Failed", "Completed"] == [state.name for state in states]
    assert [] == leaks(states, file)
