"""The report on one E*TRADE session as markdown: how it stands, until when, and what to do.

The markdown is for Prefect's UI, which shows tables and images but drops raw SVG. So the picture is an image
with its data in the address. All text from outside is escaped.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo

from etrade_flows.report.day import (
    KnownSession,
    SessionDay,
    Standing,
    day_bounds,
    explain,
    standing,
)
from etrade_flows.report.picture import draw_timeline
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.oauth.redaction import visible
from etrade_tasks.session import EASTERN, in_utc
from etrade_tasks.words import clock, date_words

SHOWN_ROWS = 10
"""How many lines of the day the report shows, the latest first."""

DETAIL_LENGTH = 240
"""The most characters that are shown of one attempt's text."""

_SIGNS = {"active": "✅", "idle": "⚠️", "failing": "❌", "unknown": "❔"}
_OVER = "⛔"
_MARKS = dict(zip(AttemptOutcome, "✓•◆✕◇", strict=True))
_SIGNED_IN = "→"
_NONE = "–"  # noqa: RUF001  # for a cell that is empty
_JUST_NOW = timedelta(seconds=10)

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")
_AUTOLINK = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_OWN_MARKUP = re.compile(r"(https?://[^\s<>\"'|`\\]*[\w/=]|`[^`]+`)")
_WORD_JOINER = "\u2060"


def render_report(
    name: str,
    day: SessionDay,
    now: datetime,
    local: tzinfo | None = None,
    *,
    advice: str | None = None,
    notice: str | None = None,
) -> str:
    """The markdown report on the session of the credentials `name`; its first line says how it stands.

    Args:
        name: The credentials' name.
        day: What is known about the session.
        now: The time of the report.
        local: The reader's own time zone, shown beside Eastern time if it differs; None if unknown.
        advice: What a person should do next; None if there is nothing to do.
        notice: What a person should know that is not urgent; None if there is nothing.

    Raises:
        ValueError: A datetime is naive.
    """
    stands = standing(day, now)
    parts = [
        f"## {_headline(stands, now)}",
        f"**{escape(name)}** on {date_words(now)} at {clock(now)} US Eastern",
        f"**Next:** {_with_markup(advice)}" if advice else "",
        f"⚠️ {escape(notice)}" if notice else "",
        _limits(stands.session, now, local, "expires" if day.signed_in else "ended by")
        if stands.session
        else "",
        image(*draw_timeline(day, now)),
        _day_so_far(day, now),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def one_line(stands: Standing, now: datetime) -> str:
    """How the session stands, as one line of a list. It stays the same until something changes."""
    renewed_at = stands.session.renewed_at if stands.session and not stands.state.needs_sign_in else None
    return _headline(stands, now) + (f"; renewed {clock(renewed_at)}" if renewed_at else "")


def _headline(stands: Standing, now: datetime) -> str:
    return f"{_SIGNS.get(stands.word, _OVER)} {stands.word}: {escape(explain(stands, now))}"


def image(described: str, svg: str) -> str:
    """A picture with its data in the address: Prefect's pages drop raw SVG."""
    return f"![{escape(described)}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def escape(text: str) -> str:
    """The text on one line, escaped so that markdown shows it as it is, also in tables.

    Markup gets a backslash, which both of Prefect's UIs understand; one of them does not decode character
    references. Addresses do not become links, because the text may come from a stranger. Invisible characters
    become spaces.
    """
    return _inert(visible(text))


def _inert(text: str) -> str:
    return _AUTOLINK.sub(_WORD_JOINER, _MARKUP.sub(r"\\\1", text))


def _with_markup(advice: str) -> str:
    """The advice, escaped except for its addresses and its `code`, because it is this package's own text."""
    words = _OWN_MARKUP.split(visible(advice))
    words[::2] = map(_inert, words[::2])
    words[1::2] = (word if word.startswith("`") else f"<{word}>" for word in words[1::2])
    return "".join(words)


def _limits(session: KnownSession, now: datetime, local: tzinfo | None, end: str) -> str:
    """When the token was renewed, goes idle and expires, as a table."""
    zones: list[tzinfo] = [EASTERN]
    head = ["", "Eastern"]
    if local is not None and now.astimezone(local).utcoffset() != now.astimezone(EASTERN).utcoffset():
        zones.append(local)
        head.append(f"local ({escape(now.astimezone(local).tzname() or '')})")
    idle_at = session.idle_at if session.idle_at < session.over_at else None
    end = "refused" if session.ended_early and end == "expires" else end
    rows = (
        ("renewed", session.renewed_at, "not since the sign-in"),
        ("goes idle", idle_at, "not before the session ends"),
        (end, session.over_at, ""),
    )
    cells = (
        (word, *(moment(at, now, zone) for zone in zones), distance(at, now) or none)
        for word, at, none in rows
    )
    return table([*head, "how long"], cells)


def _day_so_far(day: SessionDay, now: datetime) -> str:
    """The sign-in and the attempts as a table, newest first; reuses are listed with their renewal."""
    groups = _grouped(day.attempts)
    rows = [_cells(group, now) for group in groups]
    if (at := day.signed_in_at) and at >= day_bounds(now)[0]:
        signed_in = (moment(at, now, EASTERN), f"{_SIGNED_IN}\u00a0signed\u00a0in", _NONE, _NONE)
        rows.insert(sum(group[0].at < at for group in groups), signed_in)
    if not rows:
        return "No attempt to renew is known."
    shown = rows[::-1][:SHOWN_ROWS]
    count = f"{len(shown)} of {len(rows)}, " if len(rows) > len(shown) else ""
    listed = table(("Eastern", "outcome", "what happened", "took"), shown)
    return f"### The day so far ({count}newest first)\n\n{listed}"


def _grouped(attempts: Iterable[Attempt]) -> list[list[Attempt]]:
    """The attempts in order, each renewal with the reuses that follow it."""
    groups: list[list[Attempt]] = []
    for attempt in attempts:
        reused = attempt.outcome is AttemptOutcome.REUSED
        if reused and groups and groups[-1][0].outcome in (AttemptOutcome.RENEWED, AttemptOutcome.REUSED):
            groups[-1].append(attempt)
        else:
            groups.append([attempt])
    return groups


def _cells(group: list[Attempt], now: datetime) -> tuple[str, str, str, str]:
    first, *reused = group
    # Never broken into two lines, even in a narrow table.
    outcome = f"{_MARKS[first.outcome]} {first.outcome}".replace(" ", "\u00a0")
    detail = escape(shortened(first.detail.strip()))
    if reused:
        times = "once" if len(reused) == 1 else f"{len(reused)} times"
        detail = f"{detail} Reused {times} since, last at {clock(reused[-1].at)}.".strip()
    took = _NONE if first.took is None else _span(first.took)
    if first.took is not None and first.took < timedelta(minutes=1):
        took = f"{first.took.total_seconds():.1f} s"
    return moment(first.at, now, EASTERN), outcome, detail or _NONE, took


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are already markdown."""
    head = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


# Words that `etrade-session status` shares -----------------------------------------------------------------


def shortened(text: str) -> str:
    """The text, cut if it is longer than `DETAIL_LENGTH`."""
    return text if len(text) <= DETAIL_LENGTH else text[: DETAIL_LENGTH - 1] + "…"


def moment(at: datetime | None, now: datetime, zone: tzinfo | None) -> str:
    """The wall-clock time, with the date if it is not today; in this machine's zone if `zone` is None."""
    if at is None:
        return _NONE
    there = in_utc(at).astimezone(zone)
    if there.date() == in_utc(now).astimezone(zone).date():
        return f"{there:%H:%M}"
    return f"{there:%H:%M}, {there:%a} {there.day} {there:%b}"


def distance(at: datetime | None, now: datetime) -> str:
    """How far `at` is from `now`, such as `in 1 h 55 min`, `5 min ago` or `just now`; empty for None."""
    if at is None:
        return ""
    span = in_utc(at) - in_utc(now)
    if span > timedelta(0):
        return f"in {_span(span)}"
    return f"{_span(-span)} ago" if span <= -_JUST_NOW else "just now"


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
