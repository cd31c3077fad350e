"""What E*TRADE's answer to a renewal means, in whatever form it comes."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from etrade_tasks.oauth.replies import (
    SKEW_REFUSED,
    SKEW_WARNED,
    Outcome,
    RenewalReply,
    Verdict,
    answered_at,
    classify,
    clock_advice,
    says_token_is_dead,
)

NOW = datetime(2021, 11, 11, 21, 17, 12, tzinfo=UTC)
SENTENCE = "Access Token has been renewed"
UNAUTHORIZED = "Unauthorized request - invalid Consumer key and/or session token"
RATE_LIMIT = "Number of requests exceeded the rate limit set"
PAIR = "oauth_problem=token_rejected"
WINDOW = "1636665132-1636665732"  # five minutes on either side of NOW

RENEWED, TRANSIENT, NONCE_REFUSED, CLOCK_SKEWED, SIGN_IN_REQUIRED, MISCONFIGURED, UNRECOGNISED = Outcome


def verdict(
    status: int | None = 401,
    body: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    received_at: datetime = NOW,
    transport_error: str | None = None,
) -> Verdict:
    """The verdict on a reply with these parts."""
    return classify(RenewalReply(status, headers or {}, body, received_at, transport_error))


def error_json(code: object = None, message: str = "") -> str:
    """An `Error` body as JSON."""
    return json.dumps({"Error": {"code": code, "message": message}})


def error_xml(code: object = "", message: str = "") -> str:
    """An `Error` body as XML."""
    return f'<?xml version="1.0"?><Error><code>{code}</code><message>{message}</message></Error>'


def newer_tomcat(message: str) -> str:
    """An error page as newer versions of Tomcat make it."""
    return (
        "<!doctype html><html><head><title>HTTP Status 401</title><style>h1 {color: blue}</style></head>"
        f"<body><h1>HTTP Status 401</h1><p><b>Type</b> Status Report</p><p><b>Message</b> {message}</p>"
        "<p><b>Description</b> No valid credentials came along.</p></body></html>"
    )


def older_tomcat(message: str) -> str:
    """An error page as older versions of Tomcat make it."""
    return (
        f"<html><head><title>Error</title></head><body><h1>HTTP Status 401 - {message}</h1>"
        f"<p><u>This request needs to be signed by somebody we know.</u></p></body></html>"
    )


# What each reply means ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, SENTENCE, RENEWED, id="renewed"),
        pytest.param(200, "\r\nACCESS  TOKEN\nhas been renewed ", RENEWED, id="renewed, oddly written"),
        pytest.param(200, f"<html><body><p>{SENTENCE}</p></body></html>", RENEWED, id="renewed, as HTML"),
        pytest.param(200, json.dumps({"message": SENTENCE}), RENEWED, id="renewed, as JSON"),
        pytest.param(200, " \r\n\t ", TRANSIENT, id="200, blank"),
        pytest.param(200, "<h1>We are improving our site</h1>", UNRECOGNISED, id="200, maintenance page"),
        pytest.param(200, "Access Token has not been renewed", UNRECOGNISED, id="200, another sentence"),
        pytest.param(201, SENTENCE, UNRECOGNISED, id="201 with the sentence"),
        pytest.param(204, "", UNRECOGNISED, id="204"),
        *(
            pytest.param(status, body, UNRECOGNISED, id=f"{status}, {body or 'empty'}")
            for status in (302, 308, 403, 410, 451, 100, 0, -1)
            for body in ("", "prose")
        ),
        *(
            pytest.param(status, body, TRANSIENT, id=f"{status}, {body or 'empty'}")
            for status in (408, 425, 429, 500, 503, 599, 600)
            for body in ("", "prose")
        ),
        *(
            pytest.param(status, body, MISCONFIGURED, id=f"{status}, {body or 'empty'}")
            for status in (400, 404, 405)
            for body in ("", "prose")
        ),
        pytest.param(401, "", SIGN_IN_REQUIRED, id="401, empty"),
        pytest.param(401, "prose", SIGN_IN_REQUIRED, id="401, no readable problem"),
        pytest.param(400, "invalid ACCESS token used.", SIGN_IN_REQUIRED, id="invalid token, 400"),
        pytest.param(400, f"<m>{UNAUTHORIZED}</m>", SIGN_IN_REQUIRED, id="unauthorized request, 400"),
        pytest.param(400, RATE_LIMIT, TRANSIENT, id="rate limit, 400"),
        pytest.param(403, f"<p>{RATE_LIMIT.upper()}</p>", TRANSIENT, id="rate limit, 403"),
    ],
)
def test_a_reply_means_this(status: int, body: str, expected: Outcome) -> None:
    """Without an `oauth_problem`, sentences decide, then the status, and never the content type."""
    for kind in ("text/html", "application/json", "image/png"):
        found = verdict(status, body, {"Content-Type": kind})
        assert (expected, None) == (found.outcome, found.problem)


@pytest.mark.parametrize(
    ("problem", "expected", "advice"),
    [
        ("nonce_used", NONCE_REFUSED, "replay"),
        ("timestamp_refused", CLOCK_SKEWED, "clock"),
        ("token_expired", SIGN_IN_REQUIRED, "signs in"),
        ("token_rejected", SIGN_IN_REQUIRED, "signs in"),
        ("token_revoked", SIGN_IN_REQUIRED, "signs in"),
        ("consumer_key_rejected", MISCONFIGURED, "https://apisb.etrade.com/oauth"),
        ("consumer_key_unknown", MISCONFIGURED, "two years"),
        ("consumer_key_refused", MISCONFIGURED, "sandbox key used as live"),
        ("signature_invalid", MISCONFIGURED, "percent-encoded"),
        ("signature_method_rejected", MISCONFIGURED, "HMAC-SHA1"),
        ("version_rejected", MISCONFIGURED, "oauth_version"),
        ("callback_rejected", MISCONFIGURED, "oob"),
        ("permission_denied", UNRECOGNISED, "not a known one"),
        ("never_heard_of", UNRECOGNISED, "not a known one"),
    ],
)
def test_a_problem_that_e_trade_names(problem: str, expected: Outcome, advice: str) -> None:
    """A named problem decides, whatever the status below 500, and brings advice of its own."""
    for status in (200, 302, 400, 401, 403, 429):
        found = verdict(status, f"oauth_problem={problem}")
        assert (expected, problem) == (found.outcome, found.problem)
        assert advice in found.advice


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("oauth_nonce", NONCE_REFUSED),
        ("oauth_timestamp", NONCE_REFUSED),
        ("oauth_token&oauth_nonce", NONCE_REFUSED),
        ("oauth_token%26oauth_timestamp", NONCE_REFUSED),
        ("oauth_token", UNRECOGNISED),
        ("oauth_consumer_key", UNRECOGNISED),
        ("", UNRECOGNISED),
    ],
)
def test_a_parameter_that_e_trade_missed(absent: str, expected: Outcome) -> None:
    """A missing nonce or timestamp counts as refused, because both were sent; any other is unrecognised."""
    found = verdict(400, f"oauth_problem=parameter_absent&oauth_parameters_absent={absent}")
    assert (expected, "parameter_absent") == (found.outcome, found.problem)


def test_a_missed_nonce_that_a_header_names() -> None:
    """If a header gives the problem, it also names the missing parameter."""
    header = 'OAuth oauth_problem="parameter_absent", oauth_parameters_absent="oauth_nonce"'
    assert NONCE_REFUSED == verdict(401, headers={"WWW-Authenticate": header}).outcome


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(error_json, id="JSON"),
        pytest.param(lambda code: error_json(str(code)), id="JSON, as text"),
        pytest.param(lambda code: error_json(code).replace(" ", ""), id="JSON, dense"),
        pytest.param(lambda code: error_json(code).replace('"', '\\"'), id="JSON in JSON"),
        pytest.param(error_xml, id="XML"),
        pytest.param(lambda code: error_xml(f"\n  {code}\n"), id="XML, indented"),
        pytest.param(lambda code: html.escape(error_xml(code)), id="XML in HTML"),
    ],
)
def test_an_error_code_that_passes(body: Callable[[int], str]) -> None:
    """The codes 100 and 670 are failures that may pass, with any status below 500 and in any notation."""
    for code, status in itertools.product((100, 670), (200, 302, 400, 401, 403, 404)):
        assert TRANSIENT == verdict(status, body(code)).outcome


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(error_json(1000), id="another code that begins like it"),
        pytest.param(error_json(None), id="no code"),
        pytest.param(error_xml(6700), id="another code as XML"),
        pytest.param(error_xml("many"), id="no number"),
        pytest.param(json.dumps({"code": 100}), id="no Error"),
        pytest.param("an error with the code 100", id="prose"),
    ],
)
def test_any_other_code_says_nothing(body: str) -> None:
    """With any other code, the status decides."""
    assert MISCONFIGURED == verdict(400, body).outcome


# What goes first ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(500, SENTENCE, TRANSIENT, id="5xx before the sentence"),
        pytest.param(503, "oauth_problem=token_expired", TRANSIENT, id="5xx before a problem"),
        pytest.param(500, UNAUTHORIZED, TRANSIENT, id="5xx before E*TRADE's word of a dead token"),
        pytest.param(502, "Invalid access token used", TRANSIENT, id="5xx before any text"),
        pytest.param(200, f"{SENTENCE} {PAIR}", RENEWED, id="the sentence before a problem"),
        pytest.param(200, f"{SENTENCE} {RATE_LIMIT}", RENEWED, id="the sentence before the rate limit"),
        pytest.param(401, f"{SENTENCE}", SIGN_IN_REQUIRED, id="no sentence of success in a 401"),
        pytest.param(400, f"{RATE_LIMIT} {PAIR}", SIGN_IN_REQUIRED, id="a problem before the rate limit"),
        pytest.param(400, error_json(100, PAIR), SIGN_IN_REQUIRED, id="a problem before a code"),
        pytest.param(429, PAIR, SIGN_IN_REQUIRED, id="a problem before a status"),
        pytest.param(400, "oauth_problem=never_heard_of", UNRECOGNISED, id="an unknown one, too"),
        pytest.param(401, RATE_LIMIT, TRANSIENT, id="the rate limit before the status"),
        pytest.param(404, error_xml(670), TRANSIENT, id="a code before the status"),
    ],
)
def test_what_goes_first(status: int, body: str, expected: Outcome) -> None:
    """A 5xx counts before success, then a problem, then other text, and then the status."""
    assert expected == verdict(status, body).outcome


def test_a_problem_in_the_header_goes_before_one_in_the_body() -> None:
    """If header and body name different problems, the header's counts."""
    found = verdict(
        401, "oauth_problem=token_expired", {"WWW-Authenticate": "OAuth oauth_problem=nonce_used"}
    )
    assert (NONCE_REFUSED, "nonce_used") == (found.outcome, found.problem)


@pytest.mark.parametrize(
    ("status", "error"), [(None, "ReadTimeout"), (200, "ReadTimeout"), (401, "ReadTimeout"), (None, None)]
)
def test_a_failure_of_the_transport_goes_before_everything(status: int | None, error: str | None) -> None:
    """An answer that was cut short counts as none, and the advice says what the network did, if known."""
    found = verdict(status, f"{SENTENCE} oauth_problem=token_expired", transport_error=error)
    assert (TRANSIENT, f"No answer came: {error or 'reason unknown'}.") == (found.outcome, found.advice)


# Where a problem is found ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(PAIR, id="plain text"),
        pytest.param(f"Sorry: {PAIR.upper()}.", id="capitals amid prose"),
        pytest.param("oauth_problem : token_rejected", id="colon and blanks"),
        pytest.param('oauth_problem="token_rejected"', id="quoted"),
        pytest.param(f"a=1&amp;{PAIR}&amp;b=2", id="form in HTML"),
        pytest.param(f"a=1,{PAIR},b=2", id="joined by commas"),
        pytest.param("<p>oauth_problem&#x3D;token_rejected</p>", id="HTML, hexadecimal reference"),
        pytest.param("oauth&lowbar;problem&equals;token&lowbar;rejected", id="HTML, named references"),
        pytest.param("<p>oauth_problem&amp;#61;token_rejected</p>", id="HTML escaped twice"),
        pytest.param(newer_tomcat(PAIR), id="newer Tomcat"),
        pytest.param(older_tomcat(PAIR), id="older Tomcat"),
        pytest.param(error_json(401, PAIR).replace("=", "\\u003d"), id="JSON message with an escape"),
        pytest.param(json.dumps({"oauth_problem": "token_rejected"}), id="JSON member"),
        pytest.param(json.dumps(json.dumps({"oauth_problem": "token_rejected"})), id="JSON in JSON"),
        pytest.param("<oauth_problem>\n  token_rejected\n</oauth_problem>", id="XML element, indented"),
        pytest.param(error_xml(401, PAIR), id="XML message"),
        pytest.param("oauth_problem%3dtoken%5frejected", id="percent-encoded in lower case"),
        pytest.param(f"oauth_problem=&{PAIR}", id="after an empty one"),
    ],
)
def test_a_problem_is_found_in_the_body(body: str) -> None:
    """A problem is found in a body of any notation, and returned in lower case."""
    found = verdict(403, body)
    assert (SIGN_IN_REQUIRED, "token_rejected") == (found.outcome, found.problem)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('OAuth realm="https://api.example.com/", oauth_problem="token_rejected"', id="quoted"),
        pytest.param("OAuth realm='', oauth_problem='token_rejected'", id="quoted once"),
        pytest.param("OAuth oauth_problem=token_rejected", id="not quoted"),
        pytest.param('OAUTH OAUTH_PROBLEM="TOKEN_REJECTED"', id="capitals"),
        pytest.param('OAuth oauth_problem%3D"token_rejected"', id="percent-encoded"),
    ],
)
def test_a_problem_is_found_in_the_header(value: str) -> None:
    """A problem is found in a WWW-Authenticate header of any case, even if the body is empty."""
    for name in ("WWW-Authenticate", "www-authenticate", "WWW-AUTHENTICATE"):
        found = verdict(403, "", {"Content-Type": "text/html", name: value})
        assert (SIGN_IN_REQUIRED, "token_rejected") == (found.outcome, found.problem)


@pytest.mark.parametrize(
    "body",
    ["oauth_problem", "oauth_problem=", "oauth_problem=&a=1", "oauth_problem=1", "my_problem=token_rejected"],
)
def test_half_a_problem_is_none(body: str) -> None:
    """If no problem is named, the status decides."""
    assert (MISCONFIGURED, None) == (verdict(400, body).outcome, verdict(400, body).problem)


# How long to wait --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("0", timedelta(0), id="no second"),
        pytest.param(" 120 ", timedelta(minutes=2), id="seconds"),
        pytest.param("999999999", timedelta(seconds=999_999_999), id="years"),
        pytest.param("9" * 6_000, None, id="thousands of digits"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("٣", None, id="other digits"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("Thu, 11 Nov 2021 21:27:12 GMT", timedelta(minutes=10), id="date"),
        pytest.param("Thu, 11 Nov 2021 16:27:12 -0500", timedelta(minutes=10), id="date in New York"),
        pytest.param("Thu, 11 Nov 2021 21:27:12 -0000", timedelta(minutes=10), id="date of no zone"),
        pytest.param("Thu, 11 Nov 2021 21:07:12 GMT", timedelta(0), id="past date"),
        pytest.param("Thu, 31 Feb 2021 21:07:12 GMT", None, id="no such date"),
        pytest.param("Thu, 11 Nov 99999 21:07:12 GMT", None, id="no such year"),
    ],
)
def test_how_long_e_trade_asks_to_wait(value: str, expected: timedelta | None) -> None:
    """`Retry-After` in seconds or as a date is understood and never negative; anything else is ignored."""
    assert expected == verdict(503, headers={"Retry-After": value}).retry_after


def test_after_a_success_there_is_nothing_to_wait_for() -> None:
    """After a success no wait is asked for, whatever the header says."""
    assert verdict(200, SENTENCE, {"Retry-After": "120"}).retry_after is None


# How far the clock is off ------------------------------------------------------------------------------

REFUSED = "oauth_problem=timestamp_refused"
TIMESTAMPS = f"{REFUSED}&oauth_acceptable_timestamps={WINDOW}"
NEAR = {"Date": format_datetime(NOW + timedelta(minutes=2), usegmt=True)}
ABSURD = {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"}
AHEAD = {"Date": format_datetime(NOW + timedelta(hours=1), usegmt=True)}


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        pytest.param(TIMESTAMPS, {}, 0, id="timestamps"),
        pytest.param(TIMESTAMPS.replace("&", ","), {}, 0, id="timestamps after a comma"),
        pytest.param(TIMESTAMPS.replace("&", "&amp;"), {}, 0, id="timestamps in HTML"),
        pytest.param(TIMESTAMPS.replace("-", " - "), {}, 0, id="timestamps with blanks"),
        pytest.param(f'{REFUSED} "oauth_acceptable_timestamps": "{WINDOW}"', {}, 0, id="timestamps in JSON"),
        pytest.param("", {"WWW-Authenticate": f"OAuth {TIMESTAMPS}"}, 0, id="timestamps in a header"),
        pytest.param(TIMESTAMPS, NEAR, 0, id="timestamps agree with the date"),
        pytest.param(TIMESTAMPS, AHEAD, 3600, id="timestamps disagree with the date"),
        pytest.param(TIMESTAMPS, ABSURD, 0, id="timestamps, absurd date"),
        pytest.param(REFUSED, ABSURD, None, id="absurd date"),
        pytest.param(f"{REFUSED}&oauth_acceptable_timestamps=99999999990-99999999999", {}, None, id="absurd"),
        pytest.param(REFUSED, AHEAD, 3600, id="date"),
        pytest.param(f"{REFUSED}&oauth_acceptable_timestamps=soon", AHEAD, 3600, id="no timestamps, date"),
        pytest.param(REFUSED, {}, None, id="neither"),
        pytest.param(REFUSED, {"Date": "today"}, None, id="no date"),
    ],
)
@pytest.mark.parametrize("off", [-86_400, 42])
def test_how_far_this_machine_s_clock_is_off(
    body: str, headers: dict[str, str], expected: int | None, off: int
) -> None:
    """The clock's offset comes from the middle of the timestamps that E*TRADE accepts, or from its date."""
    found = verdict(401, body, headers, received_at=NOW - timedelta(seconds=off))
    offset = None if expected is None else timedelta(seconds=expected + off)
    assert (CLOCK_SKEWED, offset) == (found.outcome, found.clock_offset)
    told = "This machine's clock is off. Set it by NTP." if offset is None else clock_advice(offset)
    blamed = offset is None or abs(offset) >= SKEW_WARNED
    unwell = "E*TRADE refused the timestamp, although its clock and this machine's agree."
    assert (told if blamed else unwell) == found.advice


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (timedelta(seconds=90), "90 s behind E*TRADE's"),
        (timedelta(seconds=-90), "90 s ahead of E*TRADE's"),
        (timedelta(days=1, seconds=0.4), "86400 s behind E*TRADE's"),
    ],
    ids=str,
)
def test_the_advice_says_how_far_the_clock_is_off(offset: timedelta, expected: str) -> None:
    """The advice says by how many seconds the clock is off, in which direction, and what to do."""
    assert f"This machine's clock is {expected}. Set it by NTP." == clock_advice(offset)


def test_a_clock_that_was_not_refused_is_left_alone() -> None:
    """If the timestamp was not refused, the answer's date does not correct the clock."""
    assert verdict(401, "oauth_problem=nonce_used", AHEAD).clock_offset is None


# The reply itself --------------------------------------------------------------------------------------


def test_a_reply_does_not_show_what_came_in_it() -> None:
    """Printing a reply leaves out headers and body, because they may echo secrets."""
    shown = repr(RenewalReply(401, {"X-Echo": "fake-secret-1"}, "fake-secret-2", NOW))
    assert "401" in shown
    assert "fake-secret" not in shown


def test_the_excerpt_is_the_readable_start_of_the_answer() -> None:
    """The excerpt is what a person would read on the error page."""
    shown = verdict(401, newer_tomcat(PAIR)).excerpt
    assert f"HTTP Status 401 HTTP Status 401 Type Status Report Message {PAIR}" in shown


@pytest.mark.parametrize("known", [timedelta(0), timedelta(hours=5)], ids=str)
@pytest.mark.parametrize(
    ("off", "believed"),
    [
        (timedelta(0), True),
        (timedelta(minutes=3), True),
        (-SKEW_REFUSED, True),
        (SKEW_REFUSED, True),
        (SKEW_REFUSED + timedelta(seconds=1), False),
        (timedelta(days=365), False),
        (None, False),
    ],
    ids=str,
)
def test_answer_is_dated_by_its_date_where_that_can_be(
    known: timedelta, off: timedelta | None, believed: bool
) -> None:
    """A plausible `Date` dates the answer; otherwise the time that was known before does."""
    date = "soon" if off is None else format_datetime(NOW + known + off, usegmt=True)
    reply = RenewalReply(200, {"Date": date}, SENTENCE, received_at=NOW)
    assert NOW + known + (off if believed else timedelta(0)) == answered_at(reply, NOW + known)


@pytest.mark.parametrize(("body", "dead"), [(UNAUTHORIZED, True), (SENTENCE, False), ("", False)])
def test_sentence_of_a_dead_token_is_known(body: str, dead: bool) -> None:
    """E*TRADE's sentences for a dead token are found wherever they are in the text."""
    assert dead is says_token_is_dead(f"<p>{body}</p>")
