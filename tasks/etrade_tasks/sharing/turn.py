"""Whose turn it is to renew: the first to ask renews, and those who ask meanwhile share what came of it.

A lock saves calls; the token's life never depends on it. Whoever waits looks for the record meanwhile, and
keeps enough of its deadline for a call of its own:

1. It waits for the lock. A holder that fails notes each failed attempt in the record, which shows that it
   lives; those who wait go on waiting then, and share its failure when it gives up.
2. A holder that gives no sign of life, since it is stopped or its machine hangs, is waited for until half of
   the time is over. Then one of those who wait goes ahead by a second lock, and the others find its record.
3. Who has neither lock when time runs out goes ahead all the same.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from prefect.settings import get_current_settings

from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError, SignInRequired
from etrade_tasks.logs import run_logger
from etrade_tasks.oauth.http import CALL_LIMIT
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.effort import CALL_MARGIN, Effort
from etrade_tasks.sharing.locks import locks_for
from etrade_tasks.sharing.record import STORAGE_LIMIT, Failure, Record, Records, record_key

POLL_SECONDS = 0.05
"""How often a waiter tries the lock."""

LOOK_SECONDS = 0.25
"""How often a waiter looks for the record; less often where one look takes long."""

# Of the threads of one process, one at a time waits among the processes.
_threads: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

# The last renewal that this process made of each token: when, by the monotonic clock, and which.
_made: dict[str, tuple[float, str]] = {}


@dataclass
class Shared:
    """The renewal of one token, shared with all who ask for it.

    Args:
        credentials: Whose token.
        effort: What may be spent.
        force: Accept no renewal that was made before now.
        since: With `force`, accept one that this process has made after this moment of the monotonic clock.
        reports: Whether the caller reports what comes of it.

    Attributes:
        answer: The session that another renewal has left; None as long as none is found.
    """

    credentials: ETradeCredentials
    effort: Effort
    force: bool = False
    since: float | None = None
    reports: bool = False
    answer: TokenSession | None = field(default=None, init=False)
    _records: Records = field(init=False)
    _asked: Record = field(init=False)
    _seen: Record = field(init=False)
    _seen_at: float = field(default=0.0, init=False)
    _next_look: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Look for a record. Who tells Prefect to refresh or disable its caches is not given one."""
        tasks = get_current_settings().tasks
        self.force = self.force or tasks.refresh_cache or tasks.disable_caching
        self._records = Records(min(STORAGE_LIMIT, self.effort.deadline / 10))
        self._asked = self._seen = self._records.read(self.credentials)
        self.effort.suppose(self._asked.clock_offset)
        made_at, renewal = _made.get(record_key(self.credentials), (0.0, ""))
        if self.since is not None and made_at > self.since and renewal == self._asked.renewal:
            self.force = False
        if not self.force:
            self.answer = self._answer_of(self._asked)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn to renew, or for an `answer`; keep the turn for the length of the block.

        Raises:
            ETradeError: Why a renewal failed that this one waited for.
        """
        with ExitStack() as held:
            if self.answer is None:
                began_at = time.monotonic()
                self._wait(held)
                self._tell_delays(time.monotonic() - began_at)
            yield

    def keep(self, session: TokenSession) -> None:
        """Leave a session for the others."""
        if not get_current_settings().tasks.disable_caching:
            record = Record.of(session, reported=self.effort.name if self.reports else "")
            _made[record_key(self.credentials)] = time.monotonic(), record.renewal
            self._records.write(self.credentials, record)

    def note(self, error: ETradeError, next_in: float | None = None) -> None:
        """Tell the others of a failed attempt. A refusal ends what an earlier renewal left; else that stays.

        Args:
            error: Why it failed.
            next_in: Seconds until the next attempt; None if this was the last.
        """
        kept = Record() if isinstance(error, SignInRequired) else self._records.read(self.credentials)
        self._records.write(self.credentials, kept.failed(Failure.of(error, next_in)))

    def _wait(self, held: ExitStack) -> None:
        key, reserve = record_key(self.credentials), self.effort.reserve
        thread = _threads[key]
        if thread.acquire(timeout=max(0.0, self.effort.remaining() - reserve)):
            held.callback(thread.release)
        self.look()
        for name, reserved in ((key, 2 * reserve), (f"{key} next in line", reserve)):
            if self.answer is not None or self._queue(name, reserved, held):
                return

    def _queue(self, name: str, reserved: float, held: ExitStack) -> bool:
        """Whether waiting is over: the lock is had, an answer is found, or no lock can be had at all.

        Args:
            name: The lock's.
            reserved: Stop with so many seconds left, unless the holder shows that it lives.
            held: Frees the lock in the end.
        """
        locks = locks_for(self.effort.settings)
        while True:
            try:
                lock = locks.try_lock(name)
            except Exception as error:  # noqa: BLE001  # a renewal without a lock beats a token that dies
                run_logger().warning(
                    "No lock could be had (%s); the renewal goes on without it.", type(error).__name__
                )
                return True
            if lock is not None:
                held.callback(lock.release)
                self.look()
                return True
            if time.monotonic() >= self._next_look:
                self.look()
            if self.answer is not None:
                return True
            if self.effort.remaining() <= (0 if self._holder_lives() else reserved):
                self._give_up_with_the_holder()
                return False
            time.sleep(POLL_SECONDS)

    def look(self) -> None:
        """Look for a record that was written since this effort asked.

        Raises:
            ETradeError: Another renewal has given up since then.
        """
        began_at = time.monotonic()
        record = self._records.read(self.credentials)
        ended_at = time.monotonic()
        self._next_look = ended_at + max(LOOK_SECONDS, 5 * (ended_at - began_at))
        if record.mark == self._seen.mark:
            return
        self._seen, self._seen_at = record, ended_at
        if not self.force or record.renewal != self._asked.renewal:
            self.answer = self._answer_of(record)
        if self.answer is None and record.failure is not None and record.failure.next_in is None:
            raise record.failure.error()

    def _holder_lives(self) -> bool:
        """Whether who renews has failed since this effort asked, and is due to try again."""
        failure = self._seen.failure
        if self._seen == self._asked or failure is None or failure.next_in is None:
            return False
        return time.monotonic() < self._seen_at + failure.next_in + CALL_LIMIT.total_seconds() + CALL_MARGIN

    def _give_up_with_the_holder(self) -> None:
        """Share the failure of who still tries, where the time for waiting and for a call is over.

        Raises:
            ETradeError: Why the holder's last attempt failed.
        """
        if self._seen.failure is not None and self._holder_lives():
            raise self._seen.failure.error()

    def _answer_of(self, record: Record) -> TokenSession | None:
        session = record.answer(self.credentials, now(), self.effort.settings.reuse_window)
        return session and session.model_copy(update={"reused": True, "attempts": 0})

    def _tell_delays(self, waited: float) -> None:
        """Keep for the error's message what took the time."""
        if self._records.trouble is not None:
            self.effort.delays.append(self._records.trouble)
        if self.answer is None and waited > 1:
            self.effort.delays.append(f"It waited {waited:.0f} s for another run that was renewing it.")
