"""The flow `renew-fleet`: many tokens in one run."""

import time
import traceback
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Annotated, Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from etrade_flows.access.renewal import Wanted, renew_latest
from etrade_flows.fleet.board import Board
from etrade_flows.fleet.members import Member, members
from etrade_flows.fleet.pace import Pace
from etrade_flows.fleet.tally import Outcome, Tally, troubles
from etrade_flows.news.fleet_news import alerts_for, emit_fleet, not_renewed_news, renewed_news
from etrade_flows.news.telling import unexpected
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.endings import describe, end_unwell, end_well
from etrade_flows.runs.names import FLEET, FLEET_RUN, ended_run, renewal_run, titled
from etrade_flows.runs.once_a_day import as_message, is_scheduled
from etrade_flows.runs.second_try import try_again_soon
from etrade_flows.runs.sure_ends import SureFlow
from etrade_flows.runs.tags import current_run, tag_run
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, TokensNotRenewed, must_sign_in
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.logs import run_logger
from etrade_tasks.prefect_context import untagged
from etrade_tasks.session import TokenSession, eastern_date
from etrade_tasks.settings import renewal_settings

CONCURRENCY = 16
"""How many tokens are renewed at once by default."""

PER_SECOND = 2.0
"""How many renewals of one consumer key start in a second: E*TRADE's lowest limit for any call."""

MOST_AT_ONCE = 256
"""The most that may be renewed at once, which is how many threads the flow may have."""


# With Dask and Ray, results go from process to process. Prefect also carries results that are not persisted,
# in the task's state (3.8, prefect-dask 0.3.7, prefect-ray 0.6.0).
@task(
    name="renew-token",
    task_run_name=renewal_run("{credentials}"),
    retries=0,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def renew_token(credentials: str, patient: bool = True) -> TokenSession:
    """The session of one token of a fleet, renewed as `renew-access-token` renews it.

    If there is an error, the returned state carries it. If the task raised it, Prefect would store its text,
    which may quote a stranger.

    Args:
        credentials: The credentials' name; what they hold is never a parameter.
        patient: Whether a call that fails is followed by others until the deadline.
    """
    try:
        # A deadline that is over leaves time for one call.
        over = None if patient else time.monotonic() - renewal_settings().deadline.total_seconds()
        session, _ = renew_latest(credentials, load_credentials(credentials), Wanted(began_at=over))
    except ETradeError as error:
        return cast("TokenSession", Failed(message=as_message(error), data=error))
    except Exception as error:  # noqa: BLE001  # one bad token never stops the others
        known, place = unexpected(error), traceback.extract_tb(error.__traceback__)[-1]
        run_logger().error("%s %s, line %s.", known.message, place.filename, place.lineno)
        return cast("TokenSession", Failed(message=as_message(known), data=known))
    return cast("TokenSession", Completed(message=describe(session), data=session))


# Not stored, for the same reason as in `renew-access-token`.
@SureFlow.of
@flow(
    name=FLEET,
    flow_run_name=FLEET_RUN,
    retries=0,
    persist_result=False,
    task_runner=cast("TaskRunner[Any]", ThreadPoolTaskRunner(max_workers=MOST_AT_ONCE)),
)
def renew_fleet(
    credentials: Annotated[
        list[str] | None, titled("E*TRADE Credentials blocks, such as desk-*; all by default")
    ] = None,
    concurrency: Annotated[int, Field(ge=1, le=MOST_AT_ONCE), titled("How many at once")] = CONCURRENCY,
    per_second: Annotated[float, Field(gt=0), titled("How many a second for each consumer key")] = PER_SECOND,
) -> dict[str, TokenSession]:
    """Makes sure that many E*TRADE access tokens are active, and names those for which a person must act.

    Each token is a task run, which renews as `renew_access_token` does: with the same record and lock, the
    same refusals and errors. One bad token never stops the others. During the run, the artifact
    `etrade-fleet` shows each result, and `etrade-fleet-progress` shows how far the run is.

    It ends with one message and one alert for all tokens that need somebody. A *scheduled* run completes
    quietly if it finds only sign-ins that an earlier run of that day has reported.

    It also runs with other task runners, on as many machines as they have:

    ```python
    from prefect_dask import DaskTaskRunner

    renew_fleet.with_options(task_runner=DaskTaskRunner(address="tcp://scheduler:8786"))()
    ```

    There is no parameter for tags: blocks have none in Prefect, and a run has those of its deployment or of
    `with prefect.tags(...)`. Choose tokens by their names.

    Args:
        credentials: The names of E*TRADE Credentials blocks, which may contain the wildcards `*` and `?`; by
            default all blocks of the server.
        concurrency: How many tokens are renewed at once.
        per_second: How many renewals start in a second for each consumer key.

    Returns:
        The sessions, by the names of their credentials.

    Raises:
        TokensNotRenewed: Some sessions are not good; it names each and carries its error.
        CredentialsNotFound: There is no block at all, or none that matches a pattern.
    """
    fleet = members(credentials)
    tally = Tally(tuple(member.name for member in fleet))
    board = Board(tally)
    for name, outcome in _renewed(fleet, concurrency, per_second):
        tally.settle(name, outcome, now())
        board.look()
    return cast("dict[str, TokenSession]", _end(tally, board))


def _renewed(fleet: Sequence[Member], concurrency: int, per_second: float) -> Iterator[tuple[str, Outcome]]:
    """Each token's result, in the order in which they end.

    At most `concurrency` tasks are submitted at once. That limits every task runner, and the run's memory.
    If that many fail in a row, E*TRADE seems to be down. Then each further token makes one call, until one
    succeeds: if thousands used up their deadlines, the run would take hours.
    """
    failed_in_a_row = 0
    pace = Pace(fleet, per_second)
    ended: SimpleQueue[PrefectFuture[TokenSession]] = SimpleQueue()
    under_way: dict[PrefectFuture[TokenSession], str] = {}
    while True:
        at, room = time.monotonic(), len(under_way) < concurrency
        if room and (member := pace.take(at)):
            try:
                with untagged():
                    future = renew_token.submit(member.name, patient=failed_in_a_row < concurrency)
            except Exception as error:  # noqa: BLE001  # such as a cluster that is gone
                yield member.name, unexpected(error)
                continue
            under_way[future] = member.name
            future.add_done_callback(ended.put)
            continue
        due_in = pace.due_in(at)
        if due_in is None and not under_way:
            return
        try:
            future = ended.get(timeout=due_in if room else None)
        except Empty:
            continue
        outcome = _outcome(future)
        if isinstance(outcome, TokenSession):
            failed_in_a_row = 0
        elif outcome.retryable:
            failed_in_a_row += 1
        yield under_way.pop(future), outcome


def _outcome(future: PrefectFuture[TokenSession]) -> Outcome:
    """The result of a task that has ended; a killed process leaves no state."""
    try:
        found = future.result(raise_on_failure=False)
    except Exception as error:  # noqa: BLE001  # each task runner has its own
        return unexpected(error)
    if isinstance(found, (TokenSession, ETradeError)):
        return found
    return unexpected(found if isinstance(found, BaseException) else RuntimeError())


def _end(tally: Tally, board: Board) -> State[Any] | dict[str, TokenSession]:
    """Send the alert, update the artifacts and the run's name and tags, and return the flow's result."""
    at, errors, sessions = now(), tally.errors, tally.sessions
    sign_ins = must_sign_in(errors)
    alerts, today = alerts_for(errors, at), eastern_date(at).isoformat()
    # A token that was good meanwhile may alert again, and on another day every token may.
    told = {name: why for name, why in board.alerted.items() if why.startswith(today)}
    kept = {name: why for name, why in told.items() if name not in sessions}
    due = {name: why for name, why in alerts.items() if kept.get(name) != why}
    board.update(kept | due)
    outcome = None
    if errors:
        outcome = AttemptOutcome.SIGN_IN_REQUIRED if sign_ins else AttemptOutcome.FAILED
    summary, run = tally.summary, current_run()
    tag_run(outcome=outcome, name=ended_run(run.name, "", summary) if run else None)
    if not errors:
        emit_fleet(renewed_news(summary, at))
        return end_well(f"{summary}.", sessions)
    error = TokensNotRenewed(f"{summary}. {troubles(errors)}", good=len(sessions), errors=errors)
    # While nothing changes, each run sends the same alert again, because a busy server may lose one. People
    # get it once.
    if due or (alerts and alerts == {name: told[name] for name in tally.names if name in told}):
        emit_fleet(not_renewed_news(error, summary, alerts, at))
    for each in errors.values():
        if each.retryable:
            try_again_soon(each)
            break
    if is_scheduled(run) and len(sign_ins) == len(errors) and not due:
        return end_well(as_message(error), sessions)
    failed = end_unwell(error)
    run_logger().error("%s", error)
    return failed
