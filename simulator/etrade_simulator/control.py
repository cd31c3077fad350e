"""The control routes, for a simulator in another process; served only if it was started with ``control``.

    GET    /_control/clock      {"now": ISO 8601}
    POST   /_control/clock      {"advance": seconds} or {"set": ISO 8601}
    POST   /_control/faults     {"path": "/oauth/renew_access_token", "times": 1, "status": 503, ...}
    DELETE /_control/faults
    GET    /_control/calls      [{"method", "path", "status", "at", "problem", "faulted"}], ?path= to filter
    POST   /_control/sign-in    {"environment": "live"}, with "issued_at" and "last_used_at" if wanted
    POST   /_control/form       {"problem_form": "text"}

A request that is not understood is answered 400, with ``{"error": ...}``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from etrade_simulator.faults import Fault
from etrade_simulator.parties import ENVIRONMENTS
from etrade_simulator.simulator import Simulator

Command = Callable[[Simulator, dict[str, Any]], object]


def control_routes(simulator: Simulator) -> list[BaseRoute]:
    """Return the routes that do over HTTP what the simulator's methods do in this process."""
    commands: list[tuple[str, str, Command]] = [
        ("GET", "/clock", _clock),
        ("POST", "/clock", _move_clock),
        ("POST", "/faults", _plant),
        ("DELETE", "/faults", _clear_faults),
        ("GET", "/calls", _calls),
        ("POST", "/sign-in", _sign_in),
        ("POST", "/form", _set_form),
    ]
    return [
        Route(path, _endpoint(simulator, command), methods=[method]) for method, path, command in commands
    ]


def _endpoint(simulator: Simulator, command: Command) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(command(simulator, await _fields(request)))
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)

    return endpoint


async def _fields(request: Request) -> dict[str, Any]:
    fields = await request.json() if request.method == "POST" else dict(request.query_params)
    if not isinstance(fields, dict):
        raise TypeError("the body is not a JSON object")
    return fields


def _clock(simulator: Simulator, fields: dict[str, Any]) -> object:  # noqa: ARG001  # a command's signature
    return {"now": simulator.now().isoformat()}


def _move_clock(simulator: Simulator, fields: dict[str, Any]) -> object:
    if "set" in fields:
        simulator.set_time(datetime.fromisoformat(fields["set"]))
    else:
        simulator.advance(timedelta(seconds=fields["advance"]))
    return _clock(simulator, {})


def _plant(simulator: Simulator, fields: dict[str, Any]) -> object:
    path, times = fields.pop("path", ""), fields.pop("times", 1)
    simulator.plant(Fault(**fields), path=path, times=times)
    return {"planted": times}


def _clear_faults(simulator: Simulator, fields: dict[str, Any]) -> object:  # noqa: ARG001  # as above
    simulator.clear_faults()
    return {"planted": 0}


def _calls(simulator: Simulator, fields: dict[str, Any]) -> object:
    calls = simulator.calls(fields.get("path"))
    return [{**asdict(call), "at": call.at.isoformat()} for call in calls]


def _sign_in(simulator: Simulator, fields: dict[str, Any]) -> object:
    environment = fields.get("environment", "live")
    if environment not in ENVIRONMENTS:
        raise ValueError(f"{environment!r} is none of {', '.join(ENVIRONMENTS)}")
    session = simulator.sign_in(
        environment,
        issued_at=_moment(fields, "issued_at"),
        last_used_at=_moment(fields, "last_used_at"),
    )
    told = {**simulator.credentials(session), "signed_in_at": session.issued_at.isoformat()}
    return {**asdict(session), "issued_at": session.issued_at.isoformat(), "credentials": told}


def _set_form(simulator: Simulator, fields: dict[str, Any]) -> object:
    simulator.problem_form = fields["problem_form"]
    return {"problem_form": simulator.problem_form}


def _moment(fields: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(fields[name]) if name in fields else None
