"""A picture of one Eastern day of an E*TRADE session, as SVG.

The shapes are drawn once, the words twice: for a wide place and for a narrow one. A media query, which an
image answers with the width it is shown at, picks the words that can be read. The picture carries its own
light card, so that it reads the same on a dark page.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any

import drawsvg as svg  # type: ignore[import-untyped]

from etrade_flows.session_day import (
    Attempt,
    AttemptOutcome,
    Phase,
    SessionDay,
    Standing,
    Stretch,
    clock,
    date_words,
    day_bounds,
    explain,
    in_order,
    known_session,
    standing,
    stretches,
)
from etrade_tasks.session import EASTERN, in_utc

WIDTH = 900
"""The picture's width, in its own units and in CSS pixels where nothing shrinks it."""

HEIGHT = 264
"""The picture's height, likewise."""

_LEFT, _RIGHT = 28, WIDTH - 28

# The rows, from the top down.
_HEADLINE = 46
_LABELS = 98
_TRACK = 120
_TRACK_HEIGHT = 38
_TRACK_END = _TRACK + _TRACK_HEIGHT
_GOOD_MARKS = _TRACK_END + 14
_BAD_MARKS = _TRACK_END + 31
_HOURS = 218
_LEGEND = 246

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
# Marks shrink with the picture; thicker strokes keep them visible.
_CSS = (
    "@media(max-width:600px){.wide{display:none}.narrow{display:inline}"
    ".line{stroke-width:4}.dot{stroke-width:8}}"
)
# A sans-serif letter is rarely wider than this share of its size; text is never measured here.
_LETTER = 0.57

_INK, _MUTED, _HAIRLINE = "#1b2430", "#596473", "#d8dde3"
_CARD, _EMPTY = "#ffffff", "#f3f5f7"
_GREEN, _AMBER, _GREY, _RED = "#0b7a55", "#f4b740", "#c9ced6", "#c22f2f"
_AHEAD = {Phase.ACTIVE: 0.3, Phase.INACTIVE: 0.2, Phase.NO_SESSION: 0.3}

_WORDS = {Phase.ACTIVE: "#ffffff", Phase.INACTIVE: "#402c00", Phase.NO_SESSION: "#39424e"}
_WORDS_AHEAD = {Phase.ACTIVE: "#075a3e", Phase.INACTIVE: "#684800", Phase.NO_SESSION: "#39424e"}

# Paths relative to a mark's middle. Shapes as well as colours tell the outcomes apart.
_CHECK, _DOT, _CROSS, _DIAMOND = (
    "m-5,0l3.5,4 6.5,-8",
    "h.01",
    "m-4.5,-4.5l9,9m0,-9l-9,9",
    "m0,-7l7,7-7,7-7,-7z",
)
_PAUSE, _EXCLAMATION = "m-3,-4v8m6,-8v8", "m0,-5v5m0,4.5v.01"
_MARK_GAP = 13
_MARKS: dict[AttemptOutcome, tuple[str, dict[str, Any]]] = {
    AttemptOutcome.RENEWED: (
        _CHECK,
        {"class_": "mark line", "fill": "none", "stroke": _GREEN, "stroke_width": 2.4},
    ),
    AttemptOutcome.REUSED: (_DOT, {"class_": "mark dot", "stroke": _MUTED, "stroke_width": 5}),
    AttemptOutcome.FAILED: (
        _CROSS,
        {"class_": "mark line", "fill": "none", "stroke": _RED, "stroke_width": 2.4},
    ),
    AttemptOutcome.SIGN_IN_REQUIRED: (_DIAMOND, {"class_": "mark", "fill": _RED}),
}


@dataclass(frozen=True, slots=True)
class _Size:
    """How large the words are for one width of the place, and where they stand."""

    name: str
    headline: float
    label: float
    hour: float
    hours_y: float
    hours_apart: int


_WIDE = _Size("wide", headline=22, label=13.5, hour=12, hours_y=_HOURS, hours_apart=3)
_NARROW = _Size("narrow", headline=40, label=26, hour=27, hours_y=_HOURS + 25, hours_apart=6)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Places the instants of one day by elapsed time."""

    start: datetime
    end: datetime

    def x(self, instant: datetime) -> float:
        """Where an instant of the day is."""
        share = (in_utc(instant) - self.start) / (self.end - self.start)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def holds(self, instant: datetime) -> bool:
        """Whether the instant belongs to the day, either midnight included."""
        return self.start <= in_utc(instant) <= self.end


@dataclass(frozen=True, slots=True)
class _Label:
    """Words that point at a place of the track."""

    x: float
    text: str
    essential: bool = True
    is_now: bool = False

    def width(self, size: _Size) -> float:
        """The room it takes, at the most."""
        return len(self.text) * size.label * _LETTER + (size.label * 1.2 if self.is_now else 0)


def draw_timeline(day: SessionDay, now: datetime) -> str:
    """The SVG text of the Eastern day of `now`: how the session stood, stands, and will if left alone.

    Hours are placed by elapsed time and labelled by the clock on an Eastern wall, so a day of 23 or 25 hours
    fills the same width. Marks too near to each other to be told apart are drawn once.

    Args:
        day: What is known of the session.
        now: The moment to draw it at; its Eastern date is the day that is drawn.

    Raises:
        ValueError: A datetime is naive.
    """
    scale = _Scale(*day_bounds(now))
    drawing = svg.Drawing(WIDTH, HEIGHT, role="img", font_family=_FONT, fill=_INK)
    drawing.append_css(_CSS)
    drawing.append_title(f"E*TRADE session on {date_words(now)}")
    drawing.append(svg.Raw(f"<desc>{escape(describe(day, now))}</desc>"))
    drawing.append(_box(1, 1, WIDTH - 2, HEIGHT - 2, rx=14, fill=_CARD, stroke=_HAIRLINE, stroke_width=1.5))
    drawing.append(_grid(scale))
    drawing.extend(_track(stretches(day, now), scale))
    drawing.extend(_marks(_attempts_of(day, scale), scale))
    drawing.append(_legend(day, now, scale))
    labels = list(_labels(day, now, scale))
    drawing.extend(_needles(day, now, scale))
    for size in (_WIDE, _NARROW):
        words = [*_headline(day, now, size), _hours(scale, size), *_place(labels, size)]
        hidden = {} if size is _WIDE else {"display": "none"}
        drawing.append(svg.Group(words, class_=size.name, **hidden))
    return str(drawing.as_svg(header=""))


def describe(day: SessionDay, now: datetime) -> str:
    """What the picture shows, in words, for those who cannot see it."""
    scale = _Scale(*day_bounds(now))
    counts = Counter(attempt.outcome for attempt in _attempts_of(day, scale))
    attempts = ", ".join(f"{counts[o]} {o}" for o in AttemptOutcome if counts[o]) or "none"
    return (
        f"{date_words(now)} at {clock(now)} US Eastern: {standing(day, now)}, {explain(day, now)}. "
        f"Attempts to renew on that day: {attempts}."
    )


def _attempts_of(day: SessionDay, scale: _Scale) -> list[Attempt]:
    return [attempt for attempt in in_order(day) if scale.start <= in_utc(attempt.at) < scale.end]


# The track ----------------------------------------------------------------------------------------------


def _box(x: float, y: float, width: float, height: float, **style: object) -> svg.DrawingElement:
    return svg.Rectangle(x, y, round(width, 1), height, **style)


def _track(pieces: Iterable[Stretch], scale: _Scale) -> Iterator[svg.DrawingElement]:
    """The day as a band: empty where nothing is known, pale where it is still ahead."""
    frame = {"x": _LEFT, "y": _TRACK, "width": _RIGHT - _LEFT, "height": _TRACK_HEIGHT, "rx": 9}
    clip = svg.ClipPath([svg.Rectangle(**frame)])
    hatch = svg.Pattern(7, 7, patternTransform="rotate(45)")
    hatch.append(svg.Rectangle(0, 0, 7, 7, fill=_AMBER))
    hatch.append(svg.Rectangle(0, 0, 2, 7, fill="#d8941b"))
    fills = {Phase.ACTIVE: _GREEN, Phase.INACTIVE: hatch, Phase.NO_SESSION: _GREY}
    band = svg.Group([svg.Rectangle(**frame, fill=_EMPTY)], clip_path=clip)
    words: list[svg.DrawingElement] = []
    for piece in pieces:
        left, right = scale.x(piece.start), scale.x(piece.end)
        opacity = {"opacity": _AHEAD[piece.phase]} if piece.ahead else {}
        band.append(_box(left, _TRACK, right - left, _TRACK_HEIGHT, fill=fills[piece.phase], **opacity))
        words.extend(_phase_word(piece, left, right))
    yield band
    yield svg.Rectangle(**frame, fill="none", stroke=_HAIRLINE)
    yield svg.Group(words, class_="wide", text_anchor="middle")


def _phase_word(piece: Stretch, left: float, right: float) -> Iterator[svg.DrawingElement]:
    """The phase's name in its stretch, if there is room."""
    if right - left < len(piece.phase) * 13 * _LETTER + 16:
        return
    colour = (_WORDS_AHEAD if piece.ahead else _WORDS)[piece.phase]
    style: dict[str, Any] = {"fill": colour, "font_weight": 400 if piece.ahead else 600}
    if piece.phase is Phase.INACTIVE and not piece.ahead:
        # A halo in the fill's colour keeps the letters clear of the hatching.
        style |= {"stroke": _AMBER, "stroke_width": 5, "stroke_linejoin": "round", "paint_order": "stroke"}
    yield svg.Text(piece.phase.value, 13, round((left + right) / 2, 1), _TRACK + 24, **style)


def _needles(day: SessionDay, now: datetime, scale: _Scale) -> Iterator[svg.DrawingElement]:
    """The lines across the track: the session's end, and now."""
    x = scale.x(now)
    yield _line(x, _TRACK, _TRACK_END, stroke=_CARD, stroke_width=5)
    yield _line(x, _TRACK - 4, _TRACK_END + 7, stroke=_INK, stroke_width=2)
    session = known_session(day)
    if session and scale.holds(session.over_at):
        yield _line(scale.x(session.over_at), _TRACK - 4, _TRACK_END + 7, stroke=_INK, stroke_width=4)


def _line(x: float, top: float, bottom: float, **style: object) -> svg.DrawingElement:
    return svg.Path(f"M{x},{top}V{bottom}", **style)


# Hours --------------------------------------------------------------------------------------------------


def _whole_hours(scale: _Scale, apart: int) -> Iterator[tuple[float, str]]:
    """Each Eastern wall-clock hour that `apart` divides: where it is, and its name."""
    instant = scale.start
    while instant < scale.end:
        hour = instant.astimezone(EASTERN).hour
        if hour % apart == 0:
            yield scale.x(instant), f"{hour:02}:00"
        instant += timedelta(hours=1)
    yield scale.x(scale.end), "24:00"


def _grid(scale: _Scale) -> svg.DrawingElement:
    path = "".join(f"M{x},{_TRACK_END}V{_HOURS - 13}" for x, _ in _whole_hours(scale, _WIDE.hours_apart))
    return svg.Path(path, stroke=_HAIRLINE)


def _hours(scale: _Scale, size: _Size) -> svg.DrawingElement:
    row = svg.Group(text_anchor="middle", fill=_MUTED)
    for x, name in _whole_hours(scale, size.hours_apart):
        row.append(svg.Text(name if size is _WIDE else name[:2], size.hour, x, size.hours_y))
    return row


# Marks --------------------------------------------------------------------------------------------------


def _mark(outcome: AttemptOutcome, places: Iterable[tuple[float, float]]) -> svg.DrawingElement:
    """The marks of one outcome, as one path."""
    shape, style = _MARKS[outcome]
    path = "".join(f"M{x},{y}{shape}" for x, y in places)
    return svg.Path(path, **style, stroke_linecap="round", stroke_linejoin="round")


def _marks(attempts: Sequence[Attempt], scale: _Scale) -> Iterator[svg.DrawingElement]:
    """What went well in one row, what did not in the next; in each row the weightier mark stays."""
    rows = (
        (_GOOD_MARKS, (AttemptOutcome.RENEWED, AttemptOutcome.REUSED)),
        (_BAD_MARKS, (AttemptOutcome.SIGN_IN_REQUIRED, AttemptOutcome.FAILED)),
    )
    for y, outcomes in rows:
        taken: list[float] = []
        for outcome in outcomes:
            before = len(taken)
            for attempt in attempts:
                x = scale.x(attempt.at)
                if attempt.outcome is outcome and all(abs(x - other) >= _MARK_GAP for other in taken):
                    taken.append(x)
            if taken[before:]:
                yield _mark(outcome, [(x, y) for x in taken[before:]])


def _legend(day: SessionDay, now: datetime, scale: _Scale) -> svg.DrawingElement:
    """What the marks mean and how many there are; only on wide places."""
    counts = Counter(attempt.outcome for attempt in _attempts_of(day, scale))
    legend = svg.Group(class_="wide", fill=_MUTED)
    x = float(_LEFT)
    for outcome in AttemptOutcome:
        if counts[outcome]:
            text = f"{counts[outcome]} {outcome}"
            legend.append(_mark(outcome, [(x + 7, _LEGEND - 4.5)]))
            legend.append(svg.Text(text, 12.5, round(x + 19, 1), _LEGEND))
            x += 19 + len(text) * 12.5 * _LETTER + 18
    if not counts:
        legend.append(svg.Text("no attempt to renew on this day", 12.5, x, _LEGEND))
    if any(piece.ahead for piece in stretches(day, now)):
        note = "pale: what comes if nothing renews it"
        legend.append(svg.Text(note, 12.5, _RIGHT, _LEGEND, text_anchor="end"))
    return legend


# Words --------------------------------------------------------------------------------------------------


def _headline(day: SessionDay, now: datetime, size: _Size) -> Iterator[svg.DrawingElement]:
    stands = standing(day, now)
    yield _badge(stands, size)
    text = svg.Text("", size.headline, round(_LEFT + size.headline * 1.55, 1), _HEADLINE)
    text.append(svg.TSpan(stands.value.capitalize(), font_weight=700))
    if size is _WIDE:
        text.append(svg.TSpan(explain(day, now), font_size=15, fill=_MUTED, dx=12))
        yield svg.Text(_date_line(now), 13.5, _RIGHT, _HEADLINE, text_anchor="end", fill=_MUTED)
    yield text


def _date_line(now: datetime) -> str:
    start, end = day_bounds(now)
    hours = (end - start) // timedelta(hours=1)
    length = "" if hours == 24 else f" · {hours} hours"  # noqa: PLR2004
    return f"{date_words(now)}{length} · US Eastern"


def _badge(stands: Standing, size: _Size) -> svg.DrawingElement:
    """The standing as a sign that can be told without its colour."""
    fill, shape, ink = {
        Standing.ACTIVE: (_GREEN, _CHECK, _CARD),
        Standing.INACTIVE: (_AMBER, _PAUSE, _INK),
        Standing.FAILING: (_RED, _CROSS, _CARD),
        Standing.SIGN_IN_REQUIRED: (_RED, _EXCLAMATION, _CARD),
    }[stands]
    zoom = size.headline / 22
    middle = f"translate({round(_LEFT + 13 * zoom, 1)},{round(_HEADLINE - 8 * zoom, 1)})scale({zoom:.2f})"
    badge = svg.Group(transform=middle)
    if stands is Standing.SIGN_IN_REQUIRED:
        badge.append(svg.Path("M0,-14 14,0 0,14 -14,0z", fill=fill, stroke=fill, stroke_linejoin="round"))
    else:
        badge.append(svg.Circle(0, 0, 12.5, fill=fill))
    badge.append(svg.Path(f"M0,0{shape}", fill="none", stroke=ink, stroke_width=2.6, stroke_linecap="round"))
    return badge


def _labels(day: SessionDay, now: datetime, scale: _Scale) -> Iterator[_Label]:
    """What the day's turning points are called, in no order."""
    yield _Label(scale.x(now), f"now {clock(now)}", is_now=True)
    session = known_session(day)
    if session is None:
        return
    if scale.holds(session.began_at):
        word = "signed in" if day.signed_in_at else "first used"
        yield _Label(scale.x(session.began_at), f"{word} {clock(session.began_at)}", essential=False)
    gaps = [p for p in stretches(day, now) if p.phase is Phase.INACTIVE and p.end < session.idle_at]
    if gaps:
        gap = gaps[-1]
        middle = (scale.x(gap.start) + scale.x(gap.end)) / 2
        yield _Label(middle, f"idle {clock(gap.start)} to {clock(gap.end)}", essential=False)
    if scale.holds(session.idle_at) and session.idle_at < session.over_at:
        yield _Label(scale.x(session.idle_at), f"idle from {clock(session.idle_at)}")
    if session.refused and scale.holds(session.over_at):
        yield _Label(scale.x(session.over_at), f"refused {clock(session.over_at)}")
    elif session.over_at == scale.end:
        # A narrow place has no room for these words, and there the end of the track says it.
        yield _Label(scale.x(scale.end), "over at midnight", essential=False)


def _place(labels: Iterable[_Label], size: _Size) -> Iterator[svg.DrawingElement]:
    """The labels in one row, each as near to its place as the others let it."""
    row = sorted((x for x in labels if x.essential or size is _WIDE), key=lambda label: label.x)
    now = next(i for i, label in enumerate(row) if label.is_now)
    lefts = _spread([(label.x, label.width(size)) for label in row], now, size.label)
    for label, left in zip(row, lefts, strict=True):
        width = label.width(size)
        nearest = round(min(max(label.x, left), left + width), 1)
        stroke = {"stroke": _INK, "stroke_width": 2} if label.is_now else {"stroke": _MUTED}
        yield svg.Path(f"M{nearest},{_LABELS + 6}L{label.x},{_TRACK - 4}", **stroke)
        style = {}
        if label.is_now:
            top, height = round(_LABELS - size.label * 1.13, 1), round(size.label * 1.55, 1)
            yield _box(left, top, width, height, rx=5, fill=_INK)
            style = {"fill": _CARD, "font_weight": 700}
        middle = round(left + width / 2, 1)
        yield svg.Text(label.text, size.label, middle, _LABELS, text_anchor="middle", **style)


def _spread(wanted: Sequence[tuple[float, float]], pivot: int, apart: float) -> list[float]:
    """The left edge of each (middle, width), in order: apart from each other and within the margins.

    The one at `pivot` stays where it wants to be if it can, and the others make way.
    """
    lefts = [middle - width / 2 for middle, width in wanted]
    ends = [width + apart for _, width in wanted]
    last = len(wanted) - 1
    for i in range(pivot, 0, -1):
        lefts[i - 1] = min(lefts[i - 1], lefts[i] - ends[i - 1])
    for i in range(pivot, last):
        lefts[i + 1] = max(lefts[i + 1], lefts[i] + ends[i])
    # The margins have the last word.
    lefts[0] = max(lefts[0], _LEFT)
    for i in range(last):
        lefts[i + 1] = max(lefts[i + 1], lefts[i] + ends[i])
    lefts[last] = min(lefts[last], _RIGHT - wanted[last][1])
    for i in range(last, 0, -1):
        lefts[i - 1] = min(lefts[i - 1], lefts[i] - ends[i - 1])
    return [round(left, 1) for left in lefts]
