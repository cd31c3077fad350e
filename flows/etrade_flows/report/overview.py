"""All accounts at a glance: how each session stands, and how its last 28 days went.

The metadata of each account's own report holds what the overview needs. So it only has to read the latest
reports, however many runs there were.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, ValidationError

from etrade_flows.report.day import KnownSession, SessionDay, day_bounds, standing
from etrade_flows.report.drawing import (
    AMBER,
    EMPTY,
    GREEN,
    INK,
    LEFT,
    MUTED,
    RED,
    RIGHT,
    box,
    canvas,
    tag,
    text_at,
)
from etrade_flows.report.markdown import escape, image, one_line, table
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_tasks.session import Instant, SessionState, eastern_date, state_by_clocks
from etrade_tasks.words import clock, date_words

DAYS = 28
"""How many days the strip shows, today included."""

_METADATA = "overview-"
_PIECE = 500  # Prefect cuts longer values in an artifact's metadata, but accepts any number of them (3.8)
_BAD = (AttemptOutcome.FAILED, AttemptOutcome.SIGN_IN_REQUIRED)
_HEAD, _ROW, _STRIP = 58, 40, 190
_CELL = (RIGHT - _STRIP) / DAYS


class DayMarks(BaseModel):
    """One Eastern day of an account; each time is a fraction of the day, from 0 to 1."""

    model_config = ConfigDict(frozen=True)

    active: tuple[tuple[float, float], ...] = ()
    signed_in: float | None = None
    failed: tuple[float, ...] = ()


class Account(BaseModel):
    """What the overview shows of one account."""

    model_config = ConfigDict(frozen=True)

    line: str
    active: bool = False
    idle_at: Instant | None = None
    expires_at: Instant | None = None
    days: dict[date, DayMarks] = {}

    @classmethod
    def of(cls, day: SessionDay, now: datetime, metadata: Mapping[str, str] | None) -> Account:
        """The account, from its day as known at `now` and the metadata of its last report."""
        before, today = cls.read(metadata), eastern_date(now)
        kept = {at: marks for at, marks in (before.days if before else {}).items() if _is_shown(at, today)}
        stands = standing(day, now)
        session = stands.session
        return cls(
            line=one_line(stands, now),
            active=stands.word == SessionState.ACTIVE,
            idle_at=session.idle_at if session and not session.ended_early else None,
            expires_at=session.expires_at if session else None,
            days=kept | {today: _marks(day, session, now)},
        )

    @classmethod
    def read(cls, metadata: Mapping[str, str] | None) -> Account | None:
        """The account in a report's metadata; None if there is none."""
        pieces = sorted(each for each in (metadata or {}).items() if each[0].startswith(_METADATA))
        try:
            return cls.model_validate_json("".join(text for _, text in pieces))
        except ValidationError:
            return None

    def metadata(self) -> dict[str, str]:
        """The metadata for the account's report."""
        text = self.model_dump_json()
        return {
            f"{_METADATA}{begin // _PIECE:04}": text[begin : begin + _PIECE]
            for begin in range(0, len(text), _PIECE)
        }

    def is_good_at(self, now: datetime) -> bool:
        """Whether the session is active at `now`, if nothing has happened since it was last reported."""
        return self.active and self._by_clocks(now) is SessionState.ACTIVE

    def line_at(self, now: datetime) -> str:
        """How the session stands at `now`, if nothing has happened since it was last reported."""
        state = self._by_clocks(now)
        if self.expires_at and state is SessionState.EXPIRED:
            last = self.expires_at - timedelta.resolution
            return f"⛔ sign-in required: the last session was of {date_words(last)}"
        if self.idle_at and state is SessionState.IDLE and self.active:
            return f"⚠️ idle: since {clock(self.idle_at)}"
        return self.line

    def _by_clocks(self, now: datetime) -> SessionState | None:
        expires_at = self.expires_at
        return state_by_clocks(now, self.idle_at or expires_at, expires_at) if expires_at else None


def render_overview(accounts: Mapping[str, Account], now: datetime) -> tuple[str, str]:
    """The overview in one line, and the markdown with a row and a picture of the last days of each account.

    An account without a report in those days is left out, since its credentials may be deleted.
    """
    today = eastern_date(now)
    shown = {
        name: account
        for name, account in sorted(accounts.items())
        if any(_is_shown(day, today) for day in account.days)
    }
    good = sum(account.is_good_at(now) for account in shown.values())
    sign = "✅" if good == len(shown) else "⚠️"
    line = f"{sign} {good} of {len(shown)} {'session is' if len(shown) == 1 else 'sessions are'} good"
    rows = ((escape(name), account.line_at(now)) for name, account in shown.items())
    text = (
        f"{table(('account', 'how the session stands'), rows)}\n\n"
        f"{image(*draw_strips(shown, now))}\n\n"
        f"The last {DAYS} days, each from midnight to midnight US Eastern. Green: active. Amber: idle. "
        "Black: somebody signed in. Red: a renewal failed.\n\n"
        f"As of {date_words(now)}, {clock(now)} US Eastern. Each account has its own report, "
        "`etrade-session-...`.\n"
    )
    return line, text


def _describe(accounts: Mapping[str, Account], now: datetime) -> str:
    """The picture in words, for people who cannot see it."""
    told = []
    for name, account in accounts.items():
        days = [marks for at, marks in account.days.items() if _is_shown(at, eastern_date(now))]
        lived, failed = sum(bool(marks.active) for marks in days), sum(bool(marks.failed) for marks in days)
        told.append(f"{name}: a session on {lived} days, failures on {failed}")
    return f"The last {DAYS} days. {'; '.join(told)}."


def draw_strips(accounts: Mapping[str, Account], now: datetime) -> tuple[str, str]:
    """The last days of these accounts in words and as SVG, one strip each; hours run from left to right."""
    height = _HEAD + _ROW * len(accounts) + 14
    days = [eastern_date(now) - timedelta(days=DAYS - 1 - i) for i in range(DAYS)]
    narrow: dict[str, object] = {"class_": "narrow", "display": "none"}
    inside = [
        tag("g", *_dates(days, 12, 1), class_="wide", fill=MUTED, text_anchor="middle"),
        tag("g", *_dates(days, 26, 7), **narrow, fill=MUTED, text_anchor="middle"),
    ]
    for row, (name, account) in enumerate(accounts.items()):
        y = _HEAD + _ROW * row
        for size, length, place in ((15, 18, {"class_": "wide"}), (26, 10, narrow)):
            word = name if len(name) <= length else f"{name[: length - 1]}…"
            inside.append(text_at(word, size, LEFT, y + 23, font_weight=600, **place))
        for i, at in enumerate(days):
            inside += _cell(account.days.get(at), round(_STRIP + i * _CELL, 1), y)
    return _describe(accounts, now), canvas(height, inside)


def _dates(days: list[date], size: float, apart: int) -> Iterator[str]:
    """The numbers of some days at equal distances, counted back from today, which is last."""
    for i, day in enumerate(days):
        if (len(days) - 1 - i) % apart == 0:
            yield text_at(f"{day.day}", size, _STRIP + (i + 0.5) * _CELL, _HEAD - 14)


def _cell(marks: DayMarks | None, x: float, y: float) -> Iterator[str]:
    """One day of one account."""
    width, height = _CELL - 3, _ROW - 8
    yield box(x, y, width, height, fill=EMPTY)
    if marks is None:
        return

    def stretch(start: float, end: float, fill: str) -> str:
        return box(round(x + start * width, 1), y, max((end - start) * width, 0.5), height, fill=fill)

    yield from (stretch(start, end, GREEN) for start, end in marks.active)
    yield from (stretch(end, start, AMBER) for (_, end), (start, _) in pairwise(marks.active))
    if marks.signed_in is not None:
        yield box(round(x + marks.signed_in * width, 1), y - 3, 2, height + 6, fill=INK)
    yield from (box(round(x + at * width - 1.5, 1), y + height - 9, 4, 9, fill=RED) for at in marks.failed)


def _marks(day: SessionDay, session: KnownSession | None, now: datetime) -> DayMarks:
    start, end = day_bounds(now)

    def share(at: datetime) -> float:
        return round(min(max((at - start) / (end - start), 0.0), 1.0), 3)

    lived = session.active if session else ()
    signed_in = day.signed_in_at if day.signed_in_at and day.signed_in_at >= start else None
    bad = [a.at for a in day.attempts if a.outcome in _BAD and start <= a.at < end]
    return DayMarks(
        active=tuple((share(a), share(b)) for a, b in lived if b > start and a < end),
        signed_in=share(signed_in) if signed_in else None,
        failed=tuple(dict.fromkeys(map(share, bad))),
    )


def _is_shown(day: date, today: date) -> bool:
    return today - timedelta(days=DAYS) < day <= today
