"""What an operator reads about a session, above all the first line."""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta, timezone, tzinfo
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from etrade_flows.report.day import SessionDay
from etrade_flows.report.markdown import DETAIL_LENGTH, escape, render_report
from etrade_flows.report.picture import draw_timeline
from etrade_flows.runs.attempts import Attempt
from etrade_tasks.session import EASTERN, midnight_after

from .made_up import (
    BERLIN,
    FAILED,
    REUSED,
    SIGN_IN_REQUIRED,
    TOO_SHORT,
    a_day,
    at,
    attempt,
    days,
    signed_out,
)


class Rendered:
    """A report as a viewer shows it: its tables, images, links and other text."""

    def __init__(self, markdown: str) -> None:
        viewer = MarkdownIt("commonmark", {"html": True, "xhtmlOut": True}).enable(["table", "strikethrough"])
        # It shows an image with its data in the address, as Prefect does.
        viewer.validateLink = lambda _: True  # type: ignore[method-assign]
        page = ET.fromstring(f"<html>{viewer.render(markdown)}</html>")  # noqa: S314  # our own text
        self.tables = [
            [["".join(cell.itertext()).replace("\u00a0", " ") for cell in row] for row in table.iter("tr")]
            for table in page.iter("table")
        ]
        self.images = [image.attrib for image in page.iter("img")]
        self.links = [link.get("href") for link in page.iter("a")]
        self.tags = {element.tag for element in page.iter()} - {"html"}
        self.text = "".join(page.itertext())


def day_in(report: str) -> list[list[str]]:
    """The rows of the table of attempts, which includes the sign-in."""
    return next((rows for head, *rows in Rendered(report).tables if "outcome" in head), [])


def attempts_in(report: str) -> list[list[str]]:
    """The rows of the attempts."""
    return [row for row in day_in(report) if row[1] != "→ signed in"]


def limits_in(report: str) -> list[list[str]]:
    """The rows of the table of times, with its header."""
    return next((table for table in Rendered(report).tables if "how long" in table[0]), [])


# The first line -----------------------------------------------------------------------------------------


GOOD = "✅ active: good until midnight US Eastern"
REFUSED_AT_NINE = "⛔ sign-in required: E*TRADE refused the token at 09:00"
OVER_AT_MIDNIGHT = "⛔ sign-in required: the last session ended at midnight"
OVER_FOR_LONG = "⛔ sign-in required: the last session was of Fri 15 Jan 2027"
NOBODY = "⛔ signed out: nobody is signed in"
UNKNOWN = "❔ unknown: no renewal of this token is known"
REFUSED = attempt("09:00", SIGN_IN_REQUIRED)
LATE_FAILURE = attempt("11:00", FAILED)
LATE = a_day("23:30", attempt("23:50", FAILED))


@pytest.mark.parametrize(
    ("day", "now", "expected"),
    [
        (a_day(), at("09:00"), GOOD),
        (a_day("22:30"), at("23:00"), GOOD),
        (a_day(), at("10:00"), "⚠️ idle: the next renewal revives it"),
        (
            a_day(attempt("09:00", FAILED)),
            at("09:30"),
            "❌ failing: idle from 10:00 unless a renewal comes first",
        ),
        (a_day(LATE_FAILURE), at("11:30"), "❌ failing: idle since 10:00"),
        (a_day(LATE_FAILURE, signed_in=None), at("11:30"), "❌ failing: no sign-in is known"),
        (a_day(attempt("09:00", FAILED), "09:10"), at("09:30"), GOOD),
        (a_day(attempt("07:00", FAILED)), at("08:30"), GOOD),
        (a_day(attempt("09:00", TOO_SHORT)), at("09:30"), GOOD),
        (a_day(REFUSED), at("09:30"), REFUSED_AT_NINE),
        (a_day(REFUSED), at("09:30", "2027-01-16"), OVER_FOR_LONG),
        (a_day(attempt("07:00", SIGN_IN_REQUIRED)), at("08:30"), GOOD),
        (a_day(REFUSED, signed_in=None), at("09:30"), REFUSED_AT_NINE),
        (signed_out("08:30", REFUSED), at("09:30"), NOBODY),
        (signed_out(attempt("09:00", FAILED)), at("09:30"), NOBODY),
        (a_day(signed_in=None), at("09:30"), UNKNOWN),
        (LATE, at("00:00", "2027-01-16"), OVER_AT_MIDNIGHT),
        (LATE, at("23:00", "2027-01-16"), OVER_AT_MIDNIGHT),
        (LATE, at("00:00", "2027-01-17"), OVER_FOR_LONG),
    ],
)
def test_the_first_line_says_how_the_session_stands(day: SessionDay, now: datetime, expected: str) -> None:
    """The first line says how the session stands, with one symbol, and why or until when."""
    first_line = render_report("main", day, now).splitlines()[0]
    assert expected == Rendered(first_line).text.strip()


@settings(max_examples=50)
@given(st.text(), days())
def test_whatever_the_day_the_standing_comes_first(name: str, case: tuple[SessionDay, datetime]) -> None:
    """Whatever the day, the report has a first line on the session, one picture and at most ten rows."""
    report = render_report(name, *case, BERLIN)
    known = r"## (✅ active|⚠️ idle|❌ failing|❔ unknown|⛔ sign-in required|⛔ signed out): \S.*"
    assert re.fullmatch(known, report.splitlines()[0])
    assert min(len(case[0].attempts) + 1, 10) >= len(day_in(report))
    assert 1 == len(Rendered(report).images)


# The times ----------------------------------------------------------------------------------------------


def test_the_limits_are_told_in_both_zones_and_by_distance() -> None:
    """An operator elsewhere reads each time in both zones, and how far away it is."""
    day = a_day(renewed_at=at("14:05"), expires_at=midnight_after(at("14:05")))
    expected = [
        ["", "Eastern", "local (CET)", "how long"],
        ["renewed", "14:05", "20:05", "5 min ago"],
        ["goes idle", "16:05", "22:05", "in 1 h 55 min"],
        ["expires", "00:00, Sat 16 Jan", "06:00, Sat 16 Jan", "in 9 h 50 min"],
    ]
    assert expected == limits_in(render_report("main", day, at("14:10"), BERLIN))


@pytest.mark.parametrize(
    "local",
    [None, EASTERN, timezone(timedelta(hours=-5), "EST")],
    ids=["no zone", "Eastern itself", "the same offset"],
)
def test_eastern_time_is_told_once(local: tzinfo | None) -> None:
    """A reader in Eastern time, or in an unknown zone, gets no second column of times."""
    assert ["", "Eastern", "how long"] == limits_in(render_report("main", a_day(), at("09:00"), local))[0]


NONE = "–"  # noqa: RUF001  # an empty cell
AT_TEN = "renewed, 10:00, 1 h 30 min ago"
TWICE = at("01:00", "2027-11-07")  # on the day of 25 hours


@pytest.mark.parametrize(
    ("day", "now", "expected"),
    [
        (a_day("10:00", LATE_FAILURE), at("11:30"), AT_TEN),
        (a_day("10:00", renewed_at=at("09:00")), at("11:30"), AT_TEN),
        (a_day("09:00", renewed_at=at("10:00")), at("11:30"), AT_TEN),
        (a_day("10:00", signed_in=None), at("11:30"), AT_TEN),
        (a_day("07:00", renewed_at=None), at("09:00"), f"renewed, {NONE}, not since the sign-in"),
        (a_day("09:00"), at("09:00:09"), "renewed, 09:00, just now"),
        (a_day("22:00"), at("23:00"), f"goes idle, {NONE}, not before the session ends"),
        (a_day("08:30", REFUSED), at("09:00:45"), "refused, 09:00, 45 s ago"),
        (signed_out("08:30", REFUSED), at("09:00:45"), "ended by, 09:00, 45 s ago"),
        (SessionDay(TWICE, None, None, ()), TWICE, "expires, 00:00, Mon 8 Nov, in 1 d 0 h"),
    ],
)
def test_each_limit_is_told(day: SessionDay, now: datetime, expected: str) -> None:
    """The times show the last renewal, the idle limit and the end, with their distance in elapsed time."""
    assert expected in map(", ".join, limits_in(render_report("main", day, now)))


def test_if_nothing_is_known_nothing_is_listed() -> None:
    """If nothing is known about a session, its report has no tables, and says that no attempt is known."""
    report = render_report("main", a_day(signed_in=None), at("09:00"))
    assert ([], []) == (limits_in(report), day_in(report))
    assert "No attempt to renew is known." in report


# The picture --------------------------------------------------------------------------------------------


def test_the_picture_is_in_the_report() -> None:
    """The image's address holds the whole picture, and its alternative text says what it shows."""
    day, now = a_day("09:00"), at("10:00")
    (image,) = Rendered(render_report("main", day, now)).images
    head, _, data = str(image["src"]).partition(",")
    assert ("data:image/svg+xml;base64", draw_timeline(day, now)[1]) == (
        head,
        base64.b64decode(data).decode(),
    )
    assert "active, good until midnight US Eastern" in str(image["alt"])


def test_a_working_day_makes_a_small_report() -> None:
    """The report of a whole day of hourly runs stays under the 12 kB that a viewer shows without delay."""
    attempts = (attempt(f"{hour:02}:05", detail="The token is active again.") for hour in range(9, 24))
    assert len(render_report("main", a_day(*attempts), at("23:30"), BERLIN).encode()) < 12_000


# The attempts -------------------------------------------------------------------------------------------


def test_the_last_ten_attempts_are_listed_newest_first() -> None:
    """The report lists the latest ten attempts, whatever their order, and says how many there were."""
    report = render_report(
        "main", a_day(*(attempt(f"10:{m:02}") for m in (7, *range(7), *range(8, 15)))), at("11:00")
    )
    assert [f"10:{m:02}" for m in range(14, 4, -1)] == [row[0] for row in attempts_in(report)]
    assert "10 of 16" in report


CUT = "x" * (DETAIL_LENGTH - 1) + "…"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (attempt("09:00", took=timedelta(seconds=0.84)), ["09:00", "✓ renewed", "Done.", "0.8 s"]),
        (attempt("09:00", REUSED, took=timedelta(0)), ["09:00", "• reused", "Done.", "0.0 s"]),
        (attempt("09:00", FAILED, took=timedelta(seconds=150)), ["09:00", "✕ failed", "Done.", "2 min"]),
        (attempt("09:00", SIGN_IN_REQUIRED), ["09:00", "◆ sign-in required", "Done.", NONE]),
        (attempt("09:00", TOO_SHORT, ""), ["09:00", "◇ too short", NONE, NONE]),
        (attempt(at("09:00", "2027-01-14")), ["09:00, Thu 14 Jan", "✓ renewed", "Done.", NONE]),
        (attempt("09:00", detail="x" * 9999), ["09:00", "✓ renewed", CUT, NONE]),
    ],
)
def test_an_attempt_tells_its_outcome_and_length(listed: Attempt, expected: list[str]) -> None:
    """Each attempt has its time, its date if it was earlier, its mark, a text that is cut, and its length."""
    assert [expected] == attempts_in(render_report("main", a_day(listed), at("10:00")))


def test_the_sign_in_stands_among_the_attempts() -> None:
    """Today's sign-in is listed among the attempts in order of time; one of another day is not."""
    day = a_day(attempt("07:00", SIGN_IN_REQUIRED), "09:00")
    rows = day_in(render_report("main", day, at("10:00")))
    assert [("09:00", "✓ renewed"), ("08:00", "→ signed in"), ("07:00", "◆ sign-in required")] == [
        tuple(row[:2]) for row in rows
    ]
    assert [] == day_in(render_report("main", a_day(), at("09:00", "2027-01-16")))


def test_reused_renewals_stand_with_the_one_they_reused() -> None:
    """Reused renewals take no rows of their own: the renewal's row counts them."""
    day = a_day("09:00", attempt("09:10", REUSED), attempt("09:20", REUSED), "10:00")
    rows = attempts_in(render_report("main", day, at("10:30")))
    assert [("10:00", "Done."), ("09:00", "Done. Reused 2 times since, last at 09:20.")] == [
        (row[0], row[2]) for row in rows
    ]
    unseen = a_day(attempt("09:00", FAILED), attempt("09:10", REUSED), attempt("09:20", REUSED))
    rows = attempts_in(render_report("main", unseen, at("10:30")))
    assert ["• reused", "Done. Reused once since, last at 09:20."] == rows[0][1:3]


# What to do next ----------------------------------------------------------------------------------------


def test_advice_and_notice_are_given_above_the_tables() -> None:
    """The advice and then the notice are above the picture and the tables, shown letter for letter."""
    advice, notice = "open Blocks > main, or set the ETRADE_* variables | and run it.", "The key | lapses."
    report = render_report("main", a_day(), at("09:00"), advice=advice, notice=notice)
    text = Rendered(report).text
    assert 0 < text.index(f"Next: {advice}") < text.index(f"⚠️ {notice}")
    assert report.index("Next:") < report.index("⚠️") < report.index("data:image")
    assert "⚠️" not in render_report("main", a_day("08:30"), at("09:00"))


def test_advice_shows_commands_as_code_and_addresses_as_links() -> None:
    """A command in the advice is shown as code, and an address as a link without the sentence's full stop."""
    address = "https://us.etrade.com/e/t/etws/authorize?key=a_b&token=c*d%2F"
    advice = f"run `etrade-session login | a_b`; then sign in at {address}. Then return."
    rendered = Rendered(render_report("main", a_day(), at("09:00"), advice=advice))
    assert f"Next: {advice.replace('`', '')}" in rendered.text
    assert ([address], True) == (rendered.links, "code" in rendered.tags)


# Escaping -----------------------------------------------------------------------------------------------

VISIBLE = st.characters(categories=["L", "N", "P", "S"])


@settings(max_examples=50)
@given(st.text(VISIBLE, min_size=1, max_size=DETAIL_LENGTH))
@example("a | b")
@example("a \\| b \\")
@example("<img src=x onerror=alert(1)>")
@example("<script>alert(1)</script>")
@example("[text](javascript:alert(1)) ![x](y)")
@example("**bold** _thin_ ~~gone~~ `code` ``")
@example("&lt;b&gt; &amp; &#42; &copy;")
@example("# head")
@example("$x$ {y} !")
def test_what_comes_from_outside_is_shown_letter_for_letter(text: str) -> None:
    """Any visible text in a detail or a name is shown as it is, and no markup in it breaks the table."""
    rendered = Rendered(render_report(text, a_day(attempt("09:00", FAILED, text)), at("10:00")))
    (_, row, _) = rendered.tables[-1]
    assert ["09:00", "✕ failed", text, NONE] == [cell.replace("\u2060", "") for cell in row]
    assert f"{text} on Fri 15 Jan" in rendered.text.replace("\u2060", "")
    assert {"h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "img"} == rendered.tags


def test_lines_become_one() -> None:
    """Line breaks, tabs and characters that change the direction of writing become spaces."""
    assert "a b c d e" == escape(" a\r\nb\tc\u202e d\x00\u2028e\n")


@pytest.mark.parametrize(
    "text", ["see https://evil.example/x", "see www.evil.example", "ask me@evil.example"]
)
def test_a_strangers_address_is_not_made_a_link(text: str) -> None:
    """Viewers turn addresses into links by themselves; one that E*TRADE's answer holds stays text."""
    pattern = r"https?://|www\.|\w@\w"
    assert (True, False) == (bool(re.search(pattern, text)), bool(re.search(pattern, escape(text))))
