"""The measures, colours and shapes that the parts of the timeline share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import drawsvg as svg  # type: ignore[import-untyped]

from etrade_flows.runs.attempts import AttemptOutcome
from etrade_tasks.session import EASTERN, in_utc

WIDTH = 900
"""The picture's width, in its own units and in CSS pixels where nothing shrinks it."""

HEIGHT = 264
"""The picture's height, likewise."""

LEFT, RIGHT = 28, WIDTH - 28

# The rows, from the top down.
HEADLINE = 46
LABELS = 98
TRACK = 120
TRACK_HEIGHT = 38
TRACK_END = TRACK + TRACK_HEIGHT
GOOD_MARKS = TRACK_END + 14
BAD_MARKS = TRACK_END + 31
HOURS = 218
LEGEND = 246

# A sans-serif letter is rarely wider than this share of its size; text is never measured here.
LETTER = 0.57

INK, MUTED, HAIRLINE = "#1b2430", "#596473", "#d8dde3"
CARD, EMPTY = "#ffffff", "#f3f5f7"
GREEN, AMBER, GREY, RED = "#0b7a55", "#f4b740", "#c9ced6", "#c22f2f"
# Paths relative to a mark's middle. Shapes as well as colours tell the outcomes apart.
CHECK, DOT, CROSS, DIAMOND = (
    "m-5,0l3.5,4 6.5,-8",
    "h.01",
    "m-4.5,-4.5l9,9m0,-9l-9,9",
    "m0,-7l7,7-7,7-7,-7z",
)
_MARKS: dict[AttemptOutcome, tuple[str, dict[str, Any]]] = {
    AttemptOutcome.RENEWED: (
        CHECK,
        {"class_": "mark line", "fill": "none", "stroke": GREEN, "stroke_width": 2.4},
    ),
    AttemptOutcome.REUSED: (DOT, {"class_": "mark dot", "stroke": MUTED, "stroke_width": 5}),
    AttemptOutcome.FAILED: (
        CROSS,
        {"class_": "mark line", "fill": "none", "stroke": RED, "stroke_width": 2.4},
    ),
    AttemptOutcome.SIGN_IN_REQUIRED: (DIAMOND, {"class_": "mark", "fill": RED}),
    AttemptOutcome.TOO_SHORT: (
        DIAMOND,
        {"class_": "mark", "fill": "none", "stroke": MUTED, "stroke_width": 2},
    ),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How large the words are for one width of the place, and where they stand."""

    name: str
    headline: float
    label: float
    hour: float
    hours_y: float
    hours_apart: int


WIDE = Size("wide", headline=22, label=13.5, hour=12, hours_y=HOURS, hours_apart=3)
NARROW = Size("narrow", headline=40, label=26, hour=27, hours_y=HOURS + 25, hours_apart=6)


@dataclass(frozen=True, slots=True)
class Scale:
    """Places the instants of one day by elapsed time."""

    start: datetime
    end: datetime

    def x(self, instant: datetime) -> float:
        """Where an instant of the day is."""
        share = (in_utc(instant) - self.start) / (self.end - self.start)
        return round(LEFT + share * (RIGHT - LEFT), 1)

    def holds(self, instant: datetime) -> bool:
        """Whether the instant belongs to the day, either midnight included."""
        return self.start <= in_utc(instant) <= self.end


def box(x: float, y: float, width: float, height: float, **style: object) -> svg.DrawingElement:
    """A rectangle, its width rounded to what can be seen."""
    return svg.Rectangle(x, y, round(width, 1), height, **style)


def line(x: float, top: float, bottom: float, **style: object) -> svg.DrawingElement:
    """An upright line."""
    return svg.Path(f"M{x},{top}V{bottom}", **style)


def whole_hours(scale: Scale, apart: int) -> Iterator[tuple[float, str]]:
    """Each Eastern wall-clock hour that `apart` divides: where it is, and its name."""
    instant = scale.start
    while instant < scale.end:
        hour = instant.astimezone(EASTERN).hour
        if hour % apart == 0:
            yield scale.x(instant), f"{hour:02}:00"
        instant += timedelta(hours=1)
    yield scale.x(scale.end), "24:00"


def mark(outcome: AttemptOutcome, places: Iterable[tuple[float, float]]) -> svg.DrawingElement:
    """The marks of one outcome, as one path."""
    shape, style = _MARKS[outcome]
    path = "".join(f"M{x},{y}{shape}" for x, y in places)
    return svg.Path(path, **style, stroke_linecap="round", stroke_linejoin="round")
