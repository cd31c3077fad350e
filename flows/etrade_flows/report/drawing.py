"""The picture's sizes, colours and elements, and the placing of labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import accumulate

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


def canvas(height: int, inside: Iterable[str]) -> str:
    """The whole picture: the drawing on a light card."""
    card = box(1, 1, WIDTH - 2, height - 2, rx=14, fill=CARD, stroke=HAIRLINE, stroke_width=1.5)
    size = {"width": WIDTH, "height": height, "viewBox": f"0 0 {WIDTH} {height}"}
    svg = "http://www.w3.org/2000/svg"
    return tag("svg", tag("style", NARROW), card, *inside, xmlns=svg, **size, font_family=FONT, fill=INK)


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


def _spread(row: Sequence[tuple[float, float]], pivot: int, apart: float) -> list[float]:
    """The left edge of each (middle, width), in order, without overlaps and within the margins.

    The one at `pivot` stays in its place if it can, and the others move aside.
    """
    *before, total = accumulate((width + apart for _, width in row), initial=0.0)
    # Measured without the room of those before it, an edge must only not be left of the one before it.
    least, most = LEFT, RIGHT + apart - total
    edges = [
        min(max(x - width / 2 - room, least), most) for (x, width), room in zip(row, before, strict=True)
    ]
    edges[:pivot] = [min(edges[i : pivot + 1]) for i in range(pivot)]
    edges[pivot:] = accumulate(edges[pivot:], max)
    return [round(edge + room, 1) for edge, room in zip(edges, before, strict=True)]
