"""The simulator as tests and demos use it: start it, sign in, move its clock, plant faults, read calls."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from starlette.routing import BaseRoute

from etrade_simulator.answers import PROBLEM_FORMS, ProblemForm
from etrade_simulator.app import AUTHORIZE_PATH, create_app
from etrade_simulator.clock import SimulatorClock, aware
from etrade_simulator.faults import Fault, Planted
from etrade_simulator.parties import ENVIRONMENTS, AccessToken, Consumer, Environment
from etrade_simulator.rates import ETRADE_LIMITS, Module, RateLimit
from etrade_simulator.server import LoopbackServer
from etrade_simulator.service import RecordedCall, Service
from etrade_simulator.tokens import GrantedToken, RequestToken, TokenState


class Simulator:
    """An E*TRADE OAuth service on the loopback interface, which runs inside the ``with`` block.

    It enforces all of E*TRADE's rules. Rate limits are off by default: if the clock stands still, no second
    ever passes, and a test's calls would be refused from the third on.

    Args:
        port: The port to listen on; 0 takes a free one.
        clock: The clock; real time if none is given.
        control: Makes the routes under ``/_control/``, if you want them: ``control_routes``.
        rate_limits: Whether to enforce E*TRADE's rate limits on data calls, as the commands do; or your own
            limits, by module.
        host: A loopback address.

    Raises:
        ValueError: ``host`` is not a loopback address.
        OSError: The port is taken.
    """

    def __init__(
        self,
        port: int = 0,
        clock: SimulatorClock | None = None,
        *,
        control: Callable[[Simulator], list[BaseRoute]] | None = None,
        rate_limits: bool | Mapping[Module, RateLimit] = False,
        host: str = "127.0.0.1",
    ) -> None:
        self._clock = clock or SimulatorClock()
        limits = ETRADE_LIMITS if rate_limits is True else dict(rate_limits or {})
        self._service = Service(self._clock, limits)
        self._consumers = {name: self.add_consumer(name) for name in ENVIRONMENTS}
        app = create_app(self._service, control(self) if control else None)
        self._server = LoopbackServer(app, host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.port}"

    def __enter__(self) -> Self:
        """Start serving."""
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self._server.stop()

    @property
    def oauth_url(self) -> str:
        """Return the base address of the OAuth calls, for both kinds of consumer key."""
        return self.url + "/oauth"

    def api_url(self, environment: Environment) -> str:
        """Return the base address of the environment's data calls, to which ``/v1/...`` is added."""
        return {"live": self.url, "sandbox": self.url + "/sandbox"}[environment]

    def authorize_url(self, consumer_key: str, request_token: str) -> str:
        """Return the address of the page on which a person accepts."""
        return f"{self.url}{AUTHORIZE_PATH}?{urlencode({'key': consumer_key, 'token': request_token})}"

    def consumer(self, environment: Environment) -> Consumer:
        """Return the ready-made consumer of the environment; its key is random for each simulator."""
        return self._consumers[environment]

    def add_consumer(self, environment: Environment, issued_at: datetime | None = None) -> Consumer:
        """Return a new consumer, whose key lapses two years after ``issued_at`` if that is given."""
        issued = aware(issued_at) if issued_at else None
        # E*TRADE's keys and secrets are hexadecimal, with 32 and 64 digits.
        consumer = Consumer(environment, secrets.token_hex(16), secrets.token_hex(32), issued)
        with self._service.lock:
            return self._service.registry.add_consumer(consumer)

    def sign_in(
        self,
        environment: Environment,
        issued_at: datetime | None = None,
        last_used_at: datetime | None = None,
        *,
        consumer: Consumer | None = None,
    ) -> AccessToken:
        """Return an access token like one from a sign-in, without a person.

        Args:
            environment: The environment whose ready-made consumer signs in.
            issued_at: When it was issued; now, if not given. Yesterday makes an expired token.
            last_used_at: When it was last used; ``issued_at``, if not given, so that a token issued more than
                two hours ago is idle.
            consumer: A consumer of your own, from ``add_consumer``.
        """
        signer = consumer or self.consumer(environment)
        issued = aware(issued_at) if issued_at else self.now()
        used = aware(last_used_at) if last_used_at else issued
        with self._service.lock:
            granted = self._service.registry.add_token(GrantedToken(signer.key, issued, used))
        return AccessToken(
            environment=signer.environment,
            consumer_key=signer.key,
            consumer_secret=signer.secret,
            token=granted.token,
            token_secret=granted.secret,
            issued_at=issued,
        )

    def credentials(self, token: AccessToken) -> dict[str, Any]:
        """Return the fields of an E*TRADE Credentials block for this token."""
        return {
            "environment": token.environment,
            "consumer_key": token.consumer_key,
            "consumer_secret": token.consumer_secret,
            "access_token": token.token,
            "access_token_secret": token.token_secret,
            "signed_in_at": token.issued_at,
            "oauth_url": self.oauth_url,
            "api_url": self.api_url(token.environment),
        }

    def approve(self, request_token: str) -> str:
        """Accept a request token as a person would, and return the verifier.

        Raises:
            OAuthProblem: It is unknown, used, declined, or older than five minutes.
        """
        with self._service.lock:
            return self._service.registry.token(RequestToken, request_token).accept(self.now())

    def revoke(self, token: AccessToken | str) -> None:
        """Revoke an access token without its owner's knowledge.

        Raises:
            OAuthProblem: It is unknown, already revoked, or expired.
        """
        with self._service.lock:
            self._granted(token).revoke(self.now())

    def token_state(self, token: AccessToken | str) -> TokenState:
        """Return an access token's state now, without using it.

        Raises:
            OAuthProblem: It is unknown.
        """
        with self._service.lock:
            return self._granted(token).state(self.now())

    def _granted(self, token: AccessToken | str) -> GrantedToken:
        text = token.token if isinstance(token, AccessToken) else token
        return self._service.registry.token(GrantedToken, text)

    def now(self) -> datetime:
        """Return the simulator's time, aware, in UTC."""
        return self._clock()

    def advance(self, by: timedelta) -> None:
        """Move the simulator's clock forward."""
        self._clock.advance(by)

    def set_time(self, at: datetime) -> None:
        """Set the simulator's clock to an aware moment."""
        self._clock.set_time(at)

    def plant(self, fault: Fault, path: str = "", times: int = 1) -> None:
        """Let the fault strike the next ``times`` signed calls whose path ends in ``path`` (empty: any).

        Raises:
            ValueError: ``times`` is not positive.
        """
        if times < 1:
            raise ValueError(f"a fault strikes at least once, not {times} times")
        with self._service.lock:
            self._service.planted.append(Planted(fault, path, times))

    def clear_faults(self) -> None:
        """Remove every planted fault."""
        with self._service.lock:
            self._service.planted.clear()

    def calls(self, path: str | None = None) -> list[RecordedCall]:
        """Return the signed calls so far, oldest first; those whose path ends in ``path``, if given."""
        with self._service.lock:
            return [call for call in self._service.recorded if path is None or call.path.endswith(path)]

    @property
    def problem_form(self) -> ProblemForm:
        """Return the form in which ``oauth_problem`` is answered; ``as-seen`` by default.

        Raises:
            ValueError: On setting a form that does not exist.
        """
        return self._service.problem_form

    @problem_form.setter
    def problem_form(self, form: ProblemForm) -> None:
        if form not in PROBLEM_FORMS:
            raise ValueError(f"{form!r} is none of {', '.join(PROBLEM_FORMS)}")
        self._service.problem_form = form

    @property
    def timestamp_tolerance(self) -> timedelta:
        """Return how far a call's timestamp may be from the simulator's clock; five minutes by default.

        With a large one, a client that uses the machine's clock can call a simulator whose clock was moved.
        """
        return self._service.timestamp_tolerance

    @timestamp_tolerance.setter
    def timestamp_tolerance(self, tolerance: timedelta) -> None:
        self._service.timestamp_tolerance = tolerance
