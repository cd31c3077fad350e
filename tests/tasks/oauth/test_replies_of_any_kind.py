"""Replies of any kind at all: each gets a verdict, and no verdict shows a secret."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import format_datetime
from itertools import product
from string import ascii_letters, ascii_lowercase, digits
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etrade_tasks.oauth.replies import Outcome, RenewalReply, Verdict, classify

NOW = datetime(2021, 11, 11, 21, 17, 12, tzinfo=UTC)
TIMESTAMPS = "oauth_problem=timestamp_refused&oauth_acceptable_timestamps=1636665132-1636665732"


def verdict(
    status: int | None, body: str, headers: Mapping[str, str] | None = None, *, received_at: datetime = NOW
) -> Verdict:
    """The verdict on a reply with these parts."""
    return classify(RenewalReply(status, headers or {}, body, received_at))


class Nowhere(tzinfo):
    """A zone without a UTC offset."""

    def utcoffset(self, _: datetime | None) -> None:
        """Return None."""


FRAGMENTS = [
    *("Access Token has been renewed", "Number of requests exceeded the rate limit", TIMESTAMPS),
    "Unauthorized request - invalid Consumer key and/or session token",
    *("Invalid access token used", '{"Error": {"code": 100}}', "<Error><code>670</code></Error>"),
    *("oauth_problem=token_rejected", "oauth_problem=timestamp_refused", "parameter_absent"),
    *("oauth_problem", "oauth_problem=", "oauth_parameters_absent=", "token=", "secret: "),
    *("<style>", "</style>", "<script ", "</script", "<p>", "</", "<!--", "&amp;", "&#", "&#x", ";", "&lt"),
    *("\\u003d", "\\u", "\\", "\\ud800", "%", "%3D", "%FF", "%E2%82", '"', "'", "=", ":", "&", ","),
    *("\x00", "\x1b[0m", "\u2028", "\ud83d", "\udca9", "\N{PILE OF POO}", " ", "\r\n", "A/b+" * 9, "1" * 12),
]
ESCAPES: list[Callable[[str], str]] = [
    str,
    html.escape,
    json.dumps,
    lambda text: quote(text, errors="replace"),
    lambda text: "".join(f"&#{ord(character)};" for character in text),
    lambda text: "".join(f"\\u{ord(character) & 0xFFFF:04x}" for character in text),
]
any_text = st.text(st.characters(exclude_categories=()))


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Texts of what classification looks for and of anything else, escaped up to three times."""
    pieces = draw(st.lists(st.one_of(st.sampled_from(FRAGMENTS), any_text), max_size=12))
    text = "".join(pieces)
    for escape in draw(st.lists(st.sampled_from(ESCAPES), max_size=3)):
        text = escape(text)
    return text * draw(st.sampled_from([1, 1, 1, 50]))


dates = st.datetimes().map(lambda date: format_datetime(date.replace(tzinfo=UTC), usegmt=True))
names = st.sampled_from(["WWW-Authenticate", "Retry-After", "Date", "date", "Content-Type"])
headers_of_any_kind = st.dictionaries(
    st.one_of(names, any_text), st.one_of(bodies(), dates, st.integers().map(str)), max_size=4
)
moments = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)),
    st.datetimes(timezones=st.just(UTC)),
)


@settings(max_examples=300)
@given(
    status_code=st.one_of(st.none(), st.integers(), st.sampled_from([200, 302, 400, 401, 403, 429, 503])),
    headers=headers_of_any_kind,
    body=bodies(),
    received_at=moments,
    transport_error=st.one_of(st.none(), st.none(), st.text()),
)
def test_any_reply_gets_a_verdict(**reply: Any) -> None:
    """Any reply gets one outcome, some advice and a short excerpt, and never raises."""
    found = classify(RenewalReply(**reply))
    assert found.outcome in set(Outcome)
    assert found.advice
    assert len(found.excerpt) <= 200
    assert found.excerpt.isprintable()
    assert found.retry_after is None or found.retry_after >= timedelta(0)


@pytest.mark.parametrize("place", ["body", "header"])
def test_a_reference_to_no_character_at_all_is_survived(place: str) -> None:
    """An HTML reference with thousands of digits, which names no character, does not raise."""
    hostile = f"&#{'1' * 5_000};"
    found = verdict(401, hostile) if place == "body" else verdict(401, "", {"WWW-Authenticate": hostile})
    assert Outcome.SIGN_IN_REQUIRED == found.outcome


@pytest.mark.parametrize("zone", [None, Nowhere()], ids=["no zone", "no offset"])
def test_a_naive_time_of_receipt_is_taken_for_utc(zone: tzinfo | None) -> None:
    """A time of receipt without a zone, or in one without an offset, is read as UTC."""
    found = verdict(401, TIMESTAMPS, received_at=NOW.replace(tzinfo=zone))
    assert timedelta(0) == found.clock_offset


@pytest.mark.parametrize(
    ("piece", "end"),
    [
        *product(("<", "token", "a-", "a ", "</style", "<script></", "&amp;", "&#", "&#1;", "%25"), [""]),
        *product(("\\u", "\\u005c", '"', "'error'", '"code":', "oauth_problem", "oauth_problem= <"), [""]),
        *product(("token=", "key\\", "signature", "\n", "\ud800", "=", "A/+"), [""]),
        *product(("<style ", "<script>"), ("", "</style x", "</script x", "</style", "<")),
    ],
    ids=repr,
)
def test_a_hostile_body_is_classified(piece: str, end: str) -> None:
    """64 KiB of one repeated piece, chosen to slow down a pattern, are classified like any other body."""
    body = (piece * 65_536)[: 65_536 - len(end)] + end
    assert Outcome.SIGN_IN_REQUIRED == verdict(401, body).outcome


# Secrets in an answer ----------------------------------------------------------------------------------

BASE64 = f"{ascii_letters}{digits}+/"
# Plain words are shown outside of a secret's place, so a token has more in it than small letters.
runs = st.text(BASE64, min_size=16, max_size=64).filter(lambda run: not set(run) <= set(ascii_lowercase))
tokens = st.builds("{}{}".format, runs, st.sampled_from(["", "=", "=="]))


def each(template: str, characters: str = "+/=") -> Callable[[str], str]:
    """A spelling that writes these characters by a template."""
    return lambda token: "".join(
        template.format(ord(character)) if character in characters else character for character in token
    )


SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": lambda token: quote(token, safe=""),
    "percent, lower case": each("%{:02x}"),
    "percent, twice": lambda token: quote(quote(token, safe=""), safe=""),
    "HTML": html.escape,
    "HTML, decimal": each("&#{:d};"),
    "HTML, hexadecimal": each("&#x{:X};"),
    "HTML, all of it": each("&#{:d};", f"{BASE64}="),
    "JSON slashes": lambda token: token.replace("/", "\\/"),
    "JSON escapes": each("\\u{:04x}"),
    "JSON escapes, all of it": each("\\u{:04X}", f"{BASE64}="),
}
PLACES = {
    "bare": "{}",
    "amid prose": "No {} here.",
    "pair": "oauth_token={}",
    "pairs": "a=1&oauth_token={0}&oauth_token_secret={0}&b=2",
    "pairs in HTML": "<p>a=1&amp;oauth_consumer_key={0}&amp;oauth_token={0}&amp;b=2</p>",
    "pairs joined by commas": "oauth_problem=token_rejected,oauth_token={},b=2",
    "header": 'OAuth realm="", oauth_token="{0}", oauth_signature="{0}"',
    "JSON": '{{"oauth_token": "{0}", "other": "{0}"}}',
    "JSON, dense": '{{"oauth_token":"{0}","list":["{0}"]}}',
    "JSON in JSON": '"{{\\"oauth_token\\":\\"{}\\"}}"',
    "XML": "<r><oauth_token>{0}</oauth_token><other>{0}</other></r>",
    "XML attribute": '<r oauth_token="{}">text</r>',
    "HTML text": "<b>Message</b> {} <i>{}</i>",
}


@settings(max_examples=500)
@given(
    token=tokens,
    spell=st.sampled_from(list(SPELLINGS.values())),
    place=st.sampled_from(list(PLACES.values())),
    status=st.sampled_from([200, 400, 401, 503]),
    before=st.sampled_from(["", "Sorry. ", "<p>", "a b c " * 20]),
)
def test_no_secret_in_an_answer_is_shown(
    *, token: str, spell: Callable[[str], str], place: str, status: int, before: str
) -> None:
    """However and wherever an answer spells a token, its excerpt never has twelve characters of it."""
    spelled = spell(token)
    shown = verdict(status, before + place.format(spelled, spelled)).excerpt
    twelves = {text[at : at + 12] for text in (token, spelled) for at in range(len(text) - 11)}
    assert [] == [part for part in sorted(twelves) if part in shown]
