"""E*TRADE's addresses, and which others may replace them. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator

Environment = Annotated[
    Literal["live", "sandbox"],
    # The client `etrade-python` reads the same variable, and uses `production` for the live environment.
    BeforeValidator(lambda value: "live" if value == "production" else value),
]
"""The E*TRADE environment that a consumer key belongs to. pydantic reads `production` as `live`."""

OAUTH_URL = "https://api.etrade.com/oauth"
"""Where OAuth calls go for both kinds of key."""

API_URLS: dict[Environment, str] = {
    "live": "https://api.etrade.com",
    "sandbox": "https://apisb.etrade.com",
}
"""Where data calls go."""

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""The usual names of this machine's loopback interface."""

_PORTS = {"https": 443, "http": 80}


def safe_address(address: str) -> str:
    """The address without a trailing slash, if signed requests may safely go to it.

    Raises:
        ValueError: It is not absolute, has a user, a query or a fragment, or is plain http to a host other
            than this machine. The message does not repeat the address.
    """
    origin = None if re.search("[?#@]", address) else _origin(address)
    if origin is None:
        raise ValueError("must be an absolute address with only a scheme, a host and a path")
    scheme, host, _ = origin
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise ValueError("must start with https:// (plain http is accepted for a loopback host only)")
    return address.rstrip("/")


def without_version(api_url: str) -> str:
    """The address of data calls without a trailing slash or `/v1`, with which the path of each begins."""
    return api_url.rstrip("/").removesuffix("/v1")


def may_be_signed(address: str, api_url: str) -> bool:
    """Whether a request to this address may carry a signature, which shows the consumer key and the token.

    It may go to E*TRADE's own hosts and to the API address of the credentials. Scheme, host and port must
    match; the path may differ. An address with a user is refused. So is another spelling of the host, such as
    one with a dot at its end: it would be signed for one name and sent to another.

    Args:
        address: The absolute address, including its query.
        api_url: Where the credentials' data calls go.
    """
    origin = _origin(address)
    return origin is not None and origin in {_origin(own) for own in (api_url, *API_URLS.values())}


def _origin(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port (RFC 6454, section 4); None if there is no host or the address is doubtful."""
    # urlsplit drops blanks silently, and reads a backslash differently from browsers.
    if re.search(r"[\s\\]", address):
        return None
    try:
        parts = urlsplit(address)
        port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port


def is_loopback(host: str) -> bool:
    """Whether a host, given by name or address, is this machine's loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
