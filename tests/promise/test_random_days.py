# ruff: noqa: D102  # the name of a rule says what happens
"""The first promise, on random days: every door (a way to a session) says what E*TRADE would say.

`RANDOM_DAYS=200 make endurance ARGS=tests/promise` tests more days than the default, each of 42 steps.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, get_current_settings, temporary_settings

from etrade_flows import active_session, etrade_async_client, etrade_client, renew_access_token
from etrade_flows.access.memory import LOOK_SECONDS, forget_sessions
from etrade_flows.cli import app as cli
from etrade_flows.person.login import begin_sign_in, complete_sign_in, stored_credentials, without_token
from etrade_flows.sign_out import end_session
from etrade_simulator import AccessToken, Fault, Simulator, SimulatorClock
from etrade_simulator.service import RecordedCall
from etrade_simulator.tokens import GrantedToken
from etrade_tasks import ETradeCredentials, ETradeError, TokenSession
from etrade_tasks.clock import use_clock
from etrade_tasks.load_credentials import load_block
from etrade_tasks.oauth.replies import SKEW_REFUSED, SKEW_WARNED
from etrade_tasks.renew_session import RETRIES
from etrade_tasks.session import EASTERN, day_begins, midnight_after
from etrade_tasks.sharing.locks import FileLocks, _file_name
from etrade_tasks.sharing.record import record_key

pytestmark = pytest.mark.endurance

DAYS, STEPS = int(os.environ.get("RANDOM_DAYS", "10")), 42

RENEW = "/oauth/renew_access_token"
ACCOUNTS = "/v1/accounts/list.json"
ORDER = "/v1/accounts/any/orders/place.json"
REJECTED = "oauth_problem=token_rejected"

RENEWAL_FAULTS = {
    "503": Fault(status=503),
    "503, nonce used up": Fault(status=503, when="verified"),
    "dropped": Fault(drop="before-answer"),
    "renewed, and the answer lost": Fault(drop="before-answer", when="after"),
    "bare 401": Fault(status=401, body="<h1>401 Authorization Required</h1>"),
    "bare 404": Fault(status=404),
    "nonce refused": Fault(status=401, body="oauth_problem=nonce_used"),
    "timestamp refused": Fault(status=401, body="oauth_problem=timestamp_refused"),
    "maintenance page": Fault(status=200, body="<h1>Back soon</h1>"),
    "token rejected": Fault(status=401, body=REJECTED),
}
DATA_FAULTS = {
    "503": Fault(status=503),
    "bare 401": Fault(status=401),
    "token expired": Fault(status=401, body="oauth_problem=token_expired"),
    "nonce refused": Fault(status=401, body="oauth_problem=nonce_used"),
    "dead by its sentence": Fault(status=401, body='{"Error":{"message":"Invalid access token used"}}'),
}
BARE = (RENEWAL_FAULTS["bare 401"], RENEWAL_FAULTS["bare 404"])

HOLDER = """
import sys, time
from filelock import FileLock
FileLock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(600)
"""

SHORT_DEADLINE = 1.5
"""Seconds that a renewal may take while a stopped process holds the lock."""

HERE, ELSEWHERE = "here", "the second process"

unless_in_vain = precondition(lambda self: self.asked_in_vain < 3)
while_it_lives = precondition(lambda self: self.lives())


class Broken(Exception):
    """What a pipeline's own step raises."""


@dataclass(frozen=True)
class Call(RecordedCall):
    """One call as the simulator recorded it, with what its record leaves out."""

    token: str | None = None
    nonce: str | None = None
    fault: Fault | None = None

    @property
    def refuses(self) -> bool:
        """Whether the answer says that the token is dead."""
        return self.fault == RENEWAL_FAULTS["token rejected"] or (self.problem or "").startswith("token_")

    @property
    def renewed(self) -> bool:
        return self.path.endswith(RENEW) and self.problem is None and self.fault is None


class SecondProcess:
    """Another process that shares home, server, storage and clock."""

    def __init__(self) -> None:
        own = {
            "PREFECT_API_URL": get_current_settings().api.url,
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }
        script = Path(__file__).with_name("second_process.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, **fields: object) -> dict[str, Any]:
        """Send it a line, and return its answer."""
        self._process.stdin.write(json.dumps(fields) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Told:
    """What a door said, and which calls it made."""

    process: str
    began_at: float
    took: float = 0.0
    session: TokenSession | None = None
    error: str | None = None
    message: str = ""
    result: Any = None
    calls: list[Call] = field(default_factory=list)

    @property
    def renewals(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith(RENEW)]


class RandomDay(RuleBasedStateMachine):
    """Whatever happens, in any order, five rules hold after every step.

    1. **No door says active if E*TRADE would refuse, unless nobody who shares the record could know.** Nobody
       can know that a token was revoked elsewhere since its last renewal, nor that it was refused or signed
       out while the storage was away and nothing could be recorded. Nobody can know that time has passed if
       this machine's clock was set back since the renewal and is behind E*TRADE's. What another process
       writes into the block is seen after `LOOK_SECONDS`. A process that remembers a renewal which could not
       be recorded sees another's refusal just as late.
    2. **No door refuses or fails if one call would have renewed.** A refusal is right if nobody is signed in,
       if the token is dead, or if E*TRADE refused a call of this door: once by name, or twice without a
       reason. A failure is right if every attempt got a bad answer, and there were `RETRIES` + 1 attempts or
       the deadline has passed, as it may on a busy machine. A clock that is ahead ends a session early near
       midnight, unless the record of the last renewal shows how far ahead it is and can be read.
    3. **No nonce is sent twice**, whatever happened to its call.
    4. **No call after midnight**: if the clock is right, no token that is known to have expired is renewed.
       E*TRADE is asked if the clock is wrong, if it was wrong when the last renewal was recorded, or if
       nobody knows when the token was issued.
    5. **No unsafe request is sent twice**: an order is sent once, whatever the answer.

    Each step takes minutes to hours on one moved clock. The machine's own clock follows with some offset.
    """

    second: SecondProcess
    seen = 0
    days = 0

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self.simulator = Simulator(clock=SimulatorClock.frozen(datetime(2027, 6, 15, 12, tzinfo=EASTERN)))
        self._open.enter_context(self.simulator)
        self.skew = timedelta(0)
        self._open.enter_context(use_clock(self.machine_now))
        RandomDay.days += 1
        self.block = f"random-day-{os.getpid()}-{RandomDay.days}"
        self.calls: list[Call] = []
        self.checked = 0
        self._watch()
        self.tokens: dict[str, str] = {}  # fingerprint: token
        self.dated: set[str] = set()  # fingerprints of tokens whose block says when they were issued
        self.held: str | None = None
        self.refused: set[str] = set()
        self.unseen: set[str] = set()
        self.skews: dict[tuple[str, datetime], timedelta] = {}
        self.taught: dict[str, timedelta] = {}
        self.changed_at = {HERE: float("-inf"), ELSEWHERE: float("-inf")}
        self.planted = 0
        self.asked_in_vain = 0
        self.storage_away: Path | None = None
        self.was_away = False
        self.kept: tuple[ExitStack, httpx.Client] | None = None
        forget_sessions()
        self.second.tell(do="begin day", name=self.block, now=self.machine_now().isoformat())

    def teardown(self) -> None:
        self._close_kept()
        if self.storage_away is not None:
            self.storage_is_back()
        self._open.close()
        forget_sessions()

    # ---- what the test itself knows -------------------------------------------------------------------

    def machine_now(self) -> datetime:
        return self.simulator.now() + self.skew

    def _watch(self) -> None:
        """Note every call with its nonce and its token, which the simulator's list hides."""
        service, handle = self.simulator._service, self.simulator._service.handle

        def watched(operation: Any, call: Any, environment: Any) -> Any:
            with service.lock:
                answer, fault = handle(operation, call, environment)
                token, nonce = call.oauth.get("oauth_token"), call.oauth.get("oauth_nonce")
                self.calls.append(Call(**vars(service.recorded[-1]), token=token, nonce=nonce, fault=fault))
            return answer, fault

        service.handle = watched

    def _credentials(self, token: AccessToken, *, dated: bool = True) -> ETradeCredentials:
        changes = {} if dated else {"signed_in_at": None}
        credentials = ETradeCredentials.model_validate(self.simulator.credentials(token) | changes)
        self._note_token(credentials)
        return credentials

    def _note_token(self, holder: ETradeCredentials) -> str:
        self.tokens[holder.fingerprint] = holder.signing_keys.token
        (self.dated.add if holder.signed_in_at else self.dated.discard)(holder.fingerprint)
        return holder.fingerprint

    def _changed(self, by: str | None) -> None:
        """Note that one process, or none of them, changed the block: the others see it after a while."""
        for process in self.changed_at:
            if process != by:
                self.changed_at[process] = time.monotonic()

    def _read_block(self, by: str) -> None:
        """Read what a sign-in or a sign-out has left in the block."""
        block = load_block(self.block)
        held = self._note_token(block) if block is not None and block.access_token is not None else None
        if held != self.held:
            self.held = held
            self._changed(by)

    def lives(self) -> bool:
        """Whether the block holds a token that one call would renew."""
        return self.held is not None and self._state(self.held) in ("active", "idle")

    def _state(self, fingerprint: str) -> str:
        return self.simulator.token_state(self.tokens[fingerprint])

    def _fingerprint(self, call: Call) -> str | None:
        return next((known for known, token in self.tokens.items() if token == call.token), None)

    def _midnight(self, fingerprint: str) -> datetime:
        return self.simulator._service.registry.token(GrantedToken, self.tokens[fingerprint]).expires_at

    # ---- asking a door, and judging what it says ------------------------------------------------------

    def _ask(self, act: Callable[[], Any], process: str = HERE) -> Told:
        told, before = Told(process, time.monotonic()), len(self.calls)
        try:
            told.result = act()
        except ETradeError as error:
            told.error, told.message = type(error).__name__, str(error)
        if isinstance(told.result, TokenSession):
            told.session = told.result
        told.took = time.monotonic() - told.began_at
        told.calls = self.calls[before:]
        self._learn(told)
        # A dead token is asked about a few times; then it is time for another one.
        self.asked_in_vain = 0 if self.lives() else self.asked_in_vain + 1
        return told

    def _ask_elsewhere(self, what: str) -> Told:
        def act() -> TokenSession | None:
            said = self.second.tell(do=what, name=self.block, now=self.machine_now().isoformat())
            if "approve" in said:
                said = self.second.tell(verifier=self.simulator.approve(said["approve"]))
            failed.update(said)
            return TokenSession.model_validate(said["session"]) if said.get("session") else None

        failed: dict[str, Any] = {}
        told = self._ask(act, ELSEWHERE)
        told.error, told.message = failed.get("error"), failed.get("message", "")
        return told

    def _learn(self, told: Told) -> None:
        """Note which tokens were renewed or refused, and whether that could be recorded."""
        for number, call in enumerate(told.renewals):
            fingerprint = self._fingerprint(call)
            if fingerprint is None:  # the token of a sign-in that is not complete
                continue
            if call.renewed:
                self.unseen.discard(fingerprint)
                self.refused.discard(fingerprint)
                self._note_renewal(fingerprint, call)
            elif call.refuses or self._is_second_bare(told.renewals[: number + 1], call):
                self._note_end(fingerprint)

    def _note_renewal(self, fingerprint: str, call: Call) -> None:
        key = (fingerprint, call.at)
        self.skews[key] = max(self.skew, self.skews.get(key, self.skew))
        if self.storage_away is None:
            self.taught[fingerprint] = self.skew

    def _note_end(self, fingerprint: str) -> None:
        if self.storage_away is not None:
            self.unseen.add(fingerprint)
            return
        self.refused.add(fingerprint)
        self.taught.pop(fingerprint, None)
        if self.was_away:
            self._changed(None)

    def _is_second_bare(self, calls: list[Call], call: Call) -> bool:
        same = [each for each in calls if each.token == call.token and each.fault in BARE]
        return call.fault in BARE and len(same) > 1

    def _judge(self, told: Told, deadline: float = 60.0) -> None:
        """Check that what a door said about a session is right, given this deadline in seconds."""
        if told.session is not None:
            self._judge_active(told, told.session)
        elif told.error == "SignInRequired":
            assert self._may_refuse(told), f"refused where one call would have renewed: {told}"
        elif told.error == "ConfigurationRefused":
            bare = [call for call in told.renewals if call.fault in BARE]
            assert len(bare) > 1, f"refused where one call would have renewed: {told}"
        elif told.error == "RenewalFailed":
            bad = [call for call in told.renewals if not call.renewed]
            in_vain = len(bad) > RETRIES or told.took >= 0.9 * deadline
            assert in_vain, f"failed where a call would have renewed: {told}"
            assert bad == told.renewals, f"failed though a call renewed: {told}"
        else:
            assert told.error is None, f"an error that nothing explains: {told}"

    def _judge_active(self, told: Told, session: TokenSession) -> None:
        fingerprint = session.fingerprint
        if fingerprint != self.held:
            assert session.reused, f"renewed another token than the block holds: {told}"
            assert self._was_just_changed(told), f"active by a token that the block holds no more: {told}"
        state = self._state(fingerprint)
        if state != "active":
            could_know = not (session.reused and self._nobody_could_know(told, session))
            assert not could_know, f"active, where E*TRADE says {state}: {told}"
        if session.reused and fingerprint in self.refused:
            could_know = not (self.was_away and self._was_just_changed(told))
            assert not could_know, f"reused after a refusal: {told}"
        assert session.expires_at == self._midnight(fingerprint), f"another midnight: {told}"

    def _was_just_changed(self, told: Told) -> bool:
        return told.began_at - self.changed_at[told.process] <= LOOK_SECONDS

    def _nobody_could_know(self, told: Told, session: TokenSession) -> bool:
        skew = self.skews.get((session.fingerprint, session.renewed_at))
        set_back = skew is not None and self.skew < min(timedelta(0), skew)
        return set_back or session.fingerprint in self.unseen or self._was_just_changed(told)

    def _may_refuse(self, told: Told) -> bool:
        if not self.lives():
            return True
        if any(call.refuses and call.fault for call in told.renewals):
            return True
        if len([call for call in told.renewals if call.fault in BARE]) > 1:
            return True
        return self._clock_ends_it_early()

    def _clock_ends_it_early(self) -> bool:
        """Whether this machine's clock is ahead and past midnight, and no record shows that."""
        readable = self.taught if self.storage_away is None else {}
        taught = readable.get(self.held or "", timedelta(0))
        offset = taught if abs(taught) >= SKEW_WARNED else timedelta(0)
        by_both = min(self.machine_now(), self.machine_now() - offset)
        return self.skew > timedelta(0) and by_both >= self._midnight(self.held)

    @invariant()
    def no_nonce_goes_out_twice(self) -> None:
        RandomDay.seen += 1
        nonces = [call.nonce for call in self.calls]
        assert len(nonces) == len(set(nonces)), "a nonce went out twice"

    @invariant()
    def nothing_is_renewed_after_its_midnight(self) -> None:
        new, self.checked = self.calls[self.checked :], len(self.calls)
        for call in new:
            fingerprint = self._fingerprint(call)
            if not call.path.endswith(RENEW) or fingerprint not in self.dated:
                continue
            if self.skew == timedelta(0) == self.taught.get(fingerprint, timedelta(0)):
                assert call.at < self._midnight(fingerprint), f"a call after midnight: {call}"

    # ---- the day begins ------------------------------------------------------------------------------

    @initialize(
        day=st.sampled_from([(2027, 6, 15), (2027, 3, 13), (2027, 11, 6)]),
        hour=st.sampled_from([9, 20, 23]),
        signed_in=st.booleans(),
    )
    def begins(self, day: tuple[int, int, int], hour: int, signed_in: bool) -> None:
        self.simulator.set_time(datetime(*day, hour, tzinfo=EASTERN))
        credentials = self._credentials(self.simulator.sign_in("live"))
        self.held = credentials.fingerprint if signed_in else None
        (credentials if signed_in else without_token(credentials)).save(self.block)

    # ---- doors ---------------------------------------------------------------------------------------

    @unless_in_vain
    @rule(times=st.integers(1, 3))
    def asks_active_session(self, times: int) -> None:
        for _ in range(times):
            self._judge(self._ask(lambda: active_session(self.block)))

    @unless_in_vain
    @rule()
    def asks_active_session_elsewhere(self) -> None:
        self._judge(self._ask_elsewhere("active_session"))

    @unless_in_vain
    @rule()
    def gets_by_a_client(self) -> None:
        self._judge_get(self._ask(lambda: self._send_by_a_new_client(order=False)))

    @unless_in_vain
    @rule()
    def gets_by_an_async_client(self) -> None:
        async def get() -> int:
            async with etrade_async_client(self.block) as client:
                return (await client.get(ACCOUNTS)).status_code

        self._judge_get(self._ask(lambda: asyncio.run(get())))

    @unless_in_vain
    @rule()
    def places_an_order(self) -> None:
        self._judge_order(self._ask(lambda: self._send_by_a_new_client(order=True)))

    @unless_in_vain
    @rule(order=st.booleans())
    def goes_on_with_an_open_client(self, order: bool) -> None:
        def go_on() -> int:
            if self.kept is None:
                opened = ExitStack()
                self.kept = opened, opened.enter_context(etrade_client(self.block))
            return self._send(self.kept[1], order=order)

        (self._judge_order if order else self._judge_get)(self._ask(go_on))

    def _send_by_a_new_client(self, *, order: bool) -> int:
        with etrade_client(self.block) as client:
            return self._send(client, order=order)

    def _send(self, client: httpx.Client, *, order: bool) -> int:
        return (client.post(ORDER, json={}) if order else client.get(ACCOUNTS)).status_code

    def _judge_order(self, told: Told) -> None:
        self._judge(told)
        orders = [call for call in told.calls if call.path.endswith(ORDER)]
        assert len(orders) <= 1, f"an order went out twice: {told}"

    def _judge_get(self, told: Told) -> None:
        self._judge(told)
        faulted = any(call.fault for call in told.calls if call.path.endswith(ACCOUNTS))
        if told.error is None and not faulted and abs(self.skew) <= SKEW_REFUSED:
            assert told.result == 200, f"a call failed on a session that could be renewed: {told}"

    def _close_kept(self) -> None:
        if self.kept is not None:
            self.kept[0].close()
            self.kept = None

    @unless_in_vain
    @rule(data=st.data(), door=st.sampled_from(["flow", "flow elsewhere", "retried", "renew", "status"]))
    def asks_at_a_slow_door(self, data: st.DataObject, door: str) -> None:
        """One rule for all slow doors, so that they are not drawn as often as the quick ones together."""
        if door == "flow":
            self._run_the_flow(force=data.draw(st.booleans(), label="force"))
        elif door == "flow elsewhere":
            self._judge(self._ask_elsewhere("flow"))
        elif door == "retried":
            self._run_a_pipeline_that_is_retried(data.draw(st.sampled_from([0, 1, 3, 14]), label="hours"))
        elif door == "renew":
            self._enter_the_command(force=data.draw(st.booleans(), label="force"))
        else:
            self._ask_for_the_status()

    def _run_the_flow(self, *, force: bool) -> None:
        told = self._ask(lambda: renew_access_token(self.block, force=force))
        self._judge(told)
        if force and told.session is not None:
            assert not told.session.reused, f"forced, and reused: {told}"

    def _run_a_pipeline_that_is_retried(self, hours: int) -> None:
        wrong: list[AssertionError] = []
        tries = []

        @flow(retries=1, persist_result=True)
        def pipeline() -> None:
            told = self._ask(lambda: renew_access_token(self.block))
            tries.append(told)
            try:
                self._judge(told)
            except AssertionError as error:
                wrong.append(error)
            if len(tries) == 1:
                self.simulator.advance(timedelta(hours=hours))
                raise Broken

        pipeline()
        assert len(tries) == 2
        if wrong:
            raise wrong[0]

    def _enter_the_command(self, *, force: bool) -> None:
        told = self._ask(lambda: self._command("renew", *(["--force"] if force else [])))
        code, said = told.result
        told.error = said.pop("error", None)
        told.message = said.pop("message", "")
        state = said.pop("state")
        if code == 0:
            del said["credentials"]
            told.session = TokenSession.model_validate(said)
            # It may say another state if this machine's clock is wrong.
            assert state == "active" or self.skew
        else:
            assert code == (4 if told.error == "SignInRequired" else 1)
        self._judge(told)

    def _ask_for_the_status(self) -> None:
        told = self._ask(lambda: self._command("status"))
        said = told.result[1]["sessions"][0]
        if self.held is None:
            assert said["state"] == "signed-out"
        elif said["state"] == "active":
            dead = self._state(self.held) != "active"
            assert not dead or self.held in self.unseen or self.skew < timedelta(0), f"{said}"
        elif said["state"] in ("expired", "sign-in-required"):
            assert self._state(self.held) in ("expired", "revoked") or self.skew > timedelta(0), f"{said}"
        assert [] == told.calls

    def _command(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        handlers = logging.getLogger().handlers
        filters = [list(handler.filters) for handler in handlers]
        shown = StringIO()
        with redirect_stdout(shown):
            code = cli.app(
                [*arguments, "--credentials", self.block, "--json"],
                exit_on_error=False,
                result_action="return_value",
            )
        for handler, before in zip(handlers, filters, strict=True):
            handler.filters[:] = before
        return int(code), json.loads(shown.getvalue())

    @rule(where=st.sampled_from([HERE, ELSEWHERE]))
    def signs_in(self, where: str) -> None:
        def person() -> TokenSession:
            waiting = begin_sign_in(self.block)
            token = parse_qs(urlsplit(waiting.authorize_url).query)["token"][0]
            return complete_sign_in(waiting, self.simulator.approve(token))

        told = self._ask(person) if where == HERE else self._ask_elsewhere("sign in")
        self._read_block(told.process)
        self._learn(told)
        if told.session is not None:
            assert not told.session.reused
            assert told.session.fingerprint == self.held
            self._judge_active(told, told.session)
        else:
            assert any(call.fault for call in told.calls), f"a sign-in failed: {told}"

    @while_it_lives
    @rule(where=st.sampled_from([HERE, ELSEWHERE]))
    def signs_out(self, where: str) -> None:
        before = self.held
        if where == HERE:
            told = self._ask(lambda: end_session(self.block, stored_credentials(self.block)) and None)
        else:
            told = self._ask_elsewhere("sign out")
        assert told.error is None, f"a sign-out failed: {told}"
        self._read_block(where)
        assert self.held is None
        if before is not None:
            self._note_end(before)

    # ---- events --------------------------------------------------------------------------------------

    @while_it_lives
    @rule(minutes=st.sampled_from([1, 10, 45, 55, 110, 121, 300]))
    def time_passes(self, minutes: int) -> None:
        self.simulator.advance(timedelta(minutes=minutes))

    @while_it_lives
    @rule(minutes=st.sampled_from([-30, -2, 0, 2]))
    def midnight_comes(self, minutes: int) -> None:
        at = midnight_after(self.simulator.now()) + timedelta(minutes=minutes)
        if at > self.simulator.now():
            self.simulator.set_time(at)

    @while_it_lives
    @rule(minutes=st.sampled_from([0, 0, 0, -180, -75, -20, -3, 3, 20, 75, 180]))
    def clock_of_this_machine_is_set(self, minutes: int) -> None:
        self.skew = timedelta(minutes=minutes)

    @while_it_lives
    @rule()
    def token_is_revoked_behind_our_back(self) -> None:
        self.simulator.revoke(self.tokens[self.held])
        self.unseen.add(self.held)

    @rule(environment=st.sampled_from(["live", "live", "sandbox"]), dated=st.booleans(), idle=st.booleans())
    def block_is_edited_elsewhere(self, environment: str, dated: bool, idle: bool) -> None:
        now = self.simulator.now()
        issued_at = max(day_begins(now).astimezone(UTC), now - timedelta(hours=3)) if idle else now
        token = self.simulator.sign_in(environment, issued_at=issued_at)
        credentials = self._credentials(token, dated=dated)
        if self.kept is not None:  # a client belongs to one environment
            self._close_kept()
        secrets = {"include_secrets": True}
        shown = credentials.model_dump(mode="json", context=secrets, exclude={"block_type_slug"})
        with get_client(sync_client=True) as client:
            document = client.read_block_document_by_name(self.block, credentials.get_block_type_slug())
            client._client.patch(
                f"/block_documents/{document.id}", json={"data": shown, "merge_existing_data": False}
            ).raise_for_status()
        self.held, self.asked_in_vain = credentials.fingerprint, 0
        self._changed(None)

    @precondition(lambda self: self.planted < 3)
    @rule(name=st.sampled_from(sorted(RENEWAL_FAULTS)))
    def renewals_will_be_answered_badly(self, name: str) -> None:
        self.planted += 1
        self.simulator.plant(RENEWAL_FAULTS[name], path=RENEW)

    @precondition(lambda self: self.planted < 3)
    @rule(name=st.sampled_from(sorted(DATA_FAULTS)))
    def data_calls_will_be_answered_badly(self, name: str) -> None:
        self.planted += 1
        for path in (ACCOUNTS, ORDER):
            self.simulator.plant(DATA_FAULTS[name], path=path)

    @precondition(lambda self: self.planted > 0)
    @rule()
    def e_trade_is_well_again(self) -> None:
        self.planted = 0
        self.simulator.clear_faults()

    @unless_in_vain
    @rule()
    def e_trade_is_down_for_a_while(self) -> None:
        self.simulator.plant(RENEWAL_FAULTS["503"], path=RENEW, times=50)
        self._judge(self._ask(lambda: active_session(self.block)))
        self.e_trade_is_well_again()

    @precondition(lambda self: self.held is not None)
    @rule(end=st.sampled_from([signal.SIGKILL, signal.SIGSTOP]))
    def holder_of_the_lock_is_killed_or_stopped(self, end: signal.Signals) -> None:
        self.e_trade_is_well_again()
        locks = FileLocks(get_current_settings().home / "etrade-locks")
        key = record_key(load_block(self.block))
        probe = locks.try_lock(key)
        assert probe is not None, "a lock is held though nobody renews"
        probe.release()
        path = locks._directory / f"{_file_name(key)}.lock"
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
        try:
            assert holder.stdout.readline() == b"held\n"
            holder.send_signal(end)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ETRADE_DEADLINE", str(SHORT_DEADLINE))
                self._judge(self._ask(lambda: active_session(self.block)), SHORT_DEADLINE)
        finally:
            holder.kill()
            holder.communicate()

    @precondition(lambda self: self.lives() and self.storage_away is None)
    @rule()
    def storage_goes_away(self) -> None:
        place = Path(get_current_settings().results.local_storage_path)
        self.was_away = True
        self.storage_away = place.with_name(f"{place.name}-away")
        place.mkdir(parents=True, exist_ok=True)
        place.rename(self.storage_away)
        place.touch()

    @precondition(lambda self: self.storage_away is not None)
    @rule()
    def storage_is_back(self) -> None:
        place = Path(get_current_settings().results.local_storage_path)
        place.unlink()
        self.storage_away.rename(place)
        self.storage_away = None


@pytest.fixture
def second(quick_flows: None, quick_retries: None) -> Iterator[SecondProcess]:
    process = SecondProcess()
    yield process
    process.end()


@pytest.mark.usefixtures("empty_memory")
def test_every_door_says_what_e_trade_would_say(second: SecondProcess) -> None:
    """On random days, in whatever order things happen, no door breaks any of the five rules."""
    RandomDay.second, RandomDay.seen = second, 0
    chosen = settings(max_examples=DAYS, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck))
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        run_state_machine_as_test(RandomDay, settings=chosen)
    # Hypothesis ends some days early; at least half of all steps must run.
    assert RandomDay.seen >= DAYS * STEPS * 0.5
