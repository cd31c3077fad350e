"""The overview of all accounts, made of what their reports keep."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import date, datetime, timedelta

import pytest

from etrade_flows.report.overview import DAYS, Account, DayMarks, draw_strips, render_overview
from etrade_flows.runs.attempts import Attempt

from .made_up import FAILED, REUSED, SVG, a_day, at, attempt

GREEN, AMBER, INK, RED = "#0b7a55", "#f4b740", "#1b2430", "#c22f2f"
TODAY = date(2027, 1, 15)


def account(*attempts: Attempt | str, now: str = "12:00", before: Account | None = None) -> Account:
    """An account after a day with these attempts and a sign-in at six."""
    return Account.of(a_day(*attempts, signed_in="06:00"), at(now), before.metadata() if before else None)


def fills(svg: str) -> list[str | None]:
    """The colours of the boxes."""
    return [box.get("fill") for box in ET.fromstring(svg).iter(f"{SVG}rect")]  # noqa: S314


def test_a_day_keeps_sign_in_gaps_and_failures() -> None:
    """A day keeps when the token was active, when somebody signed in and what failed."""
    marks = account("07:00", "12:00", attempt("13:00", FAILED)).days[TODAY]
    assert ((0.25, 0.375), (0.5, 0.583)) == marks.active
    assert (0.25, (0.542,)) == (marks.signed_in, marks.failed)


def test_earlier_days_are_kept_for_four_weeks() -> None:
    """A report keeps what the one before it knew, except for days older than the strip."""
    days = {TODAY - timedelta(days=back): DayMarks(signed_in=0.3) for back in (1, DAYS - 1, DAYS)}
    kept = account(before=Account(line="", days=days)).days
    assert [TODAY - timedelta(days=back) for back in (DAYS - 1, 1, 0)] == sorted(kept)


@pytest.mark.parametrize("metadata", [None, {}, {"overview-0": "{"}, {"overview-0": '{"days": 3}'}])
def test_metadata_of_anybody_else_are_no_account(metadata: dict[str, str] | None) -> None:
    """A report whose metadata cannot be read counts as none, and its account starts empty."""
    assert Account.read(metadata) is None
    assert [TODAY] == list(Account.of(a_day(), at("12:00"), metadata).days)


def test_an_account_is_read_as_it_was_written() -> None:
    """What one run writes about an account, the next one reads."""
    written = account("07:00")
    assert written == Account.read(written.metadata())


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (at("11:59"), "✅ active: good until midnight US Eastern; renewed 10:00"),
        (at("12:00"), "⚠️ idle: since 12:00"),
        (
            at("00:00", TODAY + timedelta(days=1)),
            "⛔ sign-in required: the last session was of Fri 15 Jan 2027",
        ),
    ],
    ids=["still", "idle since", "expired"],
)
def test_a_row_stands_as_it_does_by_now(now: datetime, expected: str) -> None:
    """The row of an account without recent runs shows how its session stands now."""
    assert expected == account("10:00", now="10:00").line_at(now)


def test_row_changes_when_the_session_does() -> None:
    """The row stays the same while a renewal is reused, and changes with the next renewal."""
    known = {"09:01": ["09:00"], "09:20": ["09:00", attempt("09:20", REUSED)], "10:00": ["09:00", "10:00"]}
    good = "✅ active: good until midnight US Eastern; renewed"
    assert [f"{good} 09:00", f"{good} 09:00", f"{good} 10:00"] == [
        account(*attempts, now=now).line for now, attempts in known.items()
    ]


def test_overview_has_a_row_for_each_account() -> None:
    """Accounts are listed by name, each with how it stands, and names are shown letter for letter."""
    known = {"b|*": account("11:00"), "a": account("09:00")}
    line, text = render_overview(known, at("12:00"))
    rows = [row for row in text.splitlines() if row.startswith("|")][2:]
    assert rows == [
        "| a | ⚠️ idle: the next renewal revives it; renewed 09:00 |",
        r"| b\|\* | ✅ active: good until midnight US Eastern; renewed 11:00 |",
    ]
    assert "⚠️ 1 of 2 sessions are good" == line


def test_an_account_that_nothing_is_heard_of_leaves_the_overview() -> None:
    """An account without a report for four weeks leaves the overview."""
    line, text = render_overview({"gone": account("11:00")}, at("12:00") + timedelta(days=DAYS))
    assert ("✅ 0 of 0 sessions are good", False) == (line, "gone" in text)


def test_strip_draws_each_day() -> None:
    """The picture shows a day's activity, its gap, sign-in and failure, and says the same in words."""
    failed = attempt("13:00", FAILED)
    words, svg = draw_strips({"main": account("07:00", "12:00", failed)}, at("13:00"))
    assert [2, 1, 1, 1] == [fills(svg).count(colour) for colour in (GREEN, AMBER, INK, RED)]
    assert "The last 28 days. main: a session on 1 days, failures on 1." == words
