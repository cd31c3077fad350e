"""Removing secrets from text that a person will see."""

from __future__ import annotations

import html
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etrade_tasks.oauth.redaction import (
    EXCERPT_LENGTH,
    REDACTED,
    describe_answer,
    excerpt,
    scrub,
)

# Made of the same characters as a token, and clearly fake.
SECRET = "FAKE/fake+token~0123 é&<="

Spelling = Callable[[str], str]


def lower_escapes(secret: str) -> str:
    """Percent-encoded with lower-case digits."""
    return "".join(quoted.lower() if quoted.startswith("%") else quoted for quoted in map(quote_all, secret))


def quote_all(secret: str) -> str:
    """Percent-encoded, slashes included."""
    return quote(secret, safe="")


SPELLINGS: dict[str, Spelling] = {
    "plain": str,
    "percent-encoded": quote_all,
    "percent-encoded but for slashes": quote,
    "percent-encoded in lower case": lower_escapes,
    "blank as plus": quote_plus,
    "percent-encoded twice": lambda secret: quote_all(quote_all(secret)),
    "HTML": html.escape,
    "JSON slashes": lambda secret: secret.replace("/", "\\/"),
}


# Known secrets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@given(secret=st.text("ABCxyz019/+=%~&<> é", min_size=4))
@example(secret=SECRET)
def test_a_known_secret_is_removed_in_each_spelling(secret: str, spell: Spelling) -> None:
    """Whatever a secret is made of, it is replaced wherever an answer echoes it, in each spelling."""
    echoed = spell(secret)
    assert f"a:{REDACTED}:b:{REDACTED}:c" == scrub(f"a:{echoed}:b:{echoed}:c", [secret])


@pytest.mark.parametrize("order", [1, -1], ids=["short first", "long first"])
def test_the_longest_secret_is_removed_first(order: int) -> None:
    """A secret that begins like another is removed whole, in whatever order they are given."""
    secrets = ["fake-secret", "fake-secret-and-more"][::order]
    assert f"{REDACTED}, {REDACTED}" == scrub("fake-secret-and-more, fake-secret", secrets)


@pytest.mark.parametrize("secrets", [[], [""], [SECRET]], ids=["none", "an empty one", "another one"])
def test_text_without_a_secret_stays_as_it_is(secrets: list[str]) -> None:
    """Text without a secret stays unchanged, even if a secret is empty."""
    assert "<b>fake</b> & more" == scrub("<b>fake</b> & more", secrets)


# Excerpts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(" \n\t ", "", id="blank"),
        pytest.param("It   went\r\n\twrong. ", "It went wrong.", id="one line"),
        pytest.param("a\x00b\x1b[31mc\u200bd", "a b [31mc d", id="what cannot be printed"),
        pytest.param("a\ud800b", "a b", id="half a character"),
        pytest.param("<h1>HTTP Status 401</h1><p>Sorry", "HTTP Status 401 Sorry", id="markup"),
        pytest.param("1 < 2 and 3 > 2", "1 2", id="what looks like markup"),
        pytest.param("a<style type='text/css'>b {c: <d>}</style>e", "a e", id="style sheet"),
        pytest.param("a<SCRIPT>b</Script >c", "a c", id="script in capitals"),
        pytest.param("a<style>b c d", "a", id="style sheet without an end"),
        pytest.param("a<stylish>b</stylish>c", "a b c", id="only like a style sheet"),
        pytest.param("caf&eacute; &#38; more", "café & more", id="HTML entities"),
        pytest.param(r'{"a":"\u0041\u004A\u004a\u00c9 \u00e\n"}', r'{"a":"AJJÉ \u00e\n"}', id="JSON escapes"),
        pytest.param(
            "oauth_parameters_absent=a", "oauth_parameters_absent=a", id="plain words, however long"
        ),
        pytest.param("signature_method=HMAC-SHA1", "signature_method=HMAC-SHA1", id="a method is no secret"),
        pytest.param("word " * 100, ("word " * 100)[:200], id="only its first 200 characters"),
    ],
)
def test_an_excerpt_is_the_readable_text_on_one_line(text: str, expected: str) -> None:
    """An excerpt is what a person would read of the answer, on one line."""
    assert expected == excerpt(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("oauth_token=fake&a=1", "oauth_token=@&a=1", id="token, and a pair after it"),
        pytest.param("oauth_token=fake,a=1", "oauth_token=@,a=1", id="comma after it"),
        pytest.param("oauth_token=fake&amp;a=1", "oauth_token=@&a=1", id="pair after it, in HTML"),
        pytest.param("oauth_token_secret=fake", "oauth_token_secret=@", id="token secret"),
        pytest.param("oauth_signature=fake", "oauth_signature=@", id="signature"),
        pytest.param("oauth_nonce=fake", "oauth_nonce=@", id="nonce"),
        pytest.param("oauth_verifier=fake", "oauth_verifier=@", id="verifier"),
        pytest.param("consumerKey: fake", "consumerKey: @", id="camel case"),
        pytest.param("TOKEN = fake", "TOKEN = @", id="capitals and blanks"),
        pytest.param('oauth_token="fake"', 'oauth_token="@"', id="quoted"),
        pytest.param('{"token": "fake"}', '{"token": "@"}', id="JSON"),
        pytest.param(r'"{\"token\":\"fake\"}"', r'"{\"token\":\"@"}"', id="JSON in JSON"),
        pytest.param("<token>fake</token>", "@", id="XML"),
        pytest.param("oauth_token%3dfake", "oauth_token%3d@", id="percent-encoded in lower case"),
        pytest.param("oauth_token&#61;fake", "oauth_token=@", id="HTML"),
        pytest.param(r"oauth_token\u003dfake", "oauth_token=@", id="JSON escape"),
    ],
)
def test_the_value_of_a_secret_s_name_is_hidden(text: str, expected: str) -> None:
    """The value of a token, key, secret, signature, nonce or verifier is hidden, however short it is."""
    assert expected.replace("@", REDACTED) == excerpt(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a 0123456789ABCDE b", "a 0123456789ABCDE b", id="15 characters"),
        pytest.param("a 0123456789ABCDEF b", "a @ b", id="16 characters"),
        pytest.param("a 0123456789/+AbCd== b", "a @ b", id="base64"),
        pytest.param("a 0123456789%2F%2BAbCd%3D b", "a @ b", id="percent-encoded"),
        pytest.param(r"a 0123456789\/\/AbCd b", "a @ b", id="JSON slashes"),
        pytest.param("a 0123456789&#x2F;AbCdEfG b", "a @ b", id="HTML"),
        pytest.param("a 01234567-89ab-cdef-0123 b", "a @ b", id="dashes"),
        pytest.param("a 0123456789abcdefghijk", "a @", id="at the end"),
        pytest.param("a internationalisation b", "a internationalisation b", id="a long word"),
        pytest.param("oauth_token=abcDEF123&amp;#x2F;ghiJKL789", "oauth_token=@", id="HTML, escaped twice"),
        pytest.param("x " * 95 + "0123456789ABCDEF" * 2, "x " * 95 + "@", id="across an excerpt's end"),
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str, expected: str) -> None:
    """An unbroken run of 16 or more characters is hidden, unless it consists of plain words."""
    assert expected.replace("@", REDACTED) == excerpt(text)


# What a reader's program would act on ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("see https://evil.example/a", "see https: //evil .example/a", id="address"),
        pytest.param("see www.evil.example.", "see www .evil .example.", id="address without a scheme"),
        pytest.param("see evil\u3002com", "see evil \u3002com", id="another full stop"),
        pytest.param("[click](tel:1)", "[click] (tel:1)", id="markdown link"),
        pytest.param("[x][y] [x]: y", "[x] [y] [x] : y", id="markdown reference"),
        pytest.param("@channel @here", "(at)channel (at)here", id="mention"),
        pytest.param("a<!channel>b", "a b", id="mention of Slack"),
        pytest.param("&amp;amp;lt;!here&amp;amp;gt;", "&lt;!here&gt;", id="escaped thrice"),
        pytest.param("<http://evil.example|E*TRADE", "http: //evil .example E TRADE", id="link of Slack"),
        pytest.param("#general #1", "# general # 1", id="channel"),
        pytest.param("*a* _b_ `c` ~d~ ||e||", "a b c d e", id="emphasis"),
        pytest.param("token_rejected, 1.5 s", "token_rejected, 1.5 s", id="plain words stay"),
    ],
)
def test_an_excerpt_acts_on_nobody(text: str, expected: str) -> None:
    """An excerpt contains no link, mention or markup for a chat, a mail program or markdown."""
    assert expected == excerpt(text)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text/html; charset=utf-8", "text/html"),
        ("Application/JSON", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("", "no content type"),
        ("; charset=x", "no content type"),
        ("text/html\x1b[31m", "text/html [31m"),
        ("x/evil.com", "x/evil .com"),
        ("text/0123456789abcdef0123456789ABCDEF", "[redacted]"),
        ("<!channel> @here", "(at)here"),
    ],
)
def test_a_content_type_is_told_like_a_body(given: str, expected: str) -> None:
    """A content type is cleaned and cut as a body is, and the usual types stay as they are."""
    assert f"It answered: status 503, {expected}, empty." == describe_answer(503, given, "")


@given(kind=st.text(max_size=300), body=st.text(max_size=300))
def test_whatever_answers_is_told_in_one_short_line(kind: str, body: str) -> None:
    """No header or body makes the sentence long or puts control characters into it."""
    said = describe_answer(500, kind * 300, body * 300)
    assert len(said) < 3 * EXCERPT_LENGTH
    assert said.isprintable()


def test_a_short_secret_is_taken_out_by_name() -> None:
    """A verifier is too short to look like a secret, so it is removed by value, even at an excerpt's end."""
    body = f"VRF5Y &#86;RF5Y {'x ' * 91}VRF5Y"
    said = describe_answer(500, "text/VRF5Y", body, ["VRF5Y"])
    assert "VRF" not in said.upper()
