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
from prefect.utilities.callables import parameter_schema
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

import nightly_positions as pipeline
from etrade_data import PAUSES, DataCallFailed, DataCallUnserved
from etrade_simulator import Fault, Simulator, SimulatorClock, sample_data
from etrade_simulator.sample_quotes import Price
from etrade_tasks import ETradeCredentials, SignInRequired
from etrade_tasks.clock import use_clock
from nightly_positions import Account, Balance, NightlySummary, Position, nightly_positions

RENEW = "/oauth/renew_access_token"
LIST = "/v1/accounts/list.json"
BROKERAGE, RETIREMENT = sample_data.ACCOUNTS
TUESDAY = date(2027, 6, 15)
JSON = "application/json"

Statuses = Callable[..., list[int | None]]


@pytest.fixture(autouse=True)
def quick(quick_flows: None, quick_retries: None, no_pauses: Callable[..., None]) -> None:
    """Removes all waits."""
    no_pauses(pipeline.read_accounts, pipeline.read_balance, pipeline.read_positions)


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


def next_day(simulator: Simulator, credentials_for: Callable[..., ETradeCredentials], block: str) -> None:
    """Move on by one day, and sign in again."""
    simulator.advance(timedelta(days=1))
    credentials_for(simulator.sign_in("live")).save(block, overwrite=True)


def test_positions_arrive_as_the_account_holds_them(simulator: Simulator, block: str, database: str) -> None:
    """Every position of every account is saved for the Eastern day, to the cent and of the right type."""
    nightly_positions(block, database)
    with reading(database) as session:
        saved = session.scalars(select(Position).order_by(Position.position_id)).all()
    assert [
        (TUESDAY, account.key, held.symbol, "EQ", Decimal(held.quantity), Decimal(str(held.paid)))
        for account in sample_data.ACCOUNTS
        for held in account.positions
    ] == [
        (each.day, each.account_key, each.symbol, each.security_type, each.quantity, each.price_paid)
        for each in saved
    ]
    lasts = [Decimal(str(Price.of(each.symbol).last)) for each in saved]
    assert lasts == [each.last_price for each in saved]
    assert [each.quantity * last for each, last in zip(saved, lasts, strict=True)] == [
        each.market_value for each in saved
    ]
    assert [each.market_value - each.total_cost for each in saved] == [each.total_gain for each in saved]


def test_accounts_and_balances_arrive(simulator: Simulator, block: str, database: str) -> None:
    """Both accounts are saved with their cash, their positions' value, and the sum of both."""
    nightly_positions(block, database)
    with reading(database) as session:
        accounts = session.scalars(select(Account).order_by(Account.name)).all()
        balances = {each.account_key: each for each in session.scalars(select(Balance))}
    assert [(BROKERAGE.key, BROKERAGE.name, "MARGIN"), (RETIREMENT.key, RETIREMENT.name, "CASH")] == [
        (each.key, each.name, each.mode) for each in accounts
    ]
    for account in sample_data.ACCOUNTS:
        cash, worth = Decimal(str(account.cash)), Decimal(str(sample_data.market_value(account)))
        saved = balances[account.key]
        assert (TUESDAY, cash, worth, cash + worth) == (
            saved.day,
            saved.cash,
            saved.positions_value,
            saved.total_value,
        )


def test_sqlite_keeps_money_exact(simulator: Simulator, block: str, database: str, file: Path) -> None:
    """SQLite keeps money as text, never as a float, and can still add it up."""
    nightly_positions(block, database)
    with closing(sqlite3.connect(file)) as connection:
        (kinds,) = connection.execute("select group_concat(distinct typeof(cash)) from balances").fetchone()
        (total,) = connection.execute("select sum(cash) from balances").fetchone()
    assert ("text", 15_710.25) == (kinds, total)


def test_summary_counts_and_is_logged(
    simulator: Simulator, block: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The run returns how much was saved, and its log says the same."""
    caplog.set_level(logging.INFO)
    summary = nightly_positions(block, database)
    assert NightlySummary(day=TUESDAY, accounts=2, closed_accounts=0, positions=5) == summary
    said = f"Saved 5 positions of 2 accounts (0 closed) for 2027-06-15 in {database}."
    assert said in caplog.messages


def test_balances_and_positions_are_shown_and_where_they_are(
    simulator: Simulator, block: str, database: str, table: Callable[[str], Any]
) -> None:
    """The run shows tables of balances and positions in the Prefect UI, which say where they are saved."""
    nightly_positions(block, database)
    balances, said = table("nightly-balances")
    positions, _ = table("nightly-positions")
    assert f"2027-06-15, saved in `{database}`" == said
    assert (2, 5) == (len(balances), len(positions))
    assert {BROKERAGE.name, RETIREMENT.name} == {row["account"] for row in [*balances, *positions]}
    assert not {BROKERAGE.key, RETIREMENT.key} & {value for row in positions for value in row.values()}


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


def test_second_run_on_a_day_leaves_one_row_each(
    simulator: Simulator, block: str, database: str, file: Path
) -> None:
    """Two runs on one Eastern day, hours apart, leave the rows of one run."""
    nightly_positions(block, database)
    simulator.advance(timedelta(hours=11))
    nightly_positions(block, database)
    assert {"2027-06-15": 5} == counts(file)


def test_second_run_on_a_day_corrects_the_first(simulator: Simulator, block: str, database: str) -> None:
    """What changed since the day's first run is updated, and what was sold since is gone."""
    nightly_positions(block, database)
    later = page_of(BROKERAGE, {"AAPL", "MSFT"})
    simulator.plant(
        Fault(status=200, body=later.body.replace('"quantity": 40', '"quantity": 41.5'), content_type=JSON),
        path=f"{BROKERAGE.key}/portfolio.json",
    )
    nightly_positions(block, database)
    with reading(database) as session:
        held = select(Position).where(Position.account_key == BROKERAGE.key).order_by(Position.symbol)
        saved = [(each.symbol, each.quantity) for each in session.scalars(held)]
    assert [("AAPL", Decimal("41.5")), ("MSFT", Decimal(15))] == saved


def test_another_day_adds(
    simulator: Simulator,
    block: str,
    credentials_for: Callable[..., ETradeCredentials],
    database: str,
    file: Path,
) -> None:
    """A run on the next day leaves the first day's rows as they are."""
    nightly_positions(block, database)
    next_day(simulator, credentials_for, block)
    nightly_positions(block, database)
    assert {"2027-06-15": 5, "2027-06-16": 5} == counts(file)


def test_day_is_the_eastern_one(simulator: Simulator, block: str, database: str) -> None:
    """At 23:00 US Eastern, when UTC has the next day already, the run saves for the Eastern day."""
    simulator.advance(timedelta(hours=11))
    assert TUESDAY == nightly_positions(block, database).day


def test_failed_call_leaves_nothing(simulator: Simulator, block: str, database: str, file: Path) -> None:
    """When the last account's positions cannot be read, no row of the others is saved either."""
    simulator.plant(Fault(status=404, body="no such account"), path=f"{RETIREMENT.key}/portfolio.json")
    with pytest.raises(DataCallFailed, match="status 404: 'no such account'"):
        nightly_positions(block, database)
    assert not file.exists()


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


def test_failed_write_of_a_new_day_writes_nothing_of_it(
    simulator: Simulator,
    block: str,
    credentials_for: Callable[..., ETradeCredentials],
    database: str,
    file: Path,
) -> None:
    """When the database refuses one row of a new day, no row of that day is saved."""
    nightly_positions(block, database)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "create trigger planted before insert on balances when new.day = '2027-06-16' "
            "begin select raise(abort, 'planted'); end"
        )
    next_day(simulator, credentials_for, block)
    with pytest.raises(Exception, match="planted"):
        nightly_positions(block, database)
    assert {"2027-06-15": 5} == counts(file)


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


def test_empty_portfolio_is_no_failure(simulator: Simulator, block: str, database: str) -> None:
    """An empty account, for which E*TRADE answers 204, has a balance and no positions."""
    simulator.plant(Fault(status=204), path=f"{RETIREMENT.key}/portfolio.json")
    assert 3 == nightly_positions(block, database).positions
    with reading(database) as session:
        assert 2 == len(session.scalars(select(Balance)).all())


def test_closed_account_is_listed_and_left_alone(
    simulator: Simulator, block: str, database: str, data_calls: Statuses
) -> None:
    """A closed account is saved as closed, without a call for its balance or its positions."""
    document = sample_data.account_list()
    document["AccountListResponse"]["Accounts"]["Account"][1]["accountStatus"] = "CLOSED"
    simulator.plant(Fault(status=200, body=json.dumps(document), content_type=JSON), path=LIST)
    summary = nightly_positions(block, database)
    assert (2, 1, 3) == (summary.accounts, summary.closed_accounts, summary.positions)
    assert [[], []] == [data_calls(f"{RETIREMENT.key}/{of}.json") for of in ("balance", "portfolio")]
    with reading(database) as session:
        assert "CLOSED" == session.get(Account, RETIREMENT.key).status


def test_token_that_dies_in_the_middle_is_revived(
    simulator: Simulator,
    block: str,
    database: str,
    data_calls: Statuses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token that goes inactive between two calls is renewed once, and the pipeline completes."""
    read_accounts = pipeline.read_accounts

    def slowly(client: httpx.Client) -> list[Account]:
        accounts = read_accounts(client)
        simulator.advance(timedelta(hours=3))
        return accounts

    monkeypatch.setattr(pipeline, "read_accounts", slowly)
    assert 5 == nightly_positions(block, database).positions
    assert [200, 200] == [call.status for call in simulator.calls(RENEW)]
    assert [200, 401, 200, 200, 200, 200] == data_calls()


def test_renewal_is_a_linked_run(
    simulator: Simulator, block: str, database: str, children: Callable[[UUID], list[FlowRun]]
) -> None:
    """The renewal shows as a completed run of its own, linked to the pipeline's."""
    state = nightly_positions(block, database, return_state=True)
    linked = children(state.state_details.flow_run_id)
    (renewal,) = linked
    assert "COMPLETED" == renewal.state_type.value
    assert renewal.name.startswith(f"renew {block}: renewed until ")


def test_failed_renewal_fails_the_pipeline_before_its_first_data_call(
    simulator: Simulator, block: str, database: str, data_calls: Statuses, own_log: Callable[..., list[str]]
) -> None:
    """Past midnight the pipeline fails, and its own log, not just the renewal's, says what to do next."""
    simulator.advance(timedelta(hours=12))
    state = nightly_positions(block, database, return_state=True)
    with pytest.raises(SignInRequired):
        state.result()
    assert [] != [line for line in own_log(state) if "Next: sign in " in line]
    assert [] == data_calls()


@pytest.mark.parametrize(
    "fault",
    [Fault(status=400, body="Number of requests exceeded the rate limit set"), Fault(drop="before-answer")],
    ids=["rate-limit", "dropped"],
)
def test_passing_fault_is_overcome(
    simulator: Simulator, block: str, database: str, data_calls: Statuses, fault: Fault
) -> None:
    """A temporary failure is retried until it is over."""
    simulator.plant(fault, path=LIST, times=4)
    assert 5 == nightly_positions(block, database).positions
    assert [fault.status] * 4 + [200] == data_calls(LIST)


def test_attempts_come_to_an_end(
    simulator: Simulator, block: str, database: str, data_calls: Statuses
) -> None:
    """After five attempts at one call the pipeline fails."""
    simulator.plant(Fault(status=500), path=LIST, times=10)
    with pytest.raises(DataCallUnserved):
        nightly_positions(block, database)
    assert [500] * 5 == data_calls()


def test_other_refusal_is_raised_at_once(
    simulator: Simulator, block: str, database: str, data_calls: Statuses
) -> None:
    """A call is not repeated if a retry cannot change the refusal."""
    simulator.plant(Fault(status=403, body="no"), path=LIST)
    with pytest.raises(DataCallFailed, match=f"GET {LIST} was answered with status 403: 'no'"):
        nightly_positions(block, database)
    assert [403] == data_calls()


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


def test_run_form_explains_each_parameter() -> None:
    """Each parameter has a default and a description, which the run form of the Prefect UI shows."""
    properties = parameter_schema(nightly_positions).model_dump()["properties"]
    assert ["credentials", "database"] == list(properties)
    assert [] == [name for name, each in properties.items() if not (each["description"] and each["default"])]
