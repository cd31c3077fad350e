"""How a fleet's tokens ended, in words and as rows."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from etrade_flows.fleet.tally import Tally, troubles
from etrade_tasks import RenewalFailed, SignInRequired, TokenSession
from etrade_tasks.session import midnight_after


@pytest.fixture
def session(noon: datetime) -> TokenSession:
    return TokenSession(
        environment="live",
        fingerprint="0" * 16,
        renewed_at=noon,
        idle_at=noon + timedelta(hours=2),
        expires_at=midnight_after(noon),
    )


def test_rows_that_need_somebody_come_first(noon: datetime, session: TokenSession) -> None:
    """Sign-ins come first, then failures, then good sessions, then waiting tokens; each sorted by name."""
    tally = Tally(("a", "b", "c", "d", "e"))
    tally.settle("a", session, noon)
    tally.settle("c", RenewalFailed("E*TRADE was away."), noon)
    tally.settle("d", SignInRequired("It is over.", advice="sign in."), noon)
    assert [
        ("d", "⛔ sign-in required", "12:00", "It is over.", "sign in."),
        ("c", "❌ failed", "12:00", "E*TRADE was away.", RenewalFailed.default_advice),
        ("a", "✅ renewed", "12:00", "Renewed in 1 call; idle from 14:00, expires at 00:00 US Eastern.", ""),
        ("b", "… waiting", "", "", ""),
        ("e", "… waiting", "", "", ""),
    ] == [tuple(row.values()) for row in tally.rows()]
    assert "… 1 of 5 sessions are good, 2 to go" == tally.headline()
    assert 60.0 == tally.progress


def test_a_cell_is_short_and_on_one_line(noon: datetime) -> None:
    """A cell shows an error's message on one line, cut if it is long."""
    tally = Tally(("a",))
    tally.settle("a", RenewalFailed("first\nsecond \u202e" + "x" * 500, advice="wait."), noon)
    [row] = tally.rows()
    assert row["what happened"].startswith("first second")
    assert (240, True) == (len(row["what happened"]), row["what happened"].isprintable())


def test_every_name_is_listed_once_with_its_reason() -> None:
    """Names that need a sign-in are listed together, and so are names with the same failure."""
    errors = {
        "a": SignInRequired("Over."),
        "b": RenewalFailed("Away.", status=503),
        "c": SignInRequired("Over."),
        "d": RenewalFailed("Away.", status=503),
        "e": RenewalFailed("No answer."),
    }
    assert "Sign in: a, c. RenewalFailed (status 503): b, d. RenewalFailed: e." == troubles(errors)
