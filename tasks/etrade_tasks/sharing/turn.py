"""Decides whose turn it is to renew: the first caller renews, and callers that wait share its result.

A lock only saves calls; the token never depends on it. A waiting caller also looks for the record, and
reserves enough of its deadline for a call of its own:

1. It waits for the lock. A holder that fails writes each failed attempt into the record, which shows that it
   is alive. The others then go on waiting, and share its failure when it gives up.
2. If the holder shows no sign of life, because it is stopped or its machine hangs, the others wait for half
   of their time. Then one of them goes ahead with a second lock, and the others find its record.
3. A caller that has neither lock when its time runs out goes ahead anyway.
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
from etrade_tasks.time_limit import acquired, empty_in_forks

POLL_SECONDS = 0.05
"""How often a waiting caller tries the lock."""

LOOK_SECONDS = 0.25
"""How often a waiting caller looks for the record; less often if one look takes long."""

# Only one thread of a process at a time waits for the lock between processes.
_threads: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
empty_in_forks(_threads)

# The last renewal that this process made of each token: when, by the monotonic clock, and which.
_made: dict[str, tuple[float, str]] = {}


@dataclass
class Shared:
    """The renewal of one token, shared with all callers.

    Args:
        credentials: Whose token to renew.
        effort: The time that the renewal may take.
        force: Accept no renewal that was made before now.
        since: With `force`, accept one that this process has made after this moment of the monotonic clock.
        reports: Whether the caller reports the result.

    Attributes:
        answer: The session that another renewal has left; None until one is found.
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
        """Look for a record, unless Prefect is set to refresh or disable its caches."""
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
        """Wait for the turn to renew, or for an `answer`; keep the turn inside the `with` block.

        Raises:
            ETradeError: The renewal that this one waited for failed.
        """
        with ExitStack() as held:
            if self.answer is None:
                began_at = time.monotonic()
                self._wait(held)
                if self._records.trouble is not None:
                    self.effort.delays.append(self._records.trouble)
                waited = time.monotonic() - began_at
                if self.answer is None and waited > 1:
                    told = f"It waited {waited:.0f} s for another run that was renewing it."
                    self.effort.delays.append(told)
            yield

    def keep(self, session: TokenSession) -> None:
        """Record a session for the other callers."""
        if not get_current_settings().tasks.disable_caching:
            record = Record.of(session, reported=self.effort.name if self.reports else "")
            _made[record_key(self.credentials)] = time.monotonic(), record.renewal
            self._records.write(self.credentials, record)

    def note(self, error: ETradeError, next_in: float | None = None) -> None:
        """Record a failed attempt for the other callers. A refusal also ends the last renewal's record.

        Args:
            error: Why it failed.
            next_in: Seconds until the next attempt; None if this was the last.
        """
        if isinstance(error, SignInRequired):
            # Even if the storage was slow before: without this, the token would look alive to others.
            self._records.trouble, kept = None, Record()
        else:
            kept = self._records.read(self.credentials)
        self._records.write(self.credentials, kept.failed(error, next_in))

    def _wait(self, held: ExitStack) -> None:
        key, reserve = record_key(self.credentials), self.effort.reserve
        thread = _threads[key]
        if acquired(thread, lambda: self.effort.remaining() - reserve):
            held.callback(thread.release)
        self.look()
        for name, reserved in ((key, 2 * reserve), (f"{key} next in line", reserve)):
            if self.answer is not None or self._queue(name, reserved, held):
                return

    def _queue(self, name: str, reserved: float, held: ExitStack) -> bool:
        """Whether waiting is over: we have the lock, an answer is found, or locks do not work.

        Args:
            name: The lock's name.
            reserved: Stop with this many seconds left, unless the holder shows that it is alive.
            held: Frees the lock at the end.

        Raises:
            ETradeError: The last failure of a holder that still tries at this caller's deadline.
        """
        locks = locks_for(self.effort.settings)
        while True:
            try:
                lock = locks.try_lock(name)
            except Exception as error:  # noqa: BLE001  # a renewal without a lock beats a token that dies
                run_logger().warning(
                    "Locking failed (%s); the renewal goes on without a lock.", type(error).__name__
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
            failure = self._failure_of_a_holder_that_lives()
            if self.effort.remaining() <= (0 if failure else reserved):
                if failure:  # there is no time left to wait or call
                    raise failure.error()
                return False
            time.sleep(POLL_SECONDS)

    def look(self) -> None:
        """Look for a record that was written since this effort started.

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

    def _failure_of_a_holder_that_lives(self) -> Failure | None:
        """Why the lock's holder has failed since this effort started, if it will try again soon."""
        failure = self._seen.failure
        if self._seen == self._asked or failure is None or failure.next_in is None:
            return None
        over_at = self._seen_at + failure.next_in + CALL_LIMIT.total_seconds() + CALL_MARGIN
        return failure if time.monotonic() < over_at else None

    def _answer_of(self, record: Record) -> TokenSession | None:
        session = record.answer(self.credentials, now(), self.effort.settings.reuse_window)
        return session and session.model_copy(update={"reused": True, "attempts": 0})
