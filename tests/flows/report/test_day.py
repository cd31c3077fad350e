"""The warning to a person who signs in shortly before midnight US Eastern."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etrade_flows.report.day import short_session
from etrade_tasks.session import EASTERN

ORDINARY, SHORT_DAY, LONG_DAY = (2027, 6, 15), (2027, 3, 14), (2027, 11, 7)
"""Days of 24, 23 and 25 hours."""


@pytest.mark.parametrize("day", [ORDINARY, SHORT_DAY, LONG_DAY])
class TestShortSession:
    """`short_session`."""

    @pytest.mark.parametrize("hour", [0, 3, 12, 22])
    def test_nothing_is_said_while_two_hours_are_left(self, day: tuple[int, int, int], hour: int) -> None:
        """From midnight until 22:00 there is nothing to say."""
        assert None is short_session(datetime(*day, hour, tzinfo=EASTERN))

    @pytest.mark.parametrize(("left", "said"), [(119, 119), (90, 90), (1, 1), (0.1, 1)])
    def test_minutes_until_midnight_are_told(self, day: tuple[int, int, int], left: float, said: int) -> None:
        """From 22:00 on it says how many minutes are left until midnight, whatever the time's zone."""
        midnight = datetime(*day, tzinfo=EASTERN) + timedelta(days=1)
        at = midnight.astimezone(UTC) - timedelta(minutes=left)
        assert f"ends this session in {said} min: sign in after 00:00 instead" in short_session(at)
        assert short_session(at) == short_session(at.astimezone(EASTERN))
