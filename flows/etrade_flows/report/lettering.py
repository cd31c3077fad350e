"""The timeline's words: headline, labels and hours, for a wide place and for a narrow one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import drawsvg as svg  # type: ignore[import-untyped]

from etrade_flows.report.day import (
    Phase,
    SessionDay,
    Standing,
    day_bounds,
    explain,
    known_session,
    standing,
    stretches,
)
from etrade_flows.report.shapes import (
    AMBER,
    CARD,
    CHECK,
    CROSS,
    GREEN,
    HEADLINE,
    INK,
    LABELS,
    LEFT,
    LETTER,
    MUTED,
    NARROW,
    RED,
    RIGHT,
    TRACK,
    WIDE,
    Scale,
    Size,
    box,
    whole_hours,
)
from etrade_tasks.words import clock, date_words

_PAUSE, _EXCLAMATION = "m-3,-4v8m6,-8v8", "m0,-5v5m0,4.5v.01"


@dataclass(frozen=True, slots=True)
class _Label:
    """Words that point at a place of the track."""

    x: float
    text: str
    essential: bool = True
    is_now: bool = False

    def width(self, size: Size) -> float:
        """The room it takes, at the most."""
        return len(self.text) * size.label * LETTER + (size.label * 1.2 if self.is_now else 0)


def draw_words(day: SessionDay, now: datetime, scale: Scale) -> Iterator[svg.DrawingElement]:
    """The words in both sizes; the picture's style sheet shows the one that can be read."""
    labels = list(_labels(day, now, scale))
    for size in (WIDE, NARROW):
        words = [*_headline(day, now, size), _hours(scale, size), *_place(labels, size)]
        hidden = {} if size is WIDE else {"display": "none"}
        yield svg.Group(words, class_=size.name, **hidden)


def _hours(scale: Scale, size: Size) -> svg.DrawingElement:
    row = svg.Group(text_anchor="middle", fill=MUTED)
    for x, name in whole_hours(scale, size.hours_apart):
        row.append(svg.Text(name if size is WIDE else name[:2], size.hour, x, size.hours_y))
    return row


def _headline(day: SessionDay, now: datetime, size: Size) -> Iterator[svg.DrawingElement]:
    stands = standing(day, now)
    yield _badge(stands, size)
    text = svg.Text("", size.headline, round(LEFT + size.headline * 1.55, 1), HEADLINE)
    text.append(svg.TSpan(stands.value.capitalize(), font_weight=700))
    if size is WIDE:
        text.append(svg.TSpan(explain(day, now), font_size=15, fill=MUTED, dx=12))
        yield svg.Text(_date_line(now), 13.5, RIGHT, HEADLINE, text_anchor="end", fill=MUTED)
    yield text


def _date_line(now: datetime) -> str:
    start, end = day_bounds(now)
    hours = (end - start) // timedelta(hours=1)
    length = "" if hours == 24 else f" · {hours} hours"  # noqa: PLR2004
    return f"{date_words(now)}{length} · US Eastern"


def _badge(stands: Standing, size: Size) -> svg.DrawingElement:
    """The standing as a sign that can be told without its colour."""
    fill, shape, ink = {
        Standing.ACTIVE: (GREEN, CHECK, CARD),
        Standing.INACTIVE: (AMBER, _PAUSE, INK),
        Standing.FAILING: (RED, CROSS, CARD),
        Standing.SIGN_IN_REQUIRED: (RED, _EXCLAMATION, CARD),
    }[stands]
    zoom = size.headline / 22
    middle = f"translate({round(LEFT + 13 * zoom, 1)},{round(HEADLINE - 8 * zoom, 1)})scale({zoom:.2f})"
    badge = svg.Group(transform=middle)
    if stands is Standing.SIGN_IN_REQUIRED:
        badge.append(svg.Path("M0,-14 14,0 0,14 -14,0z", fill=fill, stroke=fill, stroke_linejoin="round"))
    else:
        badge.append(svg.Circle(0, 0, 12.5, fill=fill))
    badge.append(svg.Path(f"M0,0{shape}", fill="none", stroke=ink, stroke_width=2.6, stroke_linecap="round"))
    return badge


def _labels(day: SessionDay, now: datetime, scale: Scale) -> Iterator[_Label]:
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


def _place(labels: Iterable[_Label], size: Size) -> Iterator[svg.DrawingElement]:
    """The labels in one row, each as near to its place as the others let it."""
    row = sorted((x for x in labels if x.essential or size is WIDE), key=lambda label: label.x)
    now = next(i for i, label in enumerate(row) if label.is_now)
    lefts = _spread([(label.x, label.width(size)) for label in row], now, size.label)
    for label, left in zip(row, lefts, strict=True):
        width = label.width(size)
        nearest = round(min(max(label.x, left), left + width), 1)
        stroke = {"stroke": INK, "stroke_width": 2} if label.is_now else {"stroke": MUTED}
        yield svg.Path(f"M{nearest},{LABELS + 6}L{label.x},{TRACK - 4}", **stroke)
        style = {}
        if label.is_now:
            top, height = round(LABELS - size.label * 1.13, 1), round(size.label * 1.55, 1)
            yield box(left, top, width, height, rx=5, fill=INK)
            style = {"fill": CARD, "font_weight": 700}
        middle = round(left + width / 2, 1)
        yield svg.Text(label.text, size.label, middle, LABELS, text_anchor="middle", **style)


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
    lefts[0] = max(lefts[0], LEFT)
    for i in range(last):
        lefts[i + 1] = max(lefts[i + 1], lefts[i] + ends[i])
    lefts[last] = min(lefts[last], RIGHT - wanted[last][1])
    for i in range(last, 0, -1):
        lefts[i - 1] = min(lefts[i - 1], lefts[i] - ends[i - 1])
    return [round(left, 1) for left in lefts]
