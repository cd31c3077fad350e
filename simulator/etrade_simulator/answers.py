"""E*TRADE's answers, good and bad, in the forms that users have seen.

There are many forms of refusal, because E*TRADE is many services behind one name. A client has to read all of
them. ``ProblemForm`` names them; ``as-seen`` picks for each call the form that E*TRADE has used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import Literal, get_args
from urllib.parse import quote, urlencode

from etrade_simulator.problems import (
    RATE_LIMIT_TEXT,
    DataProblem,
    OAuthProblem,
    RateExceeded,
    Refusal,
)

ProblemForm = Literal["as-seen", "text", "form", "html", "tomcat", "old-tomcat", "header", "json", "xml"]

PROBLEM_FORMS: tuple[ProblemForm, ...] = get_args(ProblemForm)

TEXT = "text/plain;charset=utf-8"
HTML = "text/html;charset=utf-8"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json;charset=utf-8"
XML = "application/xml;charset=utf-8"

_SEEN: dict[str, ProblemForm] = {
    "consumer_key_rejected": "tomcat",
    "token_expired": "tomcat",
    "token_rejected": "old-tomcat",
    "signature_invalid": "html",
    "parameter_absent": "form",
}


@dataclass(frozen=True)
class Answer:
    """One answer to send; ``problem`` names the refusal, if it is one."""

    status: int
    body: str = field(repr=False)
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


def credentials(pairs: Mapping[str, str]) -> Answer:
    """Return tokens as a form body, each value percent-encoded once (RFC 5849, 2.1 and 2.3)."""
    return Answer(HTTPStatus.OK, urlencode(pairs, quote_via=quote, safe=""), FORM)


def data(document: Mapping[str, object], *, as_json: bool) -> Answer:
    """Return the document of a data call, as JSON or XML."""
    if as_json:
        return Answer(HTTPStatus.OK, json.dumps(document), JSON)
    return Answer(HTTPStatus.OK, to_xml(document), XML)


def to_xml(document: Mapping[str, object]) -> str:
    """Return the document, a mapping with one root, as XML text; a list repeats its element."""
    return '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + _content(document)


def _element(name: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    return f"<{name}>{_content(value)}</{name}>"


def _content(value: object) -> str:
    if isinstance(value, Mapping):
        return "".join(_element(name, inner) for name, inner in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value), quote=False)


def refusal(refused: Refusal, form: ProblemForm, *, data_as: Literal["json", "xml"] | None) -> Answer:
    """Return the answer to a refused call; ``data_as`` is what a data call asked for, ``None`` for OAuth."""
    if isinstance(refused, OAuthProblem):
        chosen = form if form != "as-seen" else _as_seen(refused.problem, data_as)
        body, content_type, headers = _FORMS[chosen](refused)
        return Answer(refused.status, body, content_type, headers, refused.problem)
    if isinstance(refused, RateExceeded):
        return Answer(refused.status, RATE_LIMIT_TEXT, HTML, problem=refused.problem)
    if isinstance(refused, DataProblem):
        error = {"Error": {"code": refused.code, "message": refused.message}}
        answer = data(error, as_json=data_as == "json")
        return Answer(refused.status, answer.body, answer.content_type, problem=refused.problem)
    raise refused


def _as_seen(problem: str, data_as: Literal["json", "xml"] | None) -> ProblemForm:
    """Data services answer token problems in the requested form; other calls are refused before them."""
    if data_as is not None and problem.startswith("token_"):
        return data_as
    return _SEEN.get(problem, "text")


_Parts = tuple[str, str, dict[str, str]]


def _joined(problem: OAuthProblem, by: str = ",") -> str:
    return by.join(f"{name}={value}" for name, value in problem.pairs())


def _tomcat(problem: OAuthProblem) -> _Parts:
    title = f"HTTP Status {problem.status.value} – {problem.status.phrase}"  # noqa: RUF001  # Tomcat's own dash
    page = (
        f'<!doctype html><html lang="en"><head><title>{title}</title></head>'
        f'<body><h1>{title}</h1><hr class="line" /><p><b>Type</b> Status Report</p>'
        f"<p><b>Message</b> {escape(_joined(problem))}</p>"
        "<p><b>Description</b> The service does not take these credentials for this resource.</p>"
        '<hr class="line" /><h3>Application server</h3></body></html>'
    )
    return page, HTML, {}


def _old_tomcat(problem: OAuthProblem) -> _Parts:
    message = escape(_joined(problem))
    page = (
        "<html><head><title>Error report</title></head>"
        f'<body><h1>HTTP Status {problem.status.value} - {message}</h1><HR size="1" noshade="noshade">'
        f"<p><b>type</b> Status report</p><p><b>message</b> <u>{message}</u></p>"
        "<p><b>description</b> <u>HTTP authentication is missing or was not accepted.</u></p>"
        '<HR size="1" noshade="noshade"></body></html>'
    )
    return page, HTML, {}


def _header(problem: OAuthProblem) -> _Parts:
    fields = ", ".join(f'{name}="{quote(value, safe="-.")}"' for name, value in problem.pairs())
    return "", HTML, {"WWW-Authenticate": f'OAuth realm="", {fields}'}


_FORMS: dict[ProblemForm, Callable[[OAuthProblem], _Parts]] = {
    "text": lambda problem: (_joined(problem), TEXT, {}),
    "form": lambda problem: (_joined(problem, "&"), TEXT, {}),
    "html": lambda problem: (_joined(problem), HTML, {}),
    "tomcat": _tomcat,
    "old-tomcat": _old_tomcat,
    "header": _header,
    "json": lambda problem: (json.dumps({"Error": {"message": _joined(problem)}}), JSON, {}),
    "xml": lambda problem: (to_xml({"Error": {"message": _joined(problem)}}), XML, {}),
}
