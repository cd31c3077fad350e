"""TLS with E*TRADE: one context for every call, and what to do when TLS fails.

The context is httpx's own, plus the operator's settings. Nothing here turns verification off.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx

from etrade_tasks.errors import CredentialsInvalid
from etrade_tasks.inputs import read_variables
from etrade_tasks.oauth.settings import TlsSettings

_VERIFIED_PEERS_ALONE = "!aNULL:!eNULL"
"""Removes ciphers without authentication or without encryption."""

_OP_LEGACY_SERVER_CONNECT = ssl.Options(0x4)
"""OpenSSL's SSL_OP_LEGACY_SERVER_CONNECT, which Python names from 3.12 on."""

_LASTING = frozenset(
    {
        "DH_KEY_TOO_SMALL",
        "EE_KEY_TOO_SMALL",
        "HTTPS_PROXY_REQUEST",
        "HTTP_REQUEST",
        "NO_CIPHERS_AVAILABLE",
        "NO_PROTOCOLS_AVAILABLE",
        "NO_SHARED_CIPHER",
        "RECORD_LAYER_FAILURE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "UNKNOWN_PROTOCOL",
        "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_SIGNATURE_TYPE",
        "WRONG_SSL_VERSION",
        "WRONG_VERSION_NUMBER",
    }
)
"""OpenSSL's reasons that would recur at every attempt, because the two sides do not fit together."""

_CLOCK_REMEDY = (
    "check that this machine's clock is right (`timedatectl set-ntp true`); if it is, the owner of that host "
    "must renew its certificate."
)
_NAME_REMEDY = (
    "correct the address: another host answers; or a proxy is in between, and its owner must give it a "
    "certificate of that name."
)
_HANDSHAKE_REMEDY = (
    "check that the address and the proxy (HTTPS_PROXY) are right and use TLS; if the host supports only "
    "old ciphers, name them in ETRADE_TLS_CIPHERS; if it lacks secure renegotiation, set "
    "ETRADE_TLS_LEGACY_RENEGOTIATION=true."
)
_CA_REMEDY = (
    "if your company's proxy reads TLS, name a file with its CA certificate in ETRADE_CA_FILE (added to the "
    "usual ones) or in SSL_CERT_FILE (instead of them); else check that the address is E*TRADE's."
)

_REMEDIES = {
    9: _CLOCK_REMEDY,  # X509_V_ERR_CERT_NOT_YET_VALID
    10: _CLOCK_REMEDY,  # X509_V_ERR_CERT_HAS_EXPIRED
    62: _NAME_REMEDY,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: _NAME_REMEDY,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
"""What to do about a certificate, by OpenSSL's number for what is wrong with it."""


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """Why TLS failed.

    Attributes:
        reason: OpenSSL's own words, which quote nothing but the requested host.
        remedy: What a person does about it; None if another attempt may help.
    """

    reason: str
    remedy: str | None


def tls_context() -> ssl.SSLContext:
    """The TLS context for calls to E*TRADE, made once in each process for the same settings.

    It trusts the same CAs as httpx: those in `SSL_CERT_FILE` or `SSL_CERT_DIR`, else certifi's, and those in
    `ETRADE_CA_FILE`. A changed file is read again.

    Raises:
        CredentialsInvalid: A file cannot be used, or no cipher has these names.
    """
    settings = read_variables(TlsSettings)
    trusted = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    own = (settings.ca_file, settings.tls_ciphers, settings.tls_legacy_renegotiation)
    return _made_once(*own, trusted, tuple(map(_stamp, (settings.ca_file, *trusted))))


def tls_failure(
    error: BaseException, ca_remedy: str = _CA_REMEDY, handshake_remedy: str = _HANDSHAKE_REMEDY
) -> TlsFailure | None:
    """Why TLS failed, if `error` or one of its causes is a TLS failure; None if not.

    Args:
        error: What was raised.
        ca_remedy: The remedy if no trusted CA has signed the certificate; by default the one for E*TRADE.
        handshake_remedy: The remedy if the handshake fails; by default the one for E*TRADE.
    """
    found = next((cause for cause in causes(error) if isinstance(cause, ssl.SSLError)), None)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        code = getattr(found, "verify_code", 0)  # not set if OpenSSL did not raise the error
        reason = str(getattr(found, "verify_message", "")).rstrip(".") or "certificate not verified"
        return TlsFailure(reason, _REMEDIES.get(code, ca_remedy))
    named = getattr(found, "reason", None) or "TLS failed"
    return TlsFailure(named.replace("_", " "), handshake_remedy if named in _LASTING else None)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, from the outside in; only the first error of a group."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        # If a host has several addresses, the failures to reach them come as a group.
        group = cause if isinstance(cause, BaseExceptionGroup) else None
        cause = group.exceptions[0] if group else cause.__cause__ or cause.__context__


# Making a context takes 50 ms; making a client with an existing one takes 0.06 ms.
@lru_cache(maxsize=8)
def _made_once(
    ca_file: Path | None,
    ciphers: str | None,
    legacy_renegotiation: bool,
    trusted: tuple[str | None, str | None],
    _: Hashable,
) -> ssl.SSLContext:
    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        raise _unusable("SSL_CERT_FILE" if trusted[0] else "SSL_CERT_DIR", error) from None
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise _unusable("ETRADE_CA_FILE", error) from None
    if ciphers is not None:
        try:
            context.set_ciphers(f"{ciphers}:{_VERIFIED_PEERS_ALONE}")
        except ssl.SSLError:
            raise CredentialsInvalid(
                "ETRADE_TLS_CIPHERS names no cipher that this machine's OpenSSL knows.",
                advice="give names as `openssl ciphers` lists them, joined by colons, or unset the variable.",
            ) from None
    if legacy_renegotiation:
        context.options |= _OP_LEGACY_SERVER_CONNECT
    return context


def _stamp(path: Path | str | None) -> tuple[int, int] | None:
    """A value that changes with the file's content; None if there is no such file."""
    if not path:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _unusable(variable: str, error: OSError) -> CredentialsInvalid:
    why = "it contains no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
    return CredentialsInvalid(
        f"{variable} names a file of certificates that cannot be used: {why}.",
        advice=f"correct {variable}, or unset it.",
    )
