"""The picture of a session's day, and how the day is divided for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etrade_flows.report.day import SessionDay, day_bounds, standing, stretches
from etrade_flows.report.drawing import HEIGHT, WIDTH
from etrade_flows.report.picture import draw_timeline as described_and_drawn
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.session import EASTERN

from .made_up import DATE, FAILED, REUSED, SIGN_IN_REQUIRED, SVG, a_day, at, attempt, days, signed_out

MARGIN = 28
LABEL_SIZE = "13.5"


def draw_timeline(day: SessionDay, now: datetime) -> str:
    """The picture without its description."""
    return described_and_drawn(day, now)[1]


def phases(day: SessionDay, now: datetime) -> str:
    """The day's stretches between Eastern wall-clock times; those in brackets are still ahead."""
    found = ""
    for state, start, end, ahead in stretches(standing(day, now), now):
        word = f"({state})" if ahead else str(state)
        begins = f"{start.astimezone(EASTERN):%H:%M}"
        found = found if found.endswith(begins) else f"{found} {begins}".strip()
        found += f" {word} {end.astimezone(EASTERN):%H:%M}"
    return found


def texts(picture: str, size: str = "wide") -> list[str]:
    """The words of a picture, as it is drawn at one width."""
    root = ET.fromstring(picture)  # noqa: S314  # our own text
    found = [text for group in root.findall(f"{SVG}g[@class='{size}']") for text in group.iter(f"{SVG}text")]
    return ["".join(text.itertext()).strip() for text in found]


def hours(picture: str) -> dict[str, float]:
    """The positions of a picture's hours."""
    root = ET.fromstring(picture)  # noqa: S314
    found = root.iterfind(f"{SVG}g[@class='wide']/{SVG}g/{SVG}text")
    return {str(text.text): float(text.attrib["x"]) for text in found}


def marks(picture: str) -> list[tuple[float, float]]:
    """The positions of a picture's marks, without those of its legend."""
    root = ET.fromstring(picture)  # noqa: S314
    paths = (path for path in root.findall(f"{SVG}path") if path.get("class", "").startswith("mark"))
    places = (place for path in paths for place in re.findall(r"M([\d.-]+),([\d.-]+)m?", path.attrib["d"]))
    return [(float(x), float(y)) for x, y in places]


# How the day is divided ---------------------------------------------------------------------------------


YESTERDAY = at("15:00", "2027-01-14")
RENEWED_IN_TIME, REVIVED = a_day("09:00", "10:30"), a_day("13:40")
RENEWED_AT_THE_LIMIT = a_day("10:00", "12:01")  # and then a minute late
RENEWED_BY_MIDNIGHT = a_day("22:30")
RENEWED_YESTERDAY_TOO = a_day(attempt(at("23:30", "2027-01-14")), "09:00", signed_in=None)
NOT_CALLED = a_day(attempt("09:30", REUSED), attempt("09:40", FAILED))
NOT_PROVEN = SessionDay(at("08:00"), None, None, ())
REFUSED = a_day(attempt("09:00", SIGN_IN_REQUIRED))
REFUSED_BEFORE = a_day(attempt("07:00", SIGN_IN_REQUIRED), "07:30")
SIGNED_OUT = signed_out()
SIGNED_OUT_SINCE = signed_out("09:00", attempt("09:30", FAILED))
OF_YESTERDAY = a_day(signed_in=YESTERDAY)
OF_A_LONG_DAY = a_day(signed_in=at("00:30", "2027-11-07"))  # the clocks go back at two


@pytest.mark.parametrize(
    ("day", "now", "expected"),
    [
        (RENEWED_IN_TIME, "11:00", "08:00 active 11:00 (active) 12:30 (idle) 00:00"),
        (REVIVED, "14:00", "08:00 active 10:00 idle 13:40 active 14:00 (active) 15:40 (idle) 00:00"),
        (RENEWED_AT_THE_LIMIT, "12:01", "08:00 active 12:00 idle 12:01 (active) 14:01 (idle) 00:00"),
        (RENEWED_BY_MIDNIGHT, "23:59", "08:00 active 10:00 idle 22:30 active 23:59 (active) 00:00"),
        (RENEWED_YESTERDAY_TOO, "10:00", "09:00 active 10:00 (active) 11:00 (idle) 00:00"),
        (NOT_CALLED, "11:00", "08:00 active 10:00 idle 11:00 (idle) 00:00"),
        (NOT_PROVEN, "11:00", ""),
        (REFUSED, "11:00", "08:00 active 09:00 None 11:00"),
        (REFUSED_BEFORE, "08:30", "08:00 active 08:30 (active) 10:00 (idle) 00:00"),
        (SIGNED_OUT, "11:00", "00:00 None 11:00"),
        (SIGNED_OUT_SINCE, "10:00", "09:00 active 10:00"),
        (OF_YESTERDAY, "00:20", "00:00 None 00:20"),
        (OF_A_LONG_DAY, "2027-11-07 05:00", "00:30 active 01:30 idle 05:00 (idle) 00:00"),
    ],
)
def test_the_day_is_read_in_stretches(day: SessionDay, now: str, expected: str) -> None:
    """Each use keeps the token active for two hours, and midnight or a refusal ends it."""
    assert expected == phases(day, at(*reversed(now.split())))


@given(days())
def test_stretches_follow_each_other(case: tuple[SessionDay, datetime]) -> None:
    """Whatever the day, its stretches have a length, come in order, do not overlap and stay within it."""
    found = list(stretches(standing(*case), case[1]))
    first, last = day_bounds(case[1])
    assert [] == [s for s in found if s.start < first or s.end > last]
    assert [] == [s for s in found if s.start >= s.end] + [
        (a, b) for a, b in pairwise(found) if a.end > b.start
    ]


# The picture --------------------------------------------------------------------------------------------


@given(days())
def test_marks_and_labels_keep_their_places(case: tuple[SessionDay, datetime]) -> None:
    """Whatever the day, each mark is inside the card, and no label covers another or the margins."""
    picture = draw_timeline(*case)
    assert [] == [(x, y) for x, y in marks(picture) if not (7 < x < WIDTH - 7 and 7 < y < HEIGHT - 7)]
    spans = []
    for text in ET.fromstring(picture).iterfind(  # noqa: S314
        f"{SVG}g[@class='wide']/{SVG}text[@font-size='{LABEL_SIZE}'][@text-anchor='middle']"
    ):
        half = len(str(text.text)) * float(LABEL_SIZE) * 0.57 / 2
        spans.append((float(text.attrib["x"]) - half, float(text.attrib["x"]) + half))
    spans.sort()
    edges = [MARGIN - 0.1, *(edge for span in spans for edge in span), WIDTH - MARGIN + 0.1]
    assert sorted(edges) == edges
    assert spans


@settings(max_examples=20)
@given(days(), st.integers(min_value=500, max_value=1500))
def test_a_busy_day_stays_small(case: tuple[SessionDay, datetime], count: int) -> None:
    """The picture of a day takes less than 12 kB, however many attempts there were."""
    day, now = case
    attempts = tuple(
        attempt(now + timedelta(minutes=i - count / 2), tuple(AttemptOutcome)[i % 4]) for i in range(count)
    )
    assert len(draw_timeline(dataclasses.replace(day, attempts=attempts), now)) < 12_000


@pytest.mark.parametrize(
    ("date", "noon", "said"),
    [
        pytest.param(DATE, 12 / 24, "Fri 15 Jan 2027 · US Eastern", id="24 hours"),
        pytest.param("2027-03-14", 11 / 23, "Sun 14 Mar 2027 · 23 hours · US Eastern", id="23 hours"),
        pytest.param("2027-11-07", 13 / 25, "Sun 7 Nov 2027 · 25 hours · US Eastern", id="25 hours"),
    ],
)
def test_hours_stand_where_they_elapse(date: str, noon: float, said: str) -> None:
    """Noon is where it falls in elapsed time, and a day that is not 24 hours long says so."""
    picture = draw_timeline(a_day(), at("15:00", date))
    assert pytest.approx(MARGIN + noon * (WIDTH - 2 * MARGIN), abs=0.1) == hours(picture)["12:00"]
    assert said in texts(picture)


def test_a_mark_stands_where_its_attempt_was() -> None:
    """An attempt at six is drawn a quarter along the track; attempts of other days are not drawn."""
    others = (attempt(at("23:59", "2027-01-14"), FAILED), attempt(at("00:00", "2027-01-16"), FAILED))
    ((x, _),) = marks(draw_timeline(a_day(attempt("06:00", FAILED), *others), at("15:00")))
    assert MARGIN + (WIDTH - 2 * MARGIN) / 4 == x


def test_marks_that_would_cover_each_other_are_drawn_once() -> None:
    """Failures a minute apart are drawn as one cross, and the legend counts them all."""
    day = a_day(*(attempt(f"09:0{minute}", FAILED) for minute in range(5)))
    picture = draw_timeline(day, at("15:00"))
    assert (1, True) == (len(marks(picture)), "5 failed" in texts(picture))


def test_a_failure_is_not_hidden_by_a_renewal() -> None:
    """A failure is drawn in a row of its own, below a renewal at the same time."""
    (_, good), (_, bad) = marks(draw_timeline(a_day("09:00", attempt("09:00", FAILED)), at("15:00")))
    assert good < bad


@pytest.mark.parametrize(
    ("day", "now", "expected"),
    [
        (a_day("09:00"), "10:00", "signed in 08:00, now 10:00, idle from 11:00, expires at midnight"),
        (
            REVIVED,
            "14:00",
            "signed in 08:00, idle 10:00 to 13:40, now 14:00, idle from 15:40, expires at midnight",
        ),
        (
            RENEWED_BY_MIDNIGHT,
            "23:58",
            "signed in 08:00, idle 10:00 to 22:30, now 23:58, expires at midnight",
        ),
        (
            a_day("09:00", signed_in=None),
            "10:00",
            "first used 09:00, now 10:00, idle from 11:00, expires at midnight",
        ),
        (REFUSED, "10:00", "signed in 08:00, refused 09:00, now 10:00"),
        (SIGNED_OUT, "10:00", "now 10:00"),
        (
            signed_out("09:00", attempt("09:30", SIGN_IN_REQUIRED)),
            "10:00",
            "first used 09:00, ended by 09:30, now 10:00",
        ),
        (OF_YESTERDAY, "00:20", "now 00:20"),
        (a_day(attempt(YESTERDAY, SIGN_IN_REQUIRED), signed_in=YESTERDAY), "00:20", "now 00:20"),
    ],
)
def test_turning_points_are_named(day: SessionDay, now: str, expected: str) -> None:
    """The labels above the track name the day's turning points, from left to right."""
    shown = texts(draw_timeline(day, at(now)))
    words = [text for text in shown if re.search("signed|used|idle .|refus|now|expires|ended", text)]
    headlines = ("Active", "Sign-in required", "Signed out", "pale")
    assert expected == ", ".join(text for text in words if not text.startswith(headlines))


def test_a_narrow_place_names_what_matters_most() -> None:
    """A phone shows how the session stands, as a wide page does, but labels only now and the idle limit."""
    words = texts(draw_timeline(a_day("13:40"), at("14:00")), "narrow")
    assert ["Active", "00", "06", "12", "18", "24", "now 14:00", "idle from 15:40"] == words
    dead = draw_timeline(REFUSED, at("09:30"))
    assert "Sign-in required" == texts(dead, "narrow")[0]
    assert "Sign-in requiredE*TRADE refused the token at 09:00" in texts(dead)


def test_what_is_ahead_is_paler_than_what_was() -> None:
    """What is still ahead is drawn faintly, and then, and only then, the legend says what pale means."""
    picture, explained = draw_timeline(a_day("09:00"), at("10:00")), "pale: what comes if nothing renews it"
    band = ET.fromstring(picture).findall(f"{SVG}g[@clip-path]/{SVG}rect")[1:]  # noqa: S314
    assert [False, True, True] == [float(piece.get("opacity", "1")) < 0.5 for piece in band]
    assert explained in texts(picture)
    assert explained not in texts(draw_timeline(a_day(signed_in=None), at("09:00")))


def test_the_picture_says_in_words_what_it_shows() -> None:
    """The picture's description says how the session stands and counts the attempts."""
    day, now = a_day("09:00", attempt("09:20", REUSED), "10:00"), at("10:30")
    expected = (
        "Fri 15 Jan 2027 at 10:30 US Eastern: active, good until midnight US Eastern. "
        "Attempts to renew on that day: 2 renewed, 1 reused."
    )
    assert expected == described_and_drawn(day, now)[0]


def test_the_same_day_makes_the_same_picture() -> None:
    """The picture does not depend on the order of the attempts or on the zone of their times."""
    one, other = attempt("09:00"), attempt("10:00", FAILED)
    elsewhere = Attempt(one.at.astimezone(UTC), one.outcome, one.detail, one.took)
    now = at("15:00")
    assert draw_timeline(a_day(one, other), now) == draw_timeline(
        a_day(other, elsewhere), now.astimezone(UTC)
    )


NAIVE = datetime(2027, 1, 15, 9)  # noqa: DTZ001  # naive on purpose


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda: draw_timeline(a_day(), NAIVE), id="now"),
        pytest.param(lambda: attempt(NAIVE), id="an attempt"),
        pytest.param(lambda: a_day(signed_in=NAIVE), id="the sign-in"),
        pytest.param(lambda: SessionDay(None, NAIVE, None, ()), id="the renewal"),
        pytest.param(lambda: SessionDay(at("08:00"), None, NAIVE, ()), id="the expiry"),
    ],
)
def test_a_datetime_without_a_zone_is_refused(use: Callable[[], object]) -> None:
    """A naive datetime is refused, because nobody can say where on the Eastern day it is."""
    with pytest.raises(ValueError, match=r"without a time zone|should have timezone"):
        use()
