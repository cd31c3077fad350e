"""How `status` judges a session by what is stored about it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from etrade_flows.health.forecast import ScheduledRun
from etrade_flows.health.judgement import SessionFacts, judge
from etrade_flows.health.model import SessionStatus, Source, Store
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_flows.runs.endings import describe
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsInvalid,
    ETradeCredentials,
    RenewalFailed,
    SignInRequired,
    TokenSession,
)
from etrade_tasks.key_age import KEY_ADVICE
from etrade_tasks.session import EASTERN, IDLE_LIMIT, REUSE_WINDOW, SessionState, midnight_after

DAY = "2027-06-15"
RENEWED, REUSED, REFUSED, FAILED, TOO_SHORT = AttemptOutcome


def at(time: str, day: str = DAY) -> datetime:
    """This wall-clock time in New York, in UTC."""
    return datetime.fromisoformat(f"{day} {time}").replace(tzinfo=EASTERN).astimezone(UTC)


EIGHT = at("08:00")


def keys(signed_in: datetime | None = EIGHT, **changes: object) -> ETradeCredentials:
    """Credentials of a token that was issued at eight."""
    values = {
        "consumer_key": "fake-key",
        "consumer_secret": "fake-secret",
        "access_token": "fake-token",
        "access_token_secret": "fake-token-secret",
        "signed_in_at": signed_in,
    }
    return ETradeCredentials.model_validate(values | changes)


def record(renewed_at: datetime) -> TokenSession:
    """The record that a renewal leaves in result storage."""
    return TokenSession(
        environment="live",
        fingerprint="0123456789abcdef",
        renewed_at=renewed_at,
        idle_at=renewed_at + IDLE_LIMIT,
        expires_at=midnight_after(renewed_at),
    )


def attempt(time: str, outcome: AttemptOutcome = RENEWED, detail: str = "Done.") -> Attempt:
    """The attempt of one run."""
    return Attempt(at(time), outcome, detail, timedelta(seconds=1))


def facts(*attempts: Attempt, **changes: object) -> SessionFacts:
    """What is known of a session with these attempts."""
    known = SessionFacts("main", Source.BLOCK, keys(), attempts=attempts)
    return dataclasses.replace(known, **changes)


def judged(known: SessionFacts, now: datetime) -> SessionStatus:
    return judge(known, now, REUSE_WINDOW)


SIGNED_OUT = keys(signed_in=None, access_token=None, access_token_secret=None)
UNDATED = keys(signed_in=None)


DEAD, SILENT = SignInRequired("It is dead."), RenewalFailed("No answer.")
A_MOMENT_EARLY = EIGHT - timedelta(milliseconds=2)
YESTERDAY = record(at("23:30", "2027-06-14"))
AT_NINE = record(at("09:00"))
REFUSED_BEFORE = attempt("08:30", REFUSED)


@pytest.mark.parametrize(
    ("known", "now", "expected"),
    [
        pytest.param(facts(record=AT_NINE), "10:59", "active", id="renewed"),
        pytest.param(facts(record=record(A_MOMENT_EARLY)), "09:59", "active", id="renewed at the sign-in"),
        pytest.param(facts(attempt("09:00")), "10:59", "active", id="renewed, by the server"),
        pytest.param(facts(attempt("09:00", REUSED)), "10:09", "active", id="reused"),
        pytest.param(facts(attempt("09:00", REUSED)), "10:10", "idle", id="reused long ago"),
        pytest.param(facts(attempt("08:05", REUSED)), "08:10", "active", id="reused after the sign-in"),
        pytest.param(facts(attempt("07:00"), attempt("09:00", REUSED)), "09:05", "active", id="reused anew"),
        pytest.param(facts(), "08:05", "unknown", id="nothing known"),
        pytest.param(facts(loaded=UNDATED), "08:05", "unknown", id="nothing known, undated"),
        pytest.param(facts(attempt("09:00", FAILED)), "09:05", "failed", id="failed"),
        pytest.param(
            facts(attempt("09:00", REFUSED), attempt("10:00"), loaded=UNDATED),
            "10:05",
            "active",
            id="renewed after a refusal",
        ),
        pytest.param(facts(loaded=SIGNED_OUT), "10:00", "signed-out", id="signed out"),
        pytest.param(facts(record=YESTERDAY, loaded=UNDATED), "00:00", "expired", id="midnight, undated"),
        pytest.param(facts(loaded=CredentialsInvalid("It is wrong.")), "09:00", "failed", id="unusable"),
        pytest.param(facts(checked=AT_NINE), "09:00", "active", id="check"),
        pytest.param(facts(REFUSED_BEFORE, checked=AT_NINE), "09:00", "active", id="check after a refusal"),
        pytest.param(facts(attempt("08:59"), checked=DEAD), "09:00", "sign-in-required", id="check refused"),
        pytest.param(facts(attempt("08:59"), checked=SILENT), "09:00", "failed", id="check failed"),
        pytest.param(
            facts(REFUSED_BEFORE, checked=SILENT), "09:00", "sign-in-required", id="refused, check failed"
        ),
        pytest.param(
            facts(attempt("08:30"), refused=DEAD), "09:00", "unknown", id="refused outside of a run"
        ),
    ],
)
def test_state(known: SessionFacts, now: str, expected: str) -> None:
    """The state follows from the token's issue, its last renewal, the day's runs and the check."""
    assert expected == judged(known, at(now)).state


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (facts(attempt("09:00")), "good until midnight US Eastern"),
        (
            facts(attempt("09:00"), attempt("09:20", FAILED)),
            "the renewal at 09:20 failed; idle from 11:00 unless a renewal comes first",
        ),
        (facts(attempt("09:00", REFUSED)), "E*TRADE refused the token at 09:00"),
        (facts(), "no renewal of this token is known"),
        (facts(loaded=UNDATED, refused=DEAD), "It is dead."),
    ],
)
def test_message(known: SessionFacts, expected: str) -> None:
    """The message says why the session stands so in the words of the report, and which renewal failed."""
    assert expected == judged(known, at("09:30")).message


@pytest.mark.parametrize(
    ("day", "hours"), [("2027-03-14", 23), ("2027-06-15", 24), ("2027-11-07", 25)], ids=["23", "24", "25"]
)
def test_clocks_count_elapsed_time(day: str, hours: int) -> None:
    """The time to idle and to midnight is elapsed time, also on days when the clocks change."""
    begun = at("00:00", day)
    status = judged(facts(record=record(begun), loaded=keys(begun)), begun)
    assert (2 * 3600, hours * 3600) == (status.idle_in_seconds, status.expires_in_seconds)


def test_midnight_is_null_where_it_would_be_a_guess() -> None:
    """A pasted token that was never renewed has no known midnight, because nobody knows its day."""
    assert None is judged(facts(loaded=UNDATED), at("09:00")).expires_at


@pytest.mark.parametrize(
    ("state", "known"),
    [
        (SessionState.EXPIRED, facts(loaded=keys(at("08:00", "2027-06-14")))),
        (SessionState.SIGNED_OUT, facts(loaded=SIGNED_OUT)),
        (SessionState.SIGN_IN_REQUIRED, facts(attempt("09:00", REFUSED))),
    ],
)
def test_an_ended_session_is_not_going_idle(state: SessionState, known: SessionFacts) -> None:
    """Once a person must sign in, no time to idle is shown."""
    status = judged(known, at("09:30"))
    assert (state, None, None) == (status.state, status.idle_at, status.idle_in_seconds)


class TestRenewals:
    """Which renewals are listed, and where each is stored."""

    def test_a_run_and_the_record_it_left_are_one(self) -> None:
        """The run that left the record is not listed twice: the record stands for it, because it is exact."""
        left = record(at("09:00"))
        run = attempt("09:01", RENEWED, describe(left))
        earlier = attempt("08:10", RENEWED, "Renewed in 1 call; idle from 10:10.")
        for checked in (None, RenewalFailed("No answer.")):
            shown = judged(facts(earlier, run, record=left, checked=checked), at("09:05")).renewals
            assert [(at("09:00"), Store.RESULT_STORAGE), (at("08:10"), Store.PREFECT_SERVER)] == [
                (one.at, one.store) for one in shown
            ]

    def test_a_check_is_no_run(self) -> None:
        """A run of the same minute as the check stays listed."""
        checked = record(at("09:00:30"))
        run = attempt("09:00:10", RENEWED, describe(checked))
        shown = judged(facts(run, checked=checked), at("09:01")).renewals
        assert [Store.ETRADE, Store.PREFECT_SERVER] == [one.store for one in shown]

    def test_five_at_most_newest_first(self) -> None:
        """The last five attempts are listed, newest first, whatever order they come in."""
        many = [attempt(f"{hour:02}:00") for hour in (9, 14, 11, 10, 13, 12)]
        shown = judged(facts(*many), at("14:30")).renewals
        assert [at(f"{hour}:00") for hour in (14, 13, 12, 11, 10)] == [one.at for one in shown]


def hourly(*times: str, **changes: object) -> tuple[ScheduledRun, ...]:
    """Runs of the deployment `hourly` at these times."""
    return tuple(ScheduledRun(at(time), "hourly", **changes) for time in times)


ONE, LATE = hourly("13:00"), hourly("10:00", "11:00", "12:00", late=True)
TOMORROW = (ScheduledRun(at("01:00", "2027-06-16"), "hourly"),)
HALF_PAST, OVER = record(at("12:30")), "needs a sign-in first"
BAD_FIELD, WRONG_KEY = CredentialsInvalid("Bad field."), ConfigurationRefused("Wrong key.")
FAILS = "13:00 fails until the credentials are corrected"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(
            facts(record=HALF_PAST, scheduled=hourly("15:00", "13:00", "13:20")),
            ["13:00 reuses the renewal of 12:30", "13:20 renews", "15:00 renews"],
            id="in the reuse window and after it",
        ),
        pytest.param(
            facts(record=record(at("12:00")), scheduled=hourly("13:00", "13:30")),
            ["13:00 renews", "13:30 reuses the renewal of 13:00"],
            id="after a run that will renew",
        ),
        pytest.param(
            facts(record=HALF_PAST, scheduled=hourly("13:00", force=True)), ["13:00 renews"], id="forced"
        ),
        pytest.param(facts(attempt("12:30"), scheduled=TOMORROW), [f"01:00 {OVER}"], id="after midnight"),
        pytest.param(
            facts(attempt("12:30"), loaded=UNDATED, scheduled=TOMORROW), [f"01:00 {OVER}"], id="undated"
        ),
        pytest.param(facts(attempt("12:30", REFUSED), scheduled=ONE), [f"13:00 {OVER}"], id="refused"),
        pytest.param(facts(loaded=BAD_FIELD, scheduled=ONE), [FAILS], id="unusable credentials"),
        pytest.param(facts(checked=WRONG_KEY, scheduled=ONE), [FAILS], id="wrong key"),
        pytest.param(
            facts(attempt("09:30"), scheduled=(*LATE, *hourly("13:00", "14:00", "15:00"))),
            ["10:00 renews", "13:00 reuses the renewal of 12:40", "14:00 renews"],
            id="the first late one for all",
        ),
    ],
)
def test_next_runs(known: SessionFacts, expected: list[str]) -> None:
    """The forecast says of each run whether it will renew, reuse what was renewed by then, or fail."""
    runs = judged(known, at("12:40")).next_runs
    assert expected == [f"{run.at.astimezone(EASTERN):%H:%M} {run.message}" for run in runs]


EARLY = keys(at("06:00"))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(facts(attempt("09:00")), None, id="nothing"),
        pytest.param(facts(), "run `etrade-session status --credentials main --check`", id="unknown"),
        pytest.param(facts(attempt("07:59"), record=None), "--check`", id="unknown, with a history"),
        pytest.param(facts(loaded=SIGNED_OUT), "`etrade-session login --credentials main`", id="signed out"),
        pytest.param(
            facts(loaded=SIGNED_OUT, source=Source.ENVIRONMENT), "set ETRADE_ACCESS_TOKEN", id="environment"
        ),
        pytest.param(
            facts(attempt("09:00"), attempt("09:10", FAILED)),
            "run `etrade-session renew --credentials main`, which says what is wrong.",
            id="failing",
        ),
        pytest.param(
            facts(attempt("07:00"), loaded=EARLY), "`etrade-session renew --credentials main`.", id="idle"
        ),
        pytest.param(
            facts(attempt("07:00"), loaded=EARLY, scheduled=ONE), "main`, or wait for the next run.", id="due"
        ),
        pytest.param(
            facts(checked=RenewalFailed("No answer.", advice="wait a little.")), "wait a little.", id="check"
        ),
        pytest.param(
            facts(attempt("09:00"), loaded=keys(consumer_key_issued_on=date(2025, 7, 1))),
            KEY_ADVICE,
            id="key's age",
        ),
        pytest.param(
            facts(attempt("09:00"), scheduled=(ScheduledRun(at("09:05"), "hourly", True, "pool"),)),
            "`prefect worker start --pool pool`",
            id="no worker",
        ),
        pytest.param(
            facts(attempt("09:00"), scheduled=(ScheduledRun(at("09:05"), "hourly", True),)),
            "start the process that serves the deployment 'hourly'",
            id="not served",
        ),
    ],
)
def test_advice(known: SessionFacts, expected: str | None) -> None:
    """The advice names the one thing to do, or there is none."""
    advice = judged(known, at("09:20")).next
    assert expected == advice if expected is None else expected in advice


def test_status_holds_no_secret() -> None:
    """The status shows neither keys nor tokens."""
    told = judged(facts(attempt("09:00")), at("09:20")).model_dump_json()
    assert "fake-" not in told
