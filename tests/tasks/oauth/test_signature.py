"""Request signing, checked against published examples and against a second implementation, oauthlib."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oauthlib.oauth1 import Client
from oauthlib.oauth1.rfc5849 import signature as oauthlib_signature
from oauthlib.oauth1.rfc5849 import utils as oauthlib_utils

from etrade_tasks.clock import use_clock
from etrade_tasks.oauth.signature import (
    ETradeAuth,
    SigningKeys,
    authorization_header,
    signature_base_string,
    signed_get,
)

KEYS = SigningKeys("fake-consumer-key", "fake-consumer-secret", "fake/token+1=", "fake/token-secret+1=")
SECRETS = [KEYS.consumer_key, KEYS.consumer_secret, KEYS.token, KEYS.token_secret]
URL = "https://api.example.com/oauth/renew_access_token"
MOMENT = datetime(2027, 1, 15, 17, 0, 0, 999_999, tzinfo=UTC)

# Characters of real tokens and secrets, some that an encoder may get wrong, and some that never occur.
AWKWARD = [*"/+=%~& \",'éß漢", "%2F", "%25", "%%", "\N{SNOWMAN}", "\N{PILE OF POO}"]
awkward = st.lists(st.sampled_from([*AWKWARD, *"abcXYZ019"]), min_size=1, max_size=40).map("".join)


def parts_of(header: str) -> dict[str, str]:
    """The decoded parts of an Authorization header, read by oauthlib."""
    pairs = oauthlib_utils.parse_authorization_header(header)
    return {name: oauthlib_utils.unescape(value) for name, value in pairs}


def oauthlib_signs(
    method: str, url: str, header: str, keys: SigningKeys, form: Iterable[tuple[str, str]] = ()
) -> str:
    """The signature that oauthlib computes for a request that carries this header."""
    parameters = oauthlib_signature.collect_parameters(
        urlsplit(url).query, list(form), {"Authorization": header}
    )
    base_string = oauthlib_signature.signature_base_string(
        method,
        oauthlib_signature.base_string_uri(url),
        oauthlib_signature.normalize_parameters(parameters),
    )
    client = Client("", keys.consumer_secret, resource_owner_secret=keys.token_secret)
    return oauthlib_signature.sign_hmac_sha1_with_client(base_string, client)


def base_string_parts(url: str, method: str = "GET") -> list[str]:
    """Method, address and parameters of a signature base string, each decoded once."""
    return [oauthlib_utils.unescape(part) for part in signature_base_string(method, url, []).split("&")]


# Published examples ------------------------------------------------------------------------------------


def test_the_example_of_e_trade_s_authorization_guide() -> None:
    """E*TRADE's own example gets E*TRADE's own signature, in a header of the documented form."""
    keys = SigningKeys(
        "c5bb4dcb7bd6826c7c4340df3f791188",
        "7d30246211192cda43ede3abd9b393b9",
        "VbiNYl63EejjlKdQM6FeENzcnrLACrZ2JYD6NQROfVI=",
        "XCF9RzyQr4UEPloA+WlC06BnTfYC1P0Fwr3GUw/B0Es=",
    )
    nonce, url = "0bba225a40d1bbac2430aa0c6163ce44", "https://api.etrade.com/v1/accounts/list"
    expected = (
        f'OAuth realm="", oauth_nonce="{nonce}", oauth_timestamp="1344885636", '
        'oauth_signature_method="HMAC-SHA1", oauth_consumer_key="c5bb4dcb7bd6826c7c4340df3f791188", '
        'oauth_token="VbiNYl63EejjlKdQM6FeENzcnrLACrZ2JYD6NQROfVI%3D", '
        'oauth_signature="UOnPVdzExTAgHkcGWLLfeTaaMSM%3D"'
    )
    assert expected == authorization_header("GET", url, keys, nonce=nonce, timestamp=1344885636)


@pytest.mark.parametrize(
    ("method", "url", "keys", "parts", "expected"),
    [
        pytest.param(
            "GET",
            "http://photos.example.net/photos?file=vacation.jpg&size=original",
            SigningKeys("dpf43f3p2l4k3l03", "kd94hf93k423kf44", "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00"),
            {"nonce": "chapoH", "timestamp": 137131202},
            'oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D"',
            id="photos",
        ),
        pytest.param(
            "POST",
            "https://photos.example.net/token",
            SigningKeys("dpf43f3p2l4k3l03", "kd94hf93k423kf44", "hh5s93j4hdidpola", "hdhd0244k9j7ao03"),
            {"nonce": "walatlh", "timestamp": 137131201, "verifier": "hfdp7dh39dks9884"},
            'oauth_signature="gKgrFCywp7rO0OXSjdot%2FIHF7IU%3D"',
            id="token",
        ),
    ],
)
def test_the_examples_of_rfc_5849_section_1_2(
    method: str, url: str, keys: SigningKeys, parts: dict[str, object], expected: str
) -> None:
    """The example requests in the RFC's introduction get the signatures printed there."""
    assert authorization_header(method, url, keys, **parts).endswith(expected)


def test_the_base_string_of_rfc_5849_section_3_4_1_1() -> None:
    """The RFC's mixture of query, form and protocol parameters gives the text printed there."""
    expected = (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D"
        "%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a"
        "%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    )
    parameters = [
        ("oauth_consumer_key", "9djdj82h48djs9d2"),
        ("oauth_token", "kkk9d7dh3k39sjv7"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "137131201"),
        ("oauth_nonce", "7d8f3e4a"),
        ("c2", ""),
        ("a3", "2 q"),
    ]
    url = "http://example.com/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b"
    assert expected == signature_base_string("POST", url, parameters)


# A second implementation -------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    method=st.sampled_from(["GET", "POST", "put", "Delete"]),
    query=st.lists(st.tuples(awkward, awkward), max_size=4),
    form=st.lists(st.tuples(awkward, awkward), max_size=4),
    values=st.tuples(awkward, awkward, awkward, awkward, awkward, awkward),
)
def test_oauthlib_agrees_on_awkward_requests(
    method: str, query: list[tuple[str, str]], form: list[tuple[str, str]], values: tuple[str, ...]
) -> None:
    """Whatever keys, token, query, form and verifier consist of, oauthlib computes the same signature."""
    *credentials, callback, verifier = values
    keys = SigningKeys(*credentials)
    url = f"{URL}?{'&'.join(f'{quote(name)}={quote(value)}' for name, value in query)}"
    extra = {"timestamp": 1344885636, "form": form, "callback": callback, "verifier": verifier}
    header = authorization_header(method, url, keys, **extra)
    sent = parts_of(header)
    assert (callback, verifier) == (sent["oauth_callback"], sent["oauth_verifier"])
    assert (keys.consumer_key, keys.token) == (sent["oauth_consumer_key"], sent["oauth_token"])
    assert oauthlib_signs(method, url, header, keys, form) == sent["oauth_signature"]


# The base string ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("HTTPS://EXAMPLE.COM/A", "https://example.com/A", id="scheme and host in capitals"),
        pytest.param("https://example.com:443/a", "https://example.com/a", id="default port of https"),
        pytest.param("http://EXAMPLE.COM:80/r%20v/X?id=123", "http://example.com/r%20v/X", id="RFC, first"),
        pytest.param("https://example.com:80/a", "https://example.com:80/a", id="port 80 over https"),
        pytest.param("https://example.com?a=1", "https://example.com/", id="query, no path"),
        pytest.param("https://example.com/a#top", "https://example.com/a", id="fragment"),
        pytest.param("http://[::1]:8765/a", "http://[::1]:8765/a", id="IPv6"),
    ],
)
def test_the_address_in_the_base_string(url: str, expected: str) -> None:
    """The method is in capitals, scheme and host are in lower case, and no default port or query is left."""
    assert ["POST", expected] == base_string_parts(url, "pOst")[:2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("b=2&a=2&a=1&b=1", "a=1&a=2&b=1&b=2", id="repeated names"),
        pytest.param("b&a=", "a=&b=", id="empty values"),
        pytest.param("a=1&&b=2&", "a=1&b=2", id="stray joints"),
        pytest.param("c2=&c%40=", "c%40=&c2=", id="sorted as encoded"),
        pytest.param("a=B&a=b&B=1", "B=1&a=B&a=b", id="capitals first"),
        pytest.param("a=x+y", "a=x%20y", id="plus for a blank"),
        pytest.param("a=x%2By", "a=x%2By", id="encoded plus"),
        pytest.param("a=%7E", "a=~", id="encoded tilde"),
        pytest.param("a=%24%27%5b%5D%7B%7d", "a=%24%27%5B%5D%7B%7D", id="reserved, encoded"),
        pytest.param("a=b=c", "a=b%3Dc", id="second equals sign"),
        pytest.param("a=1;b=2", "a=1%3Bb%3D2", id="semicolon joins nothing"),
        pytest.param("a=%252F", "a=%252F", id="encoded twice"),
        pytest.param("a=%c3%a9", "a=%C3%A9", id="non-ASCII, encoded in lower case"),
    ],
)
def test_the_query_in_the_base_string(query: str, expected: str) -> None:
    """A query is decoded once, encoded again as the RFC says, and sorted."""
    assert expected == base_string_parts(f"https://example.com/a?{query}")[2]


@pytest.mark.parametrize("url", ["", "example.com/a", "//example.com/a", "https:///a", "https:a"])
def test_an_address_that_is_not_absolute_is_refused(url: str) -> None:
    """An address without a scheme and a host is refused."""
    with pytest.raises(ValueError, match="scheme and netloc"):
        authorization_header("GET", url, KEYS, timestamp=1344885636)


# The header --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "holder",
    [KEYS, ETradeAuth(KEYS), signed_get(URL, KEYS, timedelta(0))],
    ids=lambda holder: type(holder).__name__,
)
def test_nothing_secret_is_shown(holder: object) -> None:
    """Printing the objects that hold secrets or a signature does not show them."""
    shown = f"{holder!r} {holder}"
    assert [] == [secret for secret in (*SECRETS, "oauth_signature") if secret in shown]


# The httpx authentication ------------------------------------------------------------------------------


answering = httpx.MockTransport(lambda _: httpx.Response(200))


def call(auth: ETradeAuth, method: str = "GET", url: str = URL, **options: object) -> httpx.Request:
    """What a sync client sends."""
    with httpx.Client(auth=auth, transport=answering) as client:
        return client.request(method, url, **options).request


def call_async(auth: ETradeAuth, method: str, url: str, **options: object) -> httpx.Request:
    """What an async client sends."""

    async def send() -> httpx.Request:
        async with httpx.AsyncClient(auth=auth, transport=answering) as client:
            return (await client.request(method, url, **options)).request

    return asyncio.run(send())


def sent(auth: ETradeAuth) -> dict[str, str]:
    """The parts of the header that a sync client sends."""
    return parts_of(call(auth).headers["Authorization"])


@pytest.mark.parametrize("call", [call, call_async], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("method", "url", "options", "form"),
    [
        pytest.param("GET", URL, {}, [], id="plain"),
        pytest.param("GET", "HTTPS://API.Example.COM:443/a", {}, [], id="capitals and default port"),
        pytest.param("GET", URL, {"params": {"a": ["2", "1"], "b": "x y+~"}}, [], id="query"),
        pytest.param("POST", URL, {"data": {"b": "x y", "a": "+é"}}, [("b", "x y"), ("a", "+é")], id="form"),
        pytest.param(
            "POST",
            URL,
            {
                "content": "b=&a=1",
                "headers": {"Content-Type": "Application/X-WWW-Form-Urlencoded; charset=a"},
            },
            [("b", ""), ("a", "1")],
            id="form with a charset",
        ),
        pytest.param("POST", URL, {"json": {"a": "1"}}, [], id="JSON is not signed"),
        pytest.param("POST", URL, {"content": "a=1"}, [], id="text is not signed"),
    ],
)
def test_a_client_sends_what_oauthlib_would_sign(
    call, method: str, url: str, options: dict[str, object], form: list[tuple[str, str]]
) -> None:
    """Requests of a sync and of an async client carry a signature that oauthlib computes too."""
    request = call(ETradeAuth(KEYS), method, url, **options)
    header = request.headers["Authorization"]
    signature = parts_of(header)["oauth_signature"]
    assert oauthlib_signs(method, str(request.url), header, KEYS, form) == signature


def test_each_request_has_a_nonce_of_its_own() -> None:
    """Three requests signed by one object have three nonces of 32 hexadecimal digits."""
    auth = ETradeAuth(KEYS)
    nonces = {sent(auth)["oauth_nonce"] for _ in range(3)}
    assert (3, {32}) == (len(nonces), {len(nonce) for nonce in nonces})
    assert set("".join(nonces)) <= set("0123456789abcdef")


def test_a_client_corrects_its_clock_by_the_offset() -> None:
    """The timestamp is the time of the package's clock, or of the one given, plus the offset."""
    offset, own = timedelta(seconds=-7200), {"clock": lambda: MOMENT + timedelta(days=1)}
    with use_clock(lambda: MOMENT):
        auths = [ETradeAuth(KEYS, clock_offset=offset), ETradeAuth(KEYS, clock_offset=offset, **own)]
        timestamps = [int(sent(auth)["oauth_timestamp"]) for auth in auths]
    assert [int(MOMENT.timestamp()) + seconds for seconds in (-7200, 86_400 - 7200)] == timestamps


# The other httpx ---------------------------------------------------------------------------------------

IMPORT = """
import sys
from datetime import timedelta
import httpx2, etrade_flows
import etrade_tasks.oauth.signature as signing

signing.signed_get("https://example.com/", signing.SigningKeys("fake-key", "fake-secret"), timedelta(0))
assert "authlib.integrations.httpx_client" not in sys.modules
"""


def test_signing_does_not_depend_on_a_second_httpx(tmp_path: Path) -> None:
    """If a package named httpx2 is installed, the package does not load Authlib's module that uses it."""
    (tmp_path / "httpx2.py").touch()
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:authlib", "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
