"""The warning to a person who signs in shortly before midnight US Eastern."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etrade_flows.report.day import short_session
from etrade_tasks.session import EASTERN


@pytest.mark.parametrize("day", [(2027, 6, 15), (2027, 3, 14), (2027, 11, 7)], ids=["24 h", "23 h", "25 h"])
def test_minutes_until_midnight_are_told(day: tuple[int, int, int]) -> None:
    """Only after 22:00 it says how many minutes are left until midnight, whatever the time's zone."""
    for hour in (0, 3, 12, 22):
        assert None is short_session(datetime(*day, hour, tzinfo=EASTERN))
    midnight = datetime(*day, tzinfo=EASTERN) + timedelta(days=1)
    for left, said in ((119, 119), (90, 90), (1, 1), (0.1, 1)):
        at = midnight.astimezone(UTC) - timedelta(minutes=left)
        assert f"ends this session in {said} min: sign in after 00:00 instead" in short_session(at)
        assert short_session(at) == short_session(at.astimezone(EASTERN))
