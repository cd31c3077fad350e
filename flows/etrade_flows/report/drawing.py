"""The picture's sizes, colours and elements, and the placing of labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

WIDTH, HEIGHT = 900, 264
"""The picture's size, in its own units, which are CSS pixels if nothing shrinks it."""

LEFT, RIGHT = 28, WIDTH - 28
LABELS, TRACK = 98, 120
LETTER = 0.57  # A sans-serif letter is rarely wider than this fraction of its size; text is never measured.

INK, MUTED, CARD = "#1b2430", "#596473", "#ffffff"
HAIRLINE, EMPTY = "#d8dde3", "#f3f5f7"
GREEN, AMBER, GREY, RED = "#0b7a55", "#f4b740", "#c9ced6", "#c22f2f"
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

# Marks shrink with the picture; thicker strokes keep them visible.
NARROW = (
    "@media(max-width:600px){.wide{display:none}.narrow{display:inline}"
    ".line{stroke-width:4}.dot{stroke-width:8}}"
)

Label = tuple[float, str, bool]
"""Where it points to, its words, and whether narrow places show it too."""


def canvas(height: int, title: str, described: str, inside: Iterable[str]) -> str:
    """The whole picture: its text for people who cannot see it, a light card, and the drawing on that."""
    around = (
        tag("style", NARROW),
        tag("title", title),
        tag("desc", escape(described)),
        box(1, 1, WIDTH - 2, height - 2, rx=14, fill=CARD, stroke=HAIRLINE, stroke_width=1.5),
    )
    size = {"width": WIDTH, "height": height, "viewBox": f"0 0 {WIDTH} {height}"}
    svg = "http://www.w3.org/2000/svg"
    return tag("svg", *around, *inside, xmlns=svg, **size, role="img", font_family=FONT, fill=INK)


def text_at(text: str, size: float, x: float, y: float, **style: object) -> str:
    """Words at a place."""
    return tag("text", escape(text), x=round(x, 1), y=y, font_size=size, **style)


def box(x: float, y: float, width: float, height: float, **style: object) -> str:
    """A rectangle."""
    return tag("rect", x=x, y=y, width=round(width, 1), height=height, **style)


def tag(name: str, *inside: str, **attributes: object) -> str:
    """An XML element; Python's `stroke_width` and `class_` become `stroke-width` and `class`."""
    listed = "".join(f' {key.rstrip("_").replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name}{listed}>{''.join(inside)}</{name}>" if inside else f"<{name}{listed}/>"


def place_labels(labels: Sequence[Label], size: float) -> Iterator[str]:
    """The labels in one row, each as near to its place as the others allow; the first is the one for now."""
    now = labels[0]
    row = sorted(labels, key=lambda label: label[0])
    widths = [len(text) * size * LETTER + (size * 1.2 if text is now[1] else 0) for _, text, _ in row]
    lefts = _spread([(x, width) for (x, *_), width in zip(row, widths, strict=True)], row.index(now), size)
    for (x, text, _), left, width in zip(row, lefts, widths, strict=True):
        is_now = text is now[1]
        nearest = round(min(max(x, left), left + width), 1)
        stroke = {"stroke": INK, "stroke_width": 2} if is_now else {"stroke": MUTED}
        yield tag("path", d=f"M{nearest:g},{LABELS + 6}L{x:g},{TRACK - 4}", **stroke)
        if is_now:
            top, height = round(LABELS - size * 1.13, 1), round(size * 1.55, 1)
            yield box(left, top, width, height, rx=5, fill=INK)
        style = {"fill": CARD, "font_weight": 700} if is_now else {}
        yield text_at(text, size, left + width / 2, LABELS, text_anchor="middle", **style)


def _spread(wanted: Sequence[tuple[float, float]], pivot: int, apart: float) -> list[float]:
    """The left edge of each (middle, width), in order, without overlaps and within the margins.

    The one at `pivot` stays in its place if it can, and the others move aside.
    """
    lefts = [middle - width / 2 for middle, width in wanted]
    ends = [width + apart for _, width in wanted]
    last = len(wanted) - 1

    def to_the_left(start: int) -> None:
        for i in range(start, 0, -1):
            lefts[i - 1] = min(lefts[i - 1], lefts[i] - ends[i - 1])

    def to_the_right(start: int) -> None:
        for i in range(start, last):
            lefts[i + 1] = max(lefts[i + 1], lefts[i] + ends[i])

    to_the_left(pivot)
    to_the_right(pivot)
    # The margins come last, because they must hold.
    lefts[0] = max(lefts[0], LEFT)
    to_the_right(0)
    lefts[last] = min(lefts[last], RIGHT - wanted[last][1])
    to_the_left(last)
    return [round(left, 1) for left in lefts]
