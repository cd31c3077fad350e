"""A picture of one Eastern day of an E*TRADE session, as SVG.

The shapes are drawn once, the words twice: for a wide place and for a narrow one. A media query, which an
image answers with the width it is shown at, picks the words that can be read. The picture carries its own
light card, so that it reads the same on a dark page.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any

import drawsvg as svg  # type: ignore[import-untyped]

from etrade_flows.report.day import (
    Phase,
    SessionDay,
    Stretch,
    day_bounds,
    explain,
    in_order,
    known_session,
    standing,
    stretches,
)
from etrade_flows.report.lettering import draw_words
from etrade_flows.report.shapes import (
    AMBER,
    BAD_MARKS,
    CARD,
    EMPTY,
    GOOD_MARKS,
    GREEN,
    GREY,
    HAIRLINE,
    HEIGHT,
    HOURS,
    INK,
    LEFT,
    LEGEND,
    LETTER,
    MUTED,
    RIGHT,
    TRACK,
    TRACK_END,
    TRACK_HEIGHT,
    WIDE,
    WIDTH,
    Scale,
    box,
    line,
    mark,
    whole_hours,
)
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.session import in_utc
from etrade_tasks.words import clock, date_words

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
# Marks shrink with the picture; thicker strokes keep them visible.
_CSS = (
    "@media(max-width:600px){.wide{display:none}.narrow{display:inline}"
    ".line{stroke-width:4}.dot{stroke-width:8}}"
)

_AHEAD = {Phase.ACTIVE: 0.3, Phase.INACTIVE: 0.2, Phase.NO_SESSION: 0.3}

_WORDS = {Phase.ACTIVE: "#ffffff", Phase.INACTIVE: "#402c00", Phase.NO_SESSION: "#39424e"}
_WORDS_AHEAD = {Phase.ACTIVE: "#075a3e", Phase.INACTIVE: "#684800", Phase.NO_SESSION: "#39424e"}

_MARK_GAP = 13


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
    scale = Scale(*day_bounds(now))
    drawing = svg.Drawing(WIDTH, HEIGHT, role="img", font_family=_FONT, fill=INK)
    drawing.append_css(_CSS)
    drawing.append_title(f"E*TRADE session on {date_words(now)}")
    drawing.append(svg.Raw(f"<desc>{escape(describe(day, now))}</desc>"))
    drawing.append(box(1, 1, WIDTH - 2, HEIGHT - 2, rx=14, fill=CARD, stroke=HAIRLINE, stroke_width=1.5))
    drawing.append(_grid(scale))
    drawing.extend(_track(stretches(day, now), scale))
    drawing.extend(_marks(_attempts_of(day, scale), scale))
    drawing.append(_legend(day, now, scale))
    drawing.extend(_needles(day, now, scale))
    drawing.extend(draw_words(day, now, scale))
    return str(drawing.as_svg(header=""))


def describe(day: SessionDay, now: datetime) -> str:
    """What the picture shows, in words, for those who cannot see it."""
    scale = Scale(*day_bounds(now))
    counts = Counter(attempt.outcome for attempt in _attempts_of(day, scale))
    attempts = ", ".join(f"{counts[o]} {o}" for o in AttemptOutcome if counts[o]) or "none"
    return (
        f"{date_words(now)} at {clock(now)} US Eastern: {standing(day, now)}, {explain(day, now)}. "
        f"Attempts to renew on that day: {attempts}."
    )


def _attempts_of(day: SessionDay, scale: Scale) -> list[Attempt]:
    return [attempt for attempt in in_order(day) if scale.start <= in_utc(attempt.at) < scale.end]


def _track(pieces: Iterable[Stretch], scale: Scale) -> Iterator[svg.DrawingElement]:
    """The day as a band: empty where nothing is known, pale where it is still ahead."""
    frame = {"x": LEFT, "y": TRACK, "width": RIGHT - LEFT, "height": TRACK_HEIGHT, "rx": 9}
    clip = svg.ClipPath([svg.Rectangle(**frame)])
    hatch = svg.Pattern(7, 7, patternTransform="rotate(45)")
    hatch.append(svg.Rectangle(0, 0, 7, 7, fill=AMBER))
    hatch.append(svg.Rectangle(0, 0, 2, 7, fill="#d8941b"))
    fills = {Phase.ACTIVE: GREEN, Phase.INACTIVE: hatch, Phase.NO_SESSION: GREY}
    band = svg.Group([svg.Rectangle(**frame, fill=EMPTY)], clip_path=clip)
    words: list[svg.DrawingElement] = []
    for piece in pieces:
        left, right = scale.x(piece.start), scale.x(piece.end)
        opacity = {"opacity": _AHEAD[piece.phase]} if piece.ahead else {}
        band.append(box(left, TRACK, right - left, TRACK_HEIGHT, fill=fills[piece.phase], **opacity))
        words.extend(_phase_word(piece, left, right))
    yield band
    yield svg.Rectangle(**frame, fill="none", stroke=HAIRLINE)
    yield svg.Group(words, class_="wide", text_anchor="middle")


def _phase_word(piece: Stretch, left: float, right: float) -> Iterator[svg.DrawingElement]:
    """The phase's name in its stretch, if there is room."""
    if right - left < len(piece.phase) * 13 * LETTER + 16:
        return
    colour = (_WORDS_AHEAD if piece.ahead else _WORDS)[piece.phase]
    style: dict[str, Any] = {"fill": colour, "font_weight": 400 if piece.ahead else 600}
    if piece.phase is Phase.INACTIVE and not piece.ahead:
        # A halo in the fill's colour keeps the letters clear of the hatching.
        style |= {"stroke": AMBER, "stroke_width": 5, "stroke_linejoin": "round", "paint_order": "stroke"}
    yield svg.Text(piece.phase.value, 13, round((left + right) / 2, 1), TRACK + 24, **style)


def _needles(day: SessionDay, now: datetime, scale: Scale) -> Iterator[svg.DrawingElement]:
    """The lines across the track: the session's end, and now."""
    x = scale.x(now)
    yield line(x, TRACK, TRACK_END, stroke=CARD, stroke_width=5)
    yield line(x, TRACK - 4, TRACK_END + 7, stroke=INK, stroke_width=2)
    session = known_session(day)
    if session and scale.holds(session.over_at):
        yield line(scale.x(session.over_at), TRACK - 4, TRACK_END + 7, stroke=INK, stroke_width=4)


def _grid(scale: Scale) -> svg.DrawingElement:
    path = "".join(f"M{x},{TRACK_END}V{HOURS - 13}" for x, _ in whole_hours(scale, WIDE.hours_apart))
    return svg.Path(path, stroke=HAIRLINE)


def _marks(attempts: Sequence[Attempt], scale: Scale) -> Iterator[svg.DrawingElement]:
    """What went well in one row, what did not in the next; in each row the weightier mark stays."""
    rows = (
        (GOOD_MARKS, (AttemptOutcome.RENEWED, AttemptOutcome.REUSED)),
        (BAD_MARKS, (AttemptOutcome.SIGN_IN_REQUIRED, AttemptOutcome.FAILED, AttemptOutcome.TOO_SHORT)),
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
                yield mark(outcome, [(x, y) for x in taken[before:]])


def _legend(day: SessionDay, now: datetime, scale: Scale) -> svg.DrawingElement:
    """What the marks mean and how many there are; only on wide places."""
    counts = Counter(attempt.outcome for attempt in _attempts_of(day, scale))
    legend = svg.Group(class_="wide", fill=MUTED)
    x = float(LEFT)
    for outcome in AttemptOutcome:
        if counts[outcome]:
            text = f"{counts[outcome]} {outcome}"
            legend.append(mark(outcome, [(x + 7, LEGEND - 4.5)]))
            legend.append(svg.Text(text, 12.5, round(x + 19, 1), LEGEND))
            x += 19 + len(text) * 12.5 * LETTER + 18
    if not counts:
        legend.append(svg.Text("no attempt to renew on this day", 12.5, x, LEGEND))
    if any(piece.ahead for piece in stretches(day, now)):
        note = "pale: what comes if nothing renews it"
        legend.append(svg.Text(note, 12.5, RIGHT, LEGEND, text_anchor="end"))
    return legend
