"""A picture of one Eastern day of an E*TRADE session, as SVG.

The shapes are drawn once, the words twice: for wide and for narrow places. A media query, which in an image
uses the image's own width, picks the readable words. The picture has its own light card, so that it looks the
same on a dark page.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from html import escape

from etrade_flows.report.day import SessionDay, Stretch, day_bounds, explain, standing, stretches
from etrade_flows.report.drawing import (
    AMBER,
    CARD,
    EMPTY,
    GREEN,
    GREY,
    HAIRLINE,
    HEIGHT,
    INK,
    LEFT,
    LETTER,
    MUTED,
    RED,
    RIGHT,
    TRACK,
    Label,
    box,
    canvas,
    place_labels,
    tag,
    text_at,
)
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_tasks.session import EASTERN, SessionState, in_utc
from etrade_tasks.words import clock, date_words

# The rows above and below the track, from top to bottom.
HEADLINE, TRACK_END, HOURS, LEGEND = 46, TRACK + 38, 218, 246
_MARK_GAP = 13
# For each state of a stretch: its fill, its opacity when ahead, and the colour of its words now and ahead.
_STRETCHES = {
    SessionState.ACTIVE: (GREEN, 0.3, CARD, "#075a3e"),
    SessionState.IDLE: ("url(#idle)", 0.2, "#402c00", "#684800"),
    None: (GREY, 0.3, "#39424e", "#39424e"),
}
# Paths relative to a mark's middle. Both shapes and colours distinguish the outcomes.
_CHECK, _CROSS, _DIAMOND = "m-5,0l3.5,4 6.5,-8", "m-4.5,-4.5l9,9m0,-9l-9,9", "m0,-7l7,7-7,7-7,-7z"
_PAUSE, _EXCLAMATION, _QUESTION = "m-3,-4v8m6,-8v8", "m0,-5v5m0,4.5v.01", "m-3,-3a3,3 0 1 1 3,3v1m0,4.5v.01"
_LINE: dict[str, object] = {"class_": "mark line", "fill": "none", "stroke_width": 2.4}
_MARKS: dict[AttemptOutcome, tuple[str, dict[str, object]]] = {
    AttemptOutcome.RENEWED: (_CHECK, _LINE | {"stroke": GREEN}),
    AttemptOutcome.REUSED: ("h.01", {"class_": "mark dot", "stroke": MUTED, "stroke_width": 5}),
    AttemptOutcome.SIGN_IN_REQUIRED: (_DIAMOND, {"class_": "mark", "fill": RED}),
    AttemptOutcome.FAILED: (_CROSS, _LINE | {"stroke": RED}),
    AttemptOutcome.TOO_SHORT: (
        _DIAMOND,
        {"class_": "mark", "fill": "none", "stroke": MUTED, "stroke_width": 2},
    ),
}
_BADGES = {
    "active": (GREEN, _CHECK, CARD),
    "idle": (AMBER, _PAUSE, INK),
    "unknown": (AMBER, _QUESTION, INK),
    "failing": (RED, _CROSS, CARD),
}


def draw_timeline(day: SessionDay, now: datetime) -> tuple[str, str]:
    """The Eastern day of `now` in words and as SVG: how the session was, is, and will be if left alone.

    Hours are placed by elapsed time and labelled with Eastern wall-clock time, so a day of 23 or 25 hours
    fills the same width. Marks too near to each other to distinguish are drawn once.

    Args:
        day: What is known about the session.
        now: The current time; its Eastern date is the day to draw.

    Raises:
        ValueError: A datetime is naive.
    """
    picture = _Picture(day, now)
    return picture.describe(), canvas(HEIGHT, picture.draw())


class _Picture:
    """One picture: what is known about the day, and the parts of the drawing."""

    def __init__(self, day: SessionDay, now: datetime) -> None:
        self.day, self.now = day, in_utc(now)
        self.start, self.end = day_bounds(now)
        self.stands = standing(day, now)
        self.session = self.stands.session
        self.why = explain(self.stands, now)
        self.pieces = list(stretches(self.stands, now))
        self.attempts = [a for a in day.attempts if self.start <= a.at < self.end]
        self.counts = Counter(attempt.outcome for attempt in self.attempts)

    def draw(self) -> Iterator[str]:
        grid = "".join(f"M{x:g},{TRACK_END}V{HOURS - 13}" for x, _ in self.hours(3))
        yield tag("path", d=grid, stroke=HAIRLINE)
        yield from self.track()
        yield from self.marks()
        yield tag("g", *self.legend(), class_="wide", fill=MUTED)
        yield from self.needles()
        yield tag("g", *self.words(wide=True), class_="wide")
        yield tag("g", *self.words(wide=False), class_="narrow", display="none")

    def describe(self) -> str:
        attempts = ", ".join(f"{self.counts[o]} {o}" for o in AttemptOutcome if self.counts[o]) or "none"
        return (
            f"{date_words(self.now)} at {clock(self.now)} US Eastern: {self.stands.word}, {self.why}. "
            f"Attempts to renew on that day: {attempts}."
        )

    def x(self, instant: datetime) -> float:
        """The x position of a time of the day, by elapsed time."""
        share = (instant - self.start) / (self.end - self.start)
        return round(LEFT + share * (RIGHT - LEFT), 1)

    def hours(self, apart: int) -> Iterator[tuple[float, str]]:
        """Each Eastern wall-clock hour that is a multiple of `apart`: its x position and its name."""
        instant = self.start
        while instant < self.end:
            hour = instant.astimezone(EASTERN).hour
            if hour % apart == 0:
                yield self.x(instant), f"{hour:02}:00"
            instant += timedelta(hours=1)
        yield self.x(self.end), "24:00"

    def track(self) -> Iterator[str]:
        """The day as a band: empty where nothing is known, pale in the future."""
        frame = {"x": LEFT, "y": TRACK, "width": RIGHT - LEFT, "height": TRACK_END - TRACK, "rx": 9}
        hatch = (box(0, 0, 7, 7, fill=AMBER), box(0, 0, 2, 7, fill="#d8941b"))
        style = {"patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"}
        yield tag(
            "defs",
            tag("clipPath", tag("rect", **frame), id="track"),
            tag("pattern", *hatch, id="idle", width=7, height=7, **style),
        )
        band, words = [tag("rect", **frame, fill=EMPTY)], []
        for piece in self.pieces:
            left, right = self.x(piece.start), self.x(piece.end)
            fill, faint, *_ = _STRETCHES[piece.state]
            opacity = {"opacity": faint} if piece.ahead else {}
            band.append(box(left, TRACK, right - left, TRACK_END - TRACK, fill=fill, **opacity))
            word = piece.state.value if piece.state else "no session"
            if right - left >= len(word) * 13 * LETTER + 16:
                words.append(_stretch_word(word, piece, (left + right) / 2))
        yield tag("g", *band, clip_path="url(#track)")
        yield tag("rect", **frame, fill="none", stroke=HAIRLINE)
        yield tag("g", *words, class_="wide", text_anchor="middle")

    def marks(self) -> Iterator[str]:
        """Successes in one row, failures in the next; where marks overlap, the more important one stays."""
        good = (AttemptOutcome.RENEWED, AttemptOutcome.REUSED)
        bad = (AttemptOutcome.SIGN_IN_REQUIRED, AttemptOutcome.FAILED, AttemptOutcome.TOO_SHORT)
        for y, outcomes in ((TRACK_END + 14, good), (TRACK_END + 31, bad)):
            taken: list[float] = []
            for outcome in outcomes:
                before = len(taken)
                for x in (self.x(a.at) for a in self.attempts if a.outcome is outcome):
                    if all(abs(x - other) >= _MARK_GAP for other in taken):
                        taken.append(x)
                if taken[before:]:
                    yield _mark(outcome, ((x, y) for x in taken[before:]))

    def legend(self) -> Iterator[str]:
        """What the marks mean and how many there are; only on wide places."""
        x = float(LEFT)
        for outcome in AttemptOutcome:
            if self.counts[outcome]:
                text = f"{self.counts[outcome]} {outcome}"
                yield _mark(outcome, [(x + 7, LEGEND - 4.5)])
                yield text_at(text, 12.5, x + 19, LEGEND)
                x += 19 + len(text) * 12.5 * LETTER + 18
        if not self.counts:
            yield text_at("no attempt to renew on this day", 12.5, x, LEGEND)
        if any(piece.ahead for piece in self.pieces):
            note = "pale: what comes if nothing renews it"
            yield text_at(note, 12.5, RIGHT, LEGEND, text_anchor="end")

    def needles(self) -> Iterator[str]:
        """The lines across the track, for now and for the session's end."""
        x = self.x(self.now)
        yield tag("path", d=f"M{x:g},{TRACK}V{TRACK_END}", stroke=CARD, stroke_width=5)
        yield tag("path", d=f"M{x:g},{TRACK - 4}V{TRACK_END + 7}", stroke=INK, stroke_width=2)
        if self.session and self.start <= self.session.over_at <= self.end:
            end = f"M{self.x(self.session.over_at):g},{TRACK - 4}V{TRACK_END + 7}"
            yield tag("path", d=end, stroke=INK, stroke_width=4)

    def words(self, *, wide: bool) -> Iterator[str]:
        """Headline, hours and labels, in the size for a wide or a narrow place."""
        large, label, hour, below, apart = (22, 13.5, 12, 0, 3) if wide else (40, 26, 27, 25, 6)
        yield _badge(self.stands.word, large / 22)
        headline = [tag("tspan", self.stands.word.capitalize(), font_weight=700)]
        if wide:
            headline.append(tag("tspan", escape(self.why), font_size=15, fill=MUTED, dx=12))
            length = (self.end - self.start) // timedelta(hours=1)
            unusual = "" if length == 24 else f" · {length} hours"  # noqa: PLR2004
            date = f"{date_words(self.now)}{unusual} · US Eastern"
            yield text_at(date, 13.5, RIGHT, HEADLINE, text_anchor="end", fill=MUTED)
        yield tag("text", *headline, x=round(LEFT + large * 1.55, 1), y=HEADLINE, font_size=large)
        names = (text_at(name if wide else name[:2], hour, x, HOURS + below) for x, name in self.hours(apart))
        yield tag("g", *names, text_anchor="middle", fill=MUTED)
        yield from place_labels([each for each in self.turning_points() if wide or each[2]], label)

    def turning_points(self) -> Iterator[Label]:
        """The labels above the track, now's first: position, words, and whether narrow places show it."""
        yield self.x(self.now), f"now {clock(self.now)}", True
        session = self.session
        if session is None:
            return
        if self.start <= session.began_at <= self.end:
            word = "signed in" if self.day.signed_in_at else "first used"
            yield self.x(session.began_at), f"{word} {clock(session.began_at)}", False
        idle = [p for p in self.pieces if p.state is SessionState.IDLE and p.end < session.idle_at]
        if idle:
            middle = (self.x(idle[-1].start) + self.x(idle[-1].end)) / 2
            yield middle, f"idle {clock(idle[-1].start)} to {clock(idle[-1].end)}", False
        if self.start <= session.idle_at <= self.end and session.idle_at < session.over_at:
            yield self.x(session.idle_at), f"idle from {clock(session.idle_at)}", True
        if session.ended_early and self.start <= session.over_at <= self.end:
            word = "refused" if self.day.signed_in else "ended by"
            yield self.x(session.over_at), f"{word} {clock(session.over_at)}", True
        elif session.over_at == self.end:
            # A narrow place has no room for these words; the end of the track shows it there.
            yield self.x(self.end), "expires at midnight", False


def _stretch_word(word: str, piece: Stretch, middle: float) -> str:
    *_, past, coming = _STRETCHES[piece.state]
    style: dict[str, object] = {"fill": coming if piece.ahead else past}
    style["font_weight"] = 400 if piece.ahead else 600
    if piece.state is SessionState.IDLE and not piece.ahead:
        # A halo in the fill's colour keeps the letters clear of the hatching.
        style |= {"stroke": AMBER, "stroke_width": 5, "stroke_linejoin": "round", "paint_order": "stroke"}
    return text_at(word, 13, middle, TRACK + 24, **style)


def _badge(word: str, zoom: float) -> str:
    """How the session stands, as a sign that is clear even without its colour."""
    fill, shape, ink = _BADGES.get(word, (RED, _EXCLAMATION, CARD))
    middle = f"translate({round(LEFT + 13 * zoom, 1)},{round(HEADLINE - 8 * zoom, 1)})scale({zoom:.2f})"
    ground = tag("circle", r=12.5, fill=fill)
    if word not in _BADGES:
        ground = tag("path", d="M0,-14 14,0 0,14 -14,0z", fill=fill, stroke=fill, stroke_linejoin="round")
    sign = tag("path", d=f"M0,0{shape}", fill="none", stroke=ink, stroke_width=2.6, stroke_linecap="round")
    return tag("g", ground, sign, transform=middle)


def _mark(outcome: AttemptOutcome, places: Iterable[tuple[float, float]]) -> str:
    """The marks of one outcome, as one path."""
    shape, style = _MARKS[outcome]
    path = "".join(f"M{x:g},{y:g}{shape}" for x, y in places)
    return tag("path", d=path, **style, stroke_linecap="round", stroke_linejoin="round")
