"""E*TRADE's addresses, and which others may stand in for them. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator


def _by_our_word(value: object) -> object:
    # The client `etrade-python` reads the same variable, and calls the live environment so.
    return "live" if value == "production" else value


Environment = Annotated[Literal["live", "sandbox"], BeforeValidator(_by_our_word)]
"""Which of E*TRADE's two environments a consumer key belongs to. pydantic takes `production` for `live`."""

OAUTH_URL = "https://api.etrade.com/oauth"
"""Where OAuth calls go for both kinds of key."""

API_URLS: dict[Environment, str] = {
    "live": "https://api.etrade.com",
    "sandbox": "https://apisb.etrade.com",
}
"""Where data calls go."""

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""The usual ways to name this machine as only it can reach itself."""

_PORTS = {"https": 443, "http": 80}


def safe_address(address: str) -> str:
    """The address without a trailing slash, once it is known to be safe to send signed requests to.

    Raises:
        ValueError: It is not absolute, carries a user, a query or a fragment, or is plain http to a host
            other than this machine. The message does not repeat the address.
    """
    scheme, host = _scheme_and_host(address)
    if host is None:
        raise ValueError("must be an absolute address of scheme, host and path alone")
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise ValueError("must start with https:// (plain http is accepted for a loopback host only)")
    return address.rstrip("/")


def _scheme_and_host(address: str) -> tuple[str, str | None]:
    """The two parts; no host where the address is malformed or has more than scheme, host and path."""
    # urlsplit drops some of these without a word.
    if re.search(r"[\s?#@]", address):
        return "", None
    try:
        parts = urlsplit(address)
        _ = parts.port  # reading it checks it
    except ValueError:
        return "", None
    return parts.scheme, parts.hostname or None


def may_be_signed(address: str, api_url: str) -> bool:
    """Whether a request to this address may carry a signature, which shows the consumer key and the token.

    It may go to E*TRADE's own hosts and to the API address of the credentials. Scheme, host and port must
    be the same; the path may differ. A user in the address is refused, and so is a host that is merely
    another spelling, such as one with a dot at its end: it would be signed for one name and sent to another.

    Args:
        address: The absolute address, its query included.
        api_url: Where the credentials' data calls go.
    """
    origin = _origin(address)
    return origin is not None and origin in {_origin(own) for own in (api_url, *API_URLS.values())}


def _origin(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port (RFC 6454, section 4); None where one is missing or the address is doubtful."""
    # urlsplit drops blanks without a word, and reads a backslash otherwise than browsers do.
    if re.search(r"[\s\\]", address):
        return None
    try:
        parts = urlsplit(address)
        port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        return None
    if not parts.hostname or port is None or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port


def is_loopback(host: str) -> bool:
    """Whether a host, by name or by number, is this machine as only it can reach itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
