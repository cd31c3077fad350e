"""Where the package gets the time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import time_machine

from etrade_tasks.clock import now, use_clock

MACHINE_TIME = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)
OTHER_TIME = datetime(2030, 7, 1, 9, 30, tzinfo=UTC)
THIRD_TIME = datetime(2031, 7, 1, 9, 30, tzinfo=UTC)


def test_the_time_comes_in_utc() -> None:
    """The time of a clock in another zone is converted to UTC."""
    with use_clock(lambda: OTHER_TIME.astimezone(ZoneInfo("America/New_York"))):
        reading = now()
    assert (OTHER_TIME, UTC) == (reading, reading.tzinfo)


@time_machine.travel(MACHINE_TIME, tick=False)
def test_an_error_in_the_block_puts_the_machine_back_too() -> None:
    """If its block raises, a clock is no longer in use either."""
    with pytest.raises(RuntimeError, match="on purpose"), use_clock(lambda: OTHER_TIME):
        raise RuntimeError("on purpose")
    assert MACHINE_TIME == now()


def test_clocks_nest() -> None:
    """The innermost clock gives the time, and after its block the one around it."""
    with use_clock(lambda: OTHER_TIME):
        with use_clock(lambda: THIRD_TIME):
            inner = now()
        outer = now()
    assert (THIRD_TIME, OTHER_TIME) == (inner, outer)


@time_machine.travel(MACHINE_TIME, tick=False)
def test_another_thread_keeps_the_machine_s_time() -> None:
    """A clock in use in one thread has no effect in another."""
    with ThreadPoolExecutor(1) as elsewhere:
        assert MACHINE_TIME == elsewhere.submit(now).result()
        with use_clock(lambda: OTHER_TIME):
            assert MACHINE_TIME == elsewhere.submit(now).result()


def test_two_tasks_at_once_have_a_clock_each() -> None:
    """Tasks that run at the same time do not see each other's clocks."""

    async def read(instant: datetime) -> datetime:
        with use_clock(lambda: instant):
            await asyncio.sleep(0)  # the other task sets its clock now
            return now()

    async def both() -> list[datetime]:
        return await asyncio.gather(read(OTHER_TIME), read(THIRD_TIME))

    assert [OTHER_TIME, THIRD_TIME] == asyncio.run(both())
