"""What E*TRADE's answer to a renewal means.

Pure and total: every reply gets exactly one `Outcome`, and nothing raises. E*TRADE publishes little about its
failures, so the problem is looked for wherever it has been seen or may be, in this order:

1. any 5xx is TRANSIENT, whatever its body says, and so is an empty 200;
2. the sentence of success in a 200;
3. an `oauth_problem`, in a `WWW-Authenticate` header or anywhere in the body;
4. E*TRADE's sentences for a dead token and for the rate limit, and the codes of an `Error` body;
5. the bare status.

Source: E*TRADE's "Renew Access Token" page, and answers seen by users. The names of the problems are from the
OAuth Problem Reporting extension.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import unquote

from etrade_tasks.oauth.redaction import describe_answer, excerpt, undo_html_escapes, undo_json_escapes

SKEW_WARNED = timedelta(seconds=60)
"""How far off a clock may be before a warning."""

SKEW_REFUSED = timedelta(minutes=5)
"""How far a timestamp may be from E*TRADE's clock before it is refused."""

SKEW_ABSURD = timedelta(days=366)
"""The most that a clock is believed to be off: with more, TLS certificates would not be valid either."""

_SUCCESS = "access token has been renewed"
_RATE_LIMIT = "number of requests exceeded the rate limit"
_DEAD_TOKEN = ("invalid access token used", "invalid consumer key and/or session token")

_PROBLEM = re.compile(r"""oauth_problem["']?(?:</\w{1,10}>)?\s*(?:=|:|>)\s*["']?\s*([a-z_]{1,40})""")
_ABSENT = re.compile(r"""oauth_parameters_absent["']?\s*(?:=|:|>)\s*["']?\s*([^"'<,\s]*)""")
_TIMESTAMPS = re.compile(r"oauth_acceptable_timestamps\D{1,8}([0-9]{9,11})\s*-\s*([0-9]{9,11})")
_ERROR = re.compile(r"""["'<:]error["'>\s]""")
_CODE = re.compile(r"""["'<:]code["'>]\s*:?\s*["']?([0-9]{1,6})\b""")


class Outcome(StrEnum):
    """The one word for what a reply means and what follows."""

    RENEWED = "RENEWED"
    """The token is active again."""
    TRANSIENT = "TRANSIENT"
    """E*TRADE or the network failed: try again, waiting longer each time."""
    NONCE_REFUSED = "NONCE_REFUSED"
    """E*TRADE took the nonce for a replay: sign again and retry at once."""
    CLOCK_SKEWED = "CLOCK_SKEWED"
    """This machine's clock is off: correct the timestamp and retry at once."""
    SIGN_IN_REQUIRED = "SIGN_IN_REQUIRED"
    """The token is dead; a person signs in."""
    MISCONFIGURED = "MISCONFIGURED"
    """A key, a secret or an address is wrong; trying again cannot help."""
    UNRECOGNISED = "UNRECOGNISED"
    """The reply is not a known one: try again as for TRANSIENT, then show the reply."""


@dataclass(frozen=True, slots=True)
class RenewalReply:
    """E*TRADE's answer to one renewal call, or the transport's failure.

    Headers and body are not in `repr`, because an answer may echo secrets.

    Attributes:
        status_code: The HTTP status; None if no answer came.
        headers: The answer's headers; their names may be in any case.
        body: The answer's text, at most 64 KiB of it.
        received_at: When the answer ended, by this machine's clock.
        transport_error: The network's failure; if it is set, there is no answer.
        remedy: What a person does about a transport error that would happen again at every attempt; None if
            another attempt may help.
    """

    status_code: int | None
    headers: Mapping[str, str] = field(repr=False)
    body: str = field(repr=False)
    received_at: datetime
    transport_error: str | None = None
    remedy: str | None = None

    def header(self, name: str) -> str:
        """The value of a header, named in any case; empty if there is none."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def described(self, secrets: Iterable[str] = ()) -> str:
        """The answer in one sentence, as `describe_answer` writes it; empty if none came."""
        if self.status_code is None:
            return ""
        return describe_answer(self.status_code, self.header("Content-Type"), self.body, secrets)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reply means. It holds no secret.

    Attributes:
        outcome: The one word.
        problem: The `oauth_problem` that E*TRADE named, in lower case; None if it named none.
        advice: What the reader should know or do, as a sentence.
        retry_after: How long E*TRADE asks to wait; None if it does not say, or has renewed.
        clock_offset: What to add to this machine's clock to get E*TRADE's; None unless the clock was refused.
        excerpt: The readable start of the answer, at most 200 characters.
        bare: Whether only the status says that the renewal must end, which is worth one more attempt.
        remedy: What a person does if the call did not reach E*TRADE and another attempt would not either.
    """

    outcome: Outcome
    advice: str
    problem: str | None = None
    retry_after: timedelta | None = None
    clock_offset: timedelta | None = None
    excerpt: str = ""
    bare: bool = False
    remedy: str | None = None


_AT_ONCE = frozenset({Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED})


@dataclass
class Retrying:
    """Decides about another attempt at the same call, by the verdicts so far."""

    _doubted: bool = field(default=False, init=False)
    _hurried: bool = field(default=False, init=False)

    def doubts(self, verdict: Verdict) -> bool:
        """Whether to try once more before believing a verdict: yes, once, if it rests on a bare status.

        After bare 401 and 400 pages, the next try has been seen to work.
        """
        first, self._doubted = verdict.bare and not self._doubted, self._doubted or verdict.bare
        return first

    def wait_for(self, verdict: Verdict) -> timedelta | None:
        """How long to wait before the next attempt; None to back off as usual.

        After the first refused nonce or timestamp, there is no wait.
        """
        if verdict.outcome not in _AT_ONCE:
            return verdict.retry_after
        first, self._hurried = not self._hurried, True
        return timedelta(0) if first else None


_ADVICE = {
    Outcome.RENEWED: "The token is active again.",
    Outcome.TRANSIENT: "E*TRADE could not serve the call at the moment.",
    Outcome.NONCE_REFUSED: "E*TRADE took the nonce for a replay.",
    Outcome.CLOCK_SKEWED: "This machine's clock is off. Set it by NTP.",
    Outcome.SIGN_IN_REQUIRED: "The access token is no longer valid; a person signs in at E*TRADE again.",
    Outcome.MISCONFIGURED: "E*TRADE refused the request itself; check the OAuth address and the credentials.",
    Outcome.UNRECOGNISED: "E*TRADE's answer is not a known one.",
}

_KEY_ADVICE = (
    "E*TRADE does not accept the consumer key. Likely causes: a sandbox key used as live or the reverse; a "
    "key past the two years after which E*TRADE lets it lapse; a key that E*TRADE serves on the other OAuth "
    "address (https://apisb.etrade.com/oauth)."
)
_SIGNATURE_ADVICE = (
    "E*TRADE computed another signature. Likely causes: the consumer secret or the token secret is mistyped "
    "or still percent-encoded; token and secret are from different sign-ins."
)

_PROBLEMS: Mapping[str, tuple[Outcome, str]] = {
    "nonce_used": (Outcome.NONCE_REFUSED, _ADVICE[Outcome.NONCE_REFUSED]),
    "timestamp_refused": (Outcome.CLOCK_SKEWED, _ADVICE[Outcome.CLOCK_SKEWED]),
    "token_expired": (Outcome.SIGN_IN_REQUIRED, _ADVICE[Outcome.SIGN_IN_REQUIRED]),
    "token_rejected": (Outcome.SIGN_IN_REQUIRED, _ADVICE[Outcome.SIGN_IN_REQUIRED]),
    "token_revoked": (Outcome.SIGN_IN_REQUIRED, _ADVICE[Outcome.SIGN_IN_REQUIRED]),
    "signature_invalid": (Outcome.MISCONFIGURED, _SIGNATURE_ADVICE),
    "signature_method_rejected": (Outcome.MISCONFIGURED, "E*TRADE accepts only HMAC-SHA1 signatures."),
    "version_rejected": (Outcome.MISCONFIGURED, "E*TRADE refused `oauth_version`; send none, or 1.0."),
    "callback_rejected": (Outcome.MISCONFIGURED, "E*TRADE accepts only `oob` as the callback."),
}

_STATUSES: Mapping[int, Outcome] = {
    400: Outcome.MISCONFIGURED,
    401: Outcome.SIGN_IN_REQUIRED,
    404: Outcome.MISCONFIGURED,
    405: Outcome.MISCONFIGURED,
    408: Outcome.TRANSIENT,
    425: Outcome.TRANSIENT,
    429: Outcome.TRANSIENT,
}

_FINAL = frozenset({Outcome.SIGN_IN_REQUIRED, Outcome.MISCONFIGURED})

_UNWELL_CLOCK = "E*TRADE refused the timestamp, although its clock and this machine's agree."

_TRANSIENT_CODES = frozenset({100, 670})  # "not currently available"; "currently undergoing maintenance"


def classify(reply: RenewalReply) -> Verdict:
    """The verdict on a reply: what it means and what follows. Never raises."""
    text = f"{_readable(reply.header('WWW-Authenticate'))} {_readable(reply.body)}".strip()
    outcome, problem, advice = _judge(reply, text)
    offset = _clock_offset(reply, text) if outcome is Outcome.CLOCK_SKEWED else None
    if offset is not None:
        advice = clock_advice(offset) if abs(offset) >= SKEW_WARNED else _UNWELL_CLOCK
    return Verdict(
        outcome=outcome,
        problem=problem,
        advice=advice,
        retry_after=None if outcome is Outcome.RENEWED else _retry_after(reply),
        clock_offset=offset,
        excerpt=excerpt(reply.body),
        bare=outcome in _FINAL and problem is None and reply.remedy is None and _judge_text(text) is None,
        remedy=reply.remedy,
    )


def _judge(reply: RenewalReply, text: str) -> tuple[Outcome, str | None, str]:
    """Outcome, problem and advice, in the order that the module's docstring gives."""
    status = reply.status_code
    if status is None or reply.transport_error is not None:
        outcome = Outcome.MISCONFIGURED if reply.remedy else Outcome.TRANSIENT
        return outcome, None, f"No answer came: {reply.transport_error or 'reason unknown'}."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or (status == HTTPStatus.OK and not text):
        return Outcome.TRANSIENT, None, _ADVICE[Outcome.TRANSIENT]
    if status == HTTPStatus.OK and _SUCCESS in text:
        return Outcome.RENEWED, None, _ADVICE[Outcome.RENEWED]
    if match := _PROBLEM.search(text):
        return _judge_problem(match[1], text)
    outcome = _judge_text(text) or _STATUSES.get(status, Outcome.UNRECOGNISED)
    return outcome, None, _ADVICE[outcome]


def _judge_problem(problem: str, text: str) -> tuple[Outcome, str | None, str]:
    if problem.startswith("consumer_key_"):
        return Outcome.MISCONFIGURED, problem, _KEY_ADVICE
    if problem == "parameter_absent":
        # The signer always sends both; E*TRADE sometimes misses them, and finds them the next time.
        absent = _ABSENT.search(text)
        if absent and ("oauth_nonce" in absent[1] or "oauth_timestamp" in absent[1]):
            return Outcome.NONCE_REFUSED, problem, _ADVICE[Outcome.NONCE_REFUSED]
    outcome, advice = _PROBLEMS.get(problem, (Outcome.UNRECOGNISED, _ADVICE[Outcome.UNRECOGNISED]))
    return outcome, problem, advice


def _judge_text(text: str) -> Outcome | None:
    if any(sentence in text for sentence in _DEAD_TOKEN):
        return Outcome.SIGN_IN_REQUIRED
    if _RATE_LIMIT in text:
        return Outcome.TRANSIENT
    if _ERROR.search(text) and any(int(code) in _TRANSIENT_CODES for code in _CODE.findall(text)):
        return Outcome.TRANSIENT
    return None


def says_token_is_dead(body: str) -> bool:
    """Whether an answer says, in one of E*TRADE's sentences, that the access token is dead."""
    return _judge_text(_readable(body)) is Outcome.SIGN_IN_REQUIRED


def _readable(text: str) -> str:
    """The text in lower case, its spaces folded, with HTML, JSON and percent escapes undone."""
    text = undo_json_escapes(undo_html_escapes(text)).replace("\\", "")
    return " ".join(unquote(text).lower().split())


def _retry_after(reply: RenewalReply) -> timedelta | None:
    """`Retry-After` as a span from `received_at`, never negative (RFC 9110, section 10.2.3)."""
    value = reply.header("Retry-After").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return timedelta(seconds=int(value))
    date = http_date(value)
    return None if date is None else max(date - _aware(reply.received_at), timedelta(0))


def _clock_offset(reply: RenewalReply, text: str) -> timedelta | None:
    """What to add to this machine's clock. If the `Date` header and the timestamps disagree, `Date` is used.

    E*TRADE has sent timestamps that were years off, with a correct `Date`.
    """
    dated = _plausible(http_date(reply.header("Date")), reply)
    match = _TIMESTAMPS.search(text)
    if match is None:
        return dated
    # E*TRADE accepts the same span before its own clock as after it, so its clock is in the middle.
    middle = datetime.fromtimestamp((int(match[1]) + int(match[2])) / 2, UTC)
    named = _plausible(middle, reply)
    if named is None or (dated is not None and abs(named - dated) > SKEW_REFUSED):
        return dated
    return named


def _plausible(theirs: datetime | None, reply: RenewalReply) -> timedelta | None:
    """How far a clock is ahead of this machine's; None if that is more than any working clock can be off."""
    if theirs is None:
        return None
    offset = theirs - _aware(reply.received_at)
    return offset if abs(offset) <= SKEW_ABSURD else None


def answered_at(reply: RenewalReply, otherwise: datetime) -> datetime:
    """When E*TRADE answered, by its own clock: the `Date` of the answer, exact to the second.

    A `Date` further than `SKEW_REFUSED` from a timestamp that E*TRADE accepted is not from its clock. Then
    `otherwise` is used.

    Args:
        reply: The answer to a call whose timestamp E*TRADE accepted.
        otherwise: About when it came, by E*TRADE's clock as far as that was known.
    """
    date = http_date(reply.header("Date"))
    return date if date is not None and abs(date - otherwise) <= SKEW_REFUSED else otherwise


def http_date(value: str) -> datetime | None:
    """The aware time in an HTTP header (RFC 9110, section 5.6.7); None if there is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return _aware(date)


def _aware(instant: datetime) -> datetime:
    """Read a naive time as UTC, as HTTP dates are, so that classification stays total."""
    return instant if instant.utcoffset() is not None else instant.replace(tzinfo=UTC)


def clock_advice(offset: timedelta) -> str:
    """How far this machine's clock is off, and what to do about it.

    Args:
        offset: What to add to this machine's clock to get E*TRADE's.
    """
    seconds = round(offset.total_seconds())
    relation = "behind" if seconds >= 0 else "ahead of"
    return f"This machine's clock is {abs(seconds)} s {relation} E*TRADE's. Set it by NTP."
