"""Reads a signed call, and checks its signature, its timestamp and its nonce, as RFC 5849 defines them.

The signature is checked with oauthlib. The package under test signs with another library. So if the two
agree, they agree about the standard; it is not one library agreeing with itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import takewhile
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from oauthlib.oauth1 import Client
from oauthlib.oauth1.rfc5849 import signature

from etrade_simulator.problems import OAuthProblem

Method = Literal["GET", "POST", "PUT"]

TIMESTAMP_TOLERANCE = timedelta(minutes=5)

_FORM = "application/x-www-form-urlencoded"
_REQUIRED = (
    "oauth_consumer_key",
    "oauth_signature_method",
    "oauth_signature",
    "oauth_timestamp",
    "oauth_nonce",
)


@dataclass(frozen=True)
class SignedCall:
    """An HTTP call as received; its parameters are read once, when first needed."""

    method: Method
    uri: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: str = field(default="", repr=False)
    named: dict[str, str] = field(default_factory=dict)
    """The variable parts of the path, by name."""

    @property
    def path(self) -> str:
        """Return only the path, which contains neither key nor token."""
        return urlsplit(self.uri).path

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter, if there is one."""
        return next(iter(parse_qs(urlsplit(self.uri).query).get(name, [])), None)

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """Return every parameter that the signature covers, and the signature (RFC 5849, 3.4.1.3.1).

        Raises:
            OAuthProblem: ``parameter_rejected``; header, query or body cannot be read.
        """
        is_form = self.headers.get("content-type", "").startswith(_FORM)
        try:
            return signature.collect_parameters(
                uri_query=urlsplit(self.uri).query,
                body=self.body if is_form else "",
                headers=self.headers,
                exclude_oauth_signature=False,
            )
        except ValueError:
            raise OAuthProblem("parameter_rejected") from None

    @cached_property
    def oauth(self) -> dict[str, str]:
        """Return the ``oauth_`` parameters by name.

        Raises:
            OAuthProblem: ``parameter_rejected``; one of them occurs twice (RFC 5849, 3.1).
        """
        found = [pair for pair in self.parameters if pair[0].startswith("oauth_")]
        if len(dict(found)) != len(found):
            raise OAuthProblem("parameter_rejected")
        return dict(found)


def require(call: SignedCall, names: Iterable[str]) -> None:
    """Pass if the call has all these parameters, and none of them empty.

    Raises:
        OAuthProblem: ``parameter_absent``, naming those that are missing.
    """
    absent = [name for name in names if not call.oauth.get(name)]
    if absent:
        raise OAuthProblem("parameter_absent", oauth_parameters_absent="&".join(absent))


def check_protocol(call: SignedCall) -> None:
    """Pass if the call uses OAuth 1.0 with HMAC-SHA1, the only method that E*TRADE offers.

    Raises:
        OAuthProblem: ``parameter_absent``, ``signature_method_rejected`` or ``version_rejected``.
    """
    require(call, _REQUIRED)
    if call.oauth["oauth_signature_method"] != "HMAC-SHA1":
        raise OAuthProblem("signature_method_rejected")
    # E*TRADE documents no oauth_version, but accepts the "1.0" that most clients send.
    if call.oauth.get("oauth_version", "1.0") != "1.0":
        raise OAuthProblem("version_rejected", oauth_acceptable_versions="1.0-1.0")


def check_signature(call: SignedCall, consumer_secret: str, token_secret: str = "") -> None:
    """Pass if the secrets produce the call's signature (RFC 5849, 3.4).

    Raises:
        OAuthProblem: ``signature_invalid``.
    """
    # oauthlib's own verify_hmac_sha1 logs the base string of a mismatch, including the token. So oauthlib
    # makes the signature, and it is compared here.
    covered = [pair for pair in call.parameters if pair[0] != "oauth_signature"]
    base_string = signature.signature_base_string(
        call.method,
        signature.base_string_uri(call.uri),
        signature.normalize_parameters(covered),  # type: ignore[arg-type]  # the stub wants a dict; the code a list
    )
    signer = Client(
        call.oauth["oauth_consumer_key"], client_secret=consumer_secret, resource_owner_secret=token_secret
    )
    expected: str = signature.sign_hmac_sha1_with_client(base_string, signer)
    if not hmac.compare_digest(expected.encode(), call.oauth["oauth_signature"].encode()):
        raise OAuthProblem("signature_invalid")


def check_timestamp(timestamp: str, now: datetime, tolerance: timedelta = TIMESTAMP_TOLERANCE) -> int:
    """Return the timestamp in seconds since 1970, if it is within ``tolerance`` of ``now``.

    Raises:
        OAuthProblem: ``timestamp_refused``, naming the range that would have been accepted.
    """
    center, reach = int(now.timestamp()), int(tolerance.total_seconds())
    earliest, latest = center - reach, center + reach
    if timestamp.isdecimal() and timestamp.isascii() and earliest <= int(timestamp) <= latest:
        return int(timestamp)
    raise OAuthProblem("timestamp_refused", oauth_acceptable_timestamps=f"{earliest}-{latest}")


class NonceBook:
    """Remembers used nonces, as long as their timestamps could still be accepted."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, int, str], datetime] = {}

    def use(self, consumer_key: str, timestamp: int, nonce: str, now: datetime, tolerance: timedelta) -> None:
        """Mark the nonce as used together with this timestamp.

        Raises:
            OAuthProblem: ``nonce_used``; the consumer sent this nonce with this timestamp before.
        """
        # Insertion order is time order, unless the clock was moved back; then keeping more does no harm.
        for old in list(takewhile(lambda used: self._used[used] < now - 2 * tolerance, self._used)):
            del self._used[old]
        used = (consumer_key, timestamp, nonce)
        if used in self._used:
            raise OAuthProblem("nonce_used")
        self._used[used] = now
