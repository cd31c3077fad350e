"""E*TRADE's data as XML, which it sends to clients that do not ask for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

_PROLOG = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def to_xml(document: Mapping[str, object]) -> str:
    """Return the document, a mapping with one root, as XML text; a list repeats its element."""
    return _PROLOG + "".join(_element(name, value) for name, value in document.items())


def _element(name: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    return f"<{name}>{_content(value)}</{name}>"


def _content(value: object) -> str:
    if isinstance(value, Mapping):
        return "".join(_element(name, inner) for name, inner in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))
