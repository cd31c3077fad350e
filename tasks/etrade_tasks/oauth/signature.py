"""OAuth 1.0a request signing (RFC 5849, section 3) as E*TRADE wants it, on Authlib's `ClientAuth`.

E*TRADE accepts only HMAC-SHA1, in an `Authorization` header with `realm=""` and no `oauth_version`.

This module does two things that `ClientAuth.sign` does not. The nonce and the timestamp can be passed in. And
a token or key with a `%` is signed as it is: Authlib 1.9 decodes the value of an `oauth_` parameter once too
often for the signature base string. `authlib.integrations.httpx_client` is never imported: since Authlib 1.8
it uses `httpx2` if that is installed.

`authorization_header` is pure, except that it makes a nonce if none is given.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
from authlib.oauth1 import ClientAuth
from authlib.oauth1.rfc5849.signature import (
    hmac_sha1_signature,
    normalize_base_string_uri,
    normalize_parameters,
)
from authlib.oauth1.rfc5849.util import escape
from pydantic import SecretStr

from etrade_tasks.clock import Clock
from etrade_tasks.clock import now as clock_now
from etrade_tasks.errors import AddressRefused
from etrade_tasks.oauth.addresses import may_be_signed

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Who signs: the consumer's key pair and, after a sign-in, the token's. Hidden from `repr`.

    Attributes:
        consumer_key: Sent as `oauth_consumer_key`.
        consumer_secret: Half of the signing key; never sent.
        token: Sent as `oauth_token`; None before there is one.
        token_secret: The other half of the signing key, never sent; None before there is one.
    """

    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    token_secret: str | None = field(default=None, repr=False)


def authorization_header(
    method: str,
    url: str,
    keys: SigningKeys,
    *,
    timestamp: int,
    nonce: str | None = None,
    form: Iterable[tuple[str, str]] = (),
    callback: str | None = None,
    verifier: str | None = None,
) -> str:
    """The value of the `Authorization` header that signs one request (RFC 5849, section 3.5.1).

    Args:
        method: The HTTP method.
        url: The absolute address, including its query, exactly as it is sent.
        keys: Who signs.
        timestamp: Seconds since 1970-01-01 UTC. E*TRADE allows five minutes either way.
        nonce: Never used before with this timestamp; 32 random hexadecimal digits if not given (section 3.3).
        form: The decoded pairs of a form-encoded body, which are also signed (section 3.4.1.3.1).
        callback: `oauth_callback`, `oob` for E*TRADE's request token.
        verifier: `oauth_verifier`, for E*TRADE's access token.

    Raises:
        ValueError: `url` is not absolute.
    """
    client = ClientAuth(
        keys.consumer_key,
        keys.consumer_secret,
        keys.token,
        keys.token_secret,
        redirect_uri=callback,
        verifier=verifier,
    )
    sent = [
        (name, value)
        for name, value in client.get_oauth_params(nonce or secrets.token_hex(16), str(timestamp))
        if name != "oauth_version"
    ]
    base_string = signature_base_string(method, url, [*sent, *form])
    signature = hmac_sha1_signature(base_string, keys.consumer_secret, keys.token_secret or "")
    sent.append(("oauth_signature", signature))
    pairs = ", ".join(f'{escape(name)}="{escape(value)}"' for name, value in sent)
    # Authlib's `prepare_headers` omits an empty realm; E*TRADE's documented header has it.
    return f'OAuth realm="", {pairs}'


def signature_base_string(method: str, url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """The text that is signed (RFC 5849, section 3.4.1.1).

    Args:
        method: The HTTP method.
        url: The absolute address; the pairs of its query are added to `parameters`.
        parameters: The decoded pairs of the protocol, without `oauth_signature`, and of a form body.

    Raises:
        ValueError: `url` has no scheme or no host.
    """
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return "&".join(
        escape(part)
        for part in (
            method.upper(),
            normalize_base_string_uri(url),  # type: ignore[no-untyped-call]
            normalize_parameters([*query, *parameters]),
        )
    )


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One call, signed and good for a single use within five minutes.

    Attributes:
        url: The address to GET.
        authorization: The value of the `Authorization` header.
        secrets: What to remove if an answer echoes it.
    """

    url: str
    authorization: SecretStr
    secrets: tuple[SecretStr, ...] = field(repr=False)


def signed_get(
    url: str,
    keys: SigningKeys,
    clock_offset: timedelta,
    *,
    nonce: str | None = None,
    callback: str | None = None,
    verifier: str | None = None,
) -> SignedRequest:
    """A GET of this address, signed with a fresh nonce and timestamp.

    Args:
        url: The address.
        keys: Who signs.
        clock_offset: What to add to this machine's time to get E*TRADE's.
        nonce: Never used before; made if not given.
        callback: Where E*TRADE sends the person, for a request token (RFC 5849, section 2.1).
        verifier: What the person was shown, for an access token (section 2.3).
    """
    header = authorization_header(
        "GET",
        url,
        keys,
        nonce=nonce,
        timestamp=int((clock_now() + clock_offset).timestamp()),
        callback=callback,
        verifier=verifier,
    )
    known = (keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret)
    return SignedRequest(
        url=url,
        authorization=SecretStr(header),
        secrets=tuple(SecretStr(secret) for secret in known if secret),
    )


class ETradeAuth(httpx.Auth):
    """Signs every request of an httpx client, sync or async, with a fresh nonce and timestamp.

    Example:
        >>> keys = SigningKeys("key", "secret", "token", "token-secret")
        >>> client = httpx.Client(auth=ETradeAuth(keys))

    Args:
        keys: Who signs.
        api_url: The API address of the credentials. If given, only requests to it and to E*TRADE's hosts are
            signed, and any other is refused, because a signature shows the consumer key and the token. If not
            given, all are signed.
        clock_offset: Added to the machine's time, if E*TRADE has said how far off it is.
        clock: Returns the time; the package's own clock if not given.
    """

    requires_request_body = True  # a form body's pairs are signed

    def __init__(
        self,
        keys: SigningKeys,
        *,
        api_url: str | None = None,
        clock_offset: timedelta = timedelta(0),
        clock: Clock = clock_now,
    ) -> None:
        self._keys = keys
        # Normalised as httpx normalises the address of a request.
        self._api_url = None if api_url is None else str(httpx.URL(api_url))
        self._clock_offset = clock_offset
        self._clock = clock

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the request, signed.

        Raises:
            AddressRefused: It would go to another host.
        """
        if self._api_url is not None and not may_be_signed(str(request.url), self._api_url):
            # The message omits the address: a query or a user in it may be secret.
            raise AddressRefused(
                "A client of E*TRADE credentials was asked to call an address that is neither E*TRADE's "
                "(over https) nor the API address of the credentials. Nothing was sent."
            )
        request.headers["Authorization"] = authorization_header(
            request.method,
            str(request.url),
            self._keys,
            timestamp=int((self._clock() + self._clock_offset).timestamp()),
            form=_form_pairs(request),
        )
        yield request


def _form_pairs(request: httpx.Request) -> list[tuple[str, str]]:
    """The decoded pairs of a form-encoded body; none for any other body (RFC 5849, section 3.4.1.3.1)."""
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != _FORM:
        return []
    return parse_qsl(request.content.decode(), keep_blank_values=True)
