"""E*TRADE's addresses, and which other addresses are safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etrade_tasks.oauth.addresses import may_be_signed, safe_address

MARK = "fake-secret-in-the-address"

NOT_PLAIN = "must be an absolute address with only a scheme, a host and a path"
NOT_SAFE = "must start with https:// (plain http is accepted for a loopback host only)"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("https://example.com", "https://example.com", id="host alone"),
        pytest.param("https://example.com/oauth//", "https://example.com/oauth", id="two slashes"),
        pytest.param("https://example.com:8443/oauth", "https://example.com:8443/oauth", id="port"),
        pytest.param("HTTPS://example.com", "HTTPS://example.com", id="upper-case scheme"),
        pytest.param("http://LOCALHOST:8765", "http://LOCALHOST:8765", id="localhost in capitals"),
        pytest.param("http://127.9.8.7", "http://127.9.8.7", id="all of 127"),
        pytest.param("http://[::1]:8765/oauth/", "http://[::1]:8765/oauth", id="IPv6 loopback"),
    ],
)
def test_a_safe_address_loses_its_trailing_slash_and_nothing_else(address: str, expected: str) -> None:
    """With https any host is safe, and with plain http only this machine; a trailing slash is removed."""
    assert expected == safe_address(address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        pytest.param("", NOT_PLAIN, id="empty"),
        pytest.param("/oauth", NOT_PLAIN, id="path alone"),
        pytest.param("https://:8443/oauth", NOT_PLAIN, id="port without a host"),
        pytest.param("https://someone@example.com", NOT_PLAIN, id="user"),
        pytest.param("https://example.com?key=fake", NOT_PLAIN, id="query"),
        pytest.param("https://example.com#top", NOT_PLAIN, id="fragment"),
        pytest.param("https://example.com\\.etrade.com", NOT_PLAIN, id="backslash"),
        pytest.param("http://[::1/", NOT_PLAIN, id="bracket left open"),
        pytest.param("https://[fake]/oauth", NOT_PLAIN, id="no number between brackets"),
        pytest.param("https://exa\N{ACCOUNT OF}mple.com", NOT_PLAIN, id="letter that unfolds to a slash"),
        pytest.param("http://example.com", NOT_SAFE, id="plain http elsewhere"),
        pytest.param("http://[2001:db8::1]", NOT_SAFE, id="plain http to an IPv6 number elsewhere"),
        pytest.param("http://0.0.0.0", NOT_SAFE, id="plain http to any address"),
        pytest.param("http://localhost.example.com", NOT_SAFE, id="looks like localhost"),
        pytest.param("//example.com", NOT_SAFE, id="scheme left out"),
        pytest.param("ftp://localhost", NOT_SAFE, id="another scheme, even here"),
    ],
)
def test_any_other_address_is_refused(address: str, reason: str) -> None:
    """An unsafe address is refused with the reason alone, because the error is stored and shown."""
    with pytest.raises(ValueError, match="must") as refusal:
        safe_address(address)
    assert reason == str(refusal.value)


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_address_whatever_is_repeated(before: str, after: str) -> None:
    """Whatever surrounds a password, the address is accepted or refused without showing the password."""
    try:
        safe_address(f"https://{before}:{MARK}@{after}")
    except ValueError as refusal:
        assert MARK not in str(refusal)  # noqa: PT017  # some are refused and some accepted: both are right


SIMULATOR = "http://127.0.0.1:8765/sandbox"


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("https://api.etrade.com/v1/accounts/list.json", id="live"),
        pytest.param("https://apisb.etrade.com/v1/accounts/list.json", id="sandbox"),
        pytest.param("https://API.ETrade.com/oauth/renew_access_token", id="capitals"),
        pytest.param("https://api.etrade.com:443/v1?q=a@b", id="default port, and an at sign in the query"),
        pytest.param(f"{SIMULATOR}/v1/accounts/list.json", id="own address"),
        pytest.param("http://127.0.0.1:8765/oauth/renew_access_token", id="another path of the own address"),
    ],
)
def test_requests_to_e_trade_and_the_own_address_may_be_signed(address: str) -> None:
    """Requests to E*TRADE's hosts and to the credentials' own API address may be signed."""
    assert may_be_signed(address, SIMULATOR)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("https://example.com/v1/accounts/list.json", id="another host"),
        pytest.param("http://api.etrade.com/v1/accounts/list.json", id="plain http"),
        pytest.param("http://api.etrade.com:443/v1/accounts/list.json", id="plain http on the port of https"),
        pytest.param("https://api.etrade.com:0/v1/accounts/list.json", id="port zero"),
        pytest.param("https://api.etrade.com./v1/accounts/list.json", id="dot at the end"),
        pytest.param("https://api.etrade.com.example.com/", id="looks like E*TRADE"),
        pytest.param("https://api.etrade.com@example.com/", id="E*TRADE as the user"),
        pytest.param("https://someone:fake-password@api.etrade.com/", id="a user at E*TRADE"),
        pytest.param("https://example.com\\@api.etrade.com/", id="backslash"),
        pytest.param("https://api.etrade.com\n.example.com/", id="newline"),
        pytest.param("https://api.etrade.com:x/", id="no number as the port"),
        pytest.param("/v1/accounts/list.json", id="path alone"),
        pytest.param("http://127.0.0.1:8766/sandbox", id="another port of this machine"),
        pytest.param("https://127.0.0.1:8765/sandbox", id="another scheme of the own address"),
    ],
)
def test_requests_to_a_stranger_may_not(address: str) -> None:
    """Requests to any other scheme, host, port or spelling may not be signed."""
    assert not may_be_signed(address, SIMULATOR)


@given(address=st.text(max_size=60), api_url=st.text(max_size=60))
def test_any_text_is_judged(address: str, api_url: str) -> None:
    """Any text gets a yes or a no, and text without an address a no."""
    assert may_be_signed(address, api_url) in {True, False}
    assert not may_be_signed(address.replace("/", ""), "")
