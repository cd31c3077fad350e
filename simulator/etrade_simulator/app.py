"""The HTTP side: E*TRADE's paths, each leading to one operation of the service.

/oauth/...              both kinds of consumer key, as at api.etrade.com
/e/t/etws/authorize     the page that a person sees
/v1/...                 data for live keys, as at api.etrade.com
/sandbox/v1/...         data for sandbox keys, as at apisb.etrade.com
/sandbox/oauth/...      OAuth for sandbox keys only, as at apisb.etrade.com
/_control/...           only if the simulator was started with control
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import format_datetime
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etrade_simulator import pages
from etrade_simulator.delivery import Delivery
from etrade_simulator.operations import DATA_OPERATIONS, OAUTH_OPERATIONS, ORDER_OPERATIONS, Operation
from etrade_simulator.parties import Environment
from etrade_simulator.problems import OAuthProblem
from etrade_simulator.service import Service
from etrade_simulator.tokens import RequestToken
from etrade_simulator.verification import Method, SignedCall

Endpoint = Callable[[Request], Awaitable[Response]]

AUTHORIZE_PATH = "/e/t/etws/authorize"

_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "Referrer-Policy": "no-referrer",
}


def create_app(service: Service, control: list[BaseRoute] | None = None) -> Starlette:
    """Return the ASGI application over the service, with the control routes if there are any."""
    routes: list[BaseRoute] = [
        Route(AUTHORIZE_PATH, _authorize(service), methods=["GET", "POST"]),
        Mount("/sandbox/oauth", routes=_oauth_routes(service, "sandbox")),
        Mount("/sandbox/v1", routes=_data_routes(service, "sandbox")),
        Mount("/oauth", routes=_oauth_routes(service, None)),
        Mount("/v1", routes=_data_routes(service, "live")),
    ]
    if control is not None:
        routes.append(Mount("/_control", routes=control))
    app = Starlette(routes=routes, middleware=[Middleware(_SimulatedDate, service=service)])
    app.router.redirect_slashes = False
    return app


def _oauth_routes(service: Service, environment: Environment | None) -> list[BaseRoute]:
    # E*TRADE documents GET; requests-oauthlib, and with it pyetrade, fetches tokens by POST.
    return [
        Route(path, _signed(service, environment, operation), methods=["GET", "POST"])
        for path, operation in OAUTH_OPERATIONS.items()
    ]


def _data_routes(service: Service, environment: Environment) -> list[BaseRoute]:
    return [
        Route(path + suffix, _signed(service, environment, operation), methods=methods)
        for served, methods in ((DATA_OPERATIONS, ["GET"]), (ORDER_OPERATIONS, ["POST", "PUT"]))
        for path, operation in served.items()
        for suffix in (".json", "")
    ]


def _signed(service: Service, environment: Environment | None, operation: Operation[Any]) -> Endpoint:
    """Return the endpoint that passes a signed call to the service and delivers its answer."""

    async def endpoint(request: Request) -> Response:
        answer, fault = service.handle(operation, await _read(request), environment)
        return Delivery(answer, fault)

    return endpoint


async def _read(request: Request) -> SignedCall:
    # The signature covers the address as it was sent, so the raw path is used: Starlette builds its own URL
    # from the decoded one.
    scope = request.scope
    host, query = request.headers.get("host", ""), scope["query_string"].decode("latin-1")
    uri = f"{scope['scheme']}://{host}{scope['raw_path'].decode('latin-1')}"
    return SignedCall(
        method=cast("Method", request.method),
        uri=f"{uri}?{query}" if query else uri,
        headers=dict(request.headers),
        body=(await request.body()).decode("utf-8", "replace"),
        named=request.path_params,
    )


def _authorize(service: Service) -> Endpoint:
    """Return the endpoint of the page on which a person accepts or declines."""

    async def endpoint(request: Request) -> Response:
        fields = dict(request.query_params)
        if request.method == "POST":
            fields |= dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            page, status = _decide(service, fields), 200
        except OAuthProblem as problem:
            page, status = pages.problem_page(problem.problem), 400
        return HTMLResponse(page, status, _PAGE_HEADERS)

    return endpoint


def _decide(service: Service, fields: dict[str, str]) -> str:
    with service.lock:
        now = service.clock()
        consumer = service.registry.consumer(fields.get("key", ""), None, now)
        # Clients put the token into this address unencoded, and form decoding turns + into a blank.
        token = service.registry.token(RequestToken, fields.get("token", "").replace(" ", "+"), consumer.key)
        decision = fields.get("decision")
        if decision == "accept":
            return pages.verifier_page(token.accept(now))
        if decision == "decline":
            token.decline(now)
            return pages.declined_page()
        token.check_usable(now)
        return pages.consent_page(consumer, token.token)


class _SimulatedDate:
    """Dates every answer by the simulator's clock, so that a client can correct its own."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self._service.clock(), usegmt=True)
                MutableHeaders(scope=message).setdefault("Date", date)
            await send(message)

        await self._app(scope, receive, send_dated)
