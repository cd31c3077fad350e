"""E*TRADE's addresses, and which others may stand in for them. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal
from urllib.parse import urlsplit

Environment = Literal["live", "sandbox"]
"""Which of E*TRADE's two worlds a consumer key belongs to."""

OAUTH_URL = "https://api.etrade.com/oauth"
"""Where OAuth calls go for both kinds of key."""

API_URLS: dict[Environment, str] = {
    "live": "https://api.etrade.com",
    "sandbox": "https://apisb.etrade.com",
}
"""Where data calls go."""


def safe_address(address: str) -> str:
    """The address without a trailing slash, once it is known to be safe to send signed requests to.

    Raises:
        ValueError: It is not absolute, carries a user, a query or a fragment, or is plain http to a host
            other than this machine. The message does not repeat the address.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname
        # Reading the port checks it. What urlsplit drops without a word must not get in either.
        plain = parts.port != 0 and not re.search(r"[\s?#@]", address)
    except ValueError:
        host, plain = None, False
    if not host or not plain:
        raise ValueError("must be an absolute address of scheme, host and path alone")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("must start with https:// (plain http is accepted for a loopback host only)")
    return address.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
