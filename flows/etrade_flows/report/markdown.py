"""What an operator reads of one E*TRADE session: how it stands, until when, and what to do, as markdown.

The markdown is for Prefect's UI, which shows tables and images and drops raw SVG; so the picture is an image
with its data in the address. Everything that comes from outside is escaped.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, tzinfo

from etrade_flows.report.day import (
    SessionDay,
    Standing,
    explain,
    in_order,
    known_session,
    standing,
)
from etrade_flows.report.picture import describe, draw_timeline
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.oauth.redaction import visible
from etrade_tasks.session import EASTERN, in_utc
from etrade_tasks.words import clock, date_words

SHOWN_ATTEMPTS = 10
"""How many attempts the report lists, the latest first."""

DETAIL_LENGTH = 240
"""The most characters that are shown of what one attempt said."""

_SIGNS = {
    Standing.ACTIVE: "✅",
    Standing.INACTIVE: "⚠️",
    Standing.FAILING: "❌",
    Standing.SIGN_IN_REQUIRED: "⛔",
}
_MARKS = {
    AttemptOutcome.RENEWED: "✓",
    AttemptOutcome.REUSED: "•",
    AttemptOutcome.FAILED: "✕",
    AttemptOutcome.SIGN_IN_REQUIRED: "◆",
    AttemptOutcome.TOO_SHORT: "◇",
}
_NONE = "–"  # noqa: RUF001  # what stands in a cell that has nothing to tell

_JUST_NOW = timedelta(seconds=10)

_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~$!&]")
_AUTOLINK = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_ADDRESS = re.compile(r"(https?://[^\s<>\"'|`\\]*[\w/=])")
_WORD_JOINER = "\u2060"


def render_report(name: str, day: SessionDay, now: datetime, local: tzinfo | None = None) -> str:
    """The markdown report on the session of the credentials `name`; its first line says how it stands.

    Args:
        name: The credentials' name, as the operator knows it.
        day: What is known of the session.
        now: The moment of the report.
        local: The reader's own time zone, shown beside Eastern time where it differs; None if unknown.

    Raises:
        ValueError: A datetime is naive.
    """
    stands = standing(day, now)
    picture = base64.b64encode(draw_timeline(day, now).encode()).decode()
    parts = [
        f"## {_SIGNS[stands]} {stands}: {escape(explain(day, now))}",
        f"**{escape(name)}** on {date_words(now)} at {clock(now)} US Eastern",
        f"**Next:** {_with_links(day.advice)}" if day.advice else "",
        f"⚠️ {escape(day.notice)}" if day.notice else "",
        "\n".join(_limits(day, now, local)),
        f"![{escape(describe(day, now))}](data:image/svg+xml;base64,{picture})",
        "\n".join(_attempts(day, now)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """The text on one line, to be shown letter for letter wherever it stands in markdown, tables included.

    Markup becomes character references, which no viewer takes for markup. Addresses are kept from becoming
    links: the text may be a stranger's. Characters that cannot be seen become spaces.
    """
    inert = _MARKUP.sub(lambda match: f"&#{ord(match[0])};", visible(text))
    return _AUTOLINK.sub(_WORD_JOINER, inert)


def _with_links(advice: str) -> str:
    """The advice, escaped but for its addresses, which become links: it is this package's own."""
    pieces = _ADDRESS.split(advice)
    return "".join(f"<{piece}>" if i % 2 else _escape_inside(piece) for i, piece in enumerate(pieces))


def _escape_inside(text: str) -> str:
    """The text escaped, with the spaces at its ends kept as one each."""
    before, after = (" " if text[:1].isspace() else ""), (" " if text[-1:].isspace() else "")
    return before + escape(text) + after if text.strip() else before


# Tables -------------------------------------------------------------------------------------------------


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield _row(head)
    yield _row("---" for _ in head)
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _limits(day: SessionDay, now: datetime, local: tzinfo | None) -> Iterator[str]:
    """When the token was renewed, goes idle and expires; nothing where no session is known."""
    session = known_session(day)
    if session is None:
        return
    zones: list[tzinfo] = [EASTERN]
    names = ["Eastern"]
    if local is not None and now.astimezone(local).utcoffset() != now.astimezone(EASTERN).utcoffset():
        zones.append(local)
        names.append(f"local ({escape(now.astimezone(local).tzname() or '')})")
    stays = session.idle_at >= session.over_at
    rows = (
        ("renewed", session.renewed_at, "not since the sign-in"),
        ("goes idle", None if stays else session.idle_at, "not before the session is over"),
        ("refused" if session.refused else "expires", session.over_at, ""),
    )
    yield from _table(
        ["", *names, "how long"],
        (
            (word, *(moment(at, now, zone) for zone in zones), distance(at, now) or none)
            for word, at, none in rows
        ),
    )


def _attempts(day: SessionDay, now: datetime) -> Iterator[str]:
    """The latest attempts as a table, newest first."""
    newest = in_order(day)[::-1]
    if not newest:
        yield "No attempt to renew is known."
        return
    shown = newest[:SHOWN_ATTEMPTS]
    count = f"{len(shown)} of {len(newest)}" if len(newest) > len(shown) else f"{len(shown)}"
    yield f"### Attempts ({count}, newest first)\n"
    yield from _table(("Eastern", "outcome", "what happened", "took"), (_cells(one, now) for one in shown))


def _cells(attempt: Attempt, now: datetime) -> tuple[str, str, str, str]:
    detail = attempt.detail.strip()
    if len(detail) > DETAIL_LENGTH:
        detail = detail[: DETAIL_LENGTH - 1] + "…"
    # Not broken into two lines, however narrow the table is shown.
    outcome = f"{_MARKS[attempt.outcome]} {attempt.outcome}".replace(" ", "\u00a0")
    return moment(attempt.at, now, EASTERN), outcome, escape(detail) or _NONE, _duration(attempt.took)


# Times --------------------------------------------------------------------------------------------------


def moment(at: datetime | None, now: datetime, zone: tzinfo | None) -> str:
    """The wall-clock time, with the date where it is not today; in this machine's zone if `zone` is None."""
    if at is None:
        return _NONE
    there = in_utc(at).astimezone(zone)
    if there.date() == in_utc(now).astimezone(zone).date():
        return f"{there:%H:%M}"
    return f"{there:%H:%M}, {there:%a} {there.day} {there:%b}"


def distance(at: datetime | None, now: datetime) -> str:
    """How far `at` is from `now`, as in `in 1 h 55 min`, `5 min ago` or `just now`; nothing for no time."""
    if at is None:
        return ""
    span = in_utc(at) - in_utc(now)
    if span > timedelta(0):
        return f"in {_span(span)}"
    return f"{_span(-span)} ago" if span <= -_JUST_NOW else "just now"


def _duration(took: timedelta | None) -> str:
    if took is None:
        return _NONE
    return f"{took.total_seconds():.1f} s" if took < timedelta(minutes=1) else _span(took)


def _span(span: timedelta) -> str:
    """A span in its two largest units, rounded down."""
    minutes, seconds = divmod(span // timedelta(seconds=1), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
