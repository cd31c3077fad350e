"""TLS with E*TRADE: whom a call trusts, what its failures say, and when it is tried again."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from etrade_tasks import (
    ConfigurationRefused,
    CredentialsInvalid,
    ETradeCredentials,
    Outcome,
    RenewalReply,
    call_renew,
    sign_request,
)
from etrade_tasks.oauth.authorization import request_token
from etrade_tasks.oauth.replies import classify
from etrade_tasks.oauth.signature import SigningKeys
from etrade_tasks.oauth.tls import tls_context, tls_failure
from etrade_tasks.renew_session import renew_shared
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.turn import Shared

KeysFor = Callable[[str], ETradeCredentials]


def call(credentials: ETradeCredentials) -> RenewalReply:
    """The reply to one renewal call."""
    return call_renew.fn(sign_request.fn(credentials))


@pytest.fixture
def trusting(serve: Any, keys_for: KeysFor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes credentials for a server that shows this certificate, and trusts it."""

    def make(shown: Any) -> ETradeCredentials:
        monkeypatch.setenv("ETRADE_CA_FILE", str(shown.ca_file))
        return keys_for(serve(context=shown.context).url)

    return make


@pytest.mark.parametrize(
    ("changes", "trusted", "reason", "remedy"),
    [
        pytest.param({}, False, "self-signed certificate", "ETRADE_CA_FILE", id="signed by nobody"),
        pytest.param({"ends_in": timedelta(days=-1)}, True, "has expired", "machine's clock", id="expired"),
        pytest.param({"address": "127.0.0.2"}, True, "'127.0.0.1'", "correct the address", id="another's"),
    ],
)
def test_a_wrong_certificate_is_told(
    *,
    certificate: Any,
    trusting: Any,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    trusted: bool,
    reason: str,
    remedy: str,
) -> None:
    """The reply says what is wrong with a certificate and what to do about it, and no attempt follows."""
    credentials = trusting(certificate(**changes))
    if not trusted:
        monkeypatch.delenv("ETRADE_CA_FILE")
    reply = call(credentials)
    verdict = classify(reply)
    assert reply.transport_error.startswith("ConnectError (TLS: ")
    assert (True, True) == (reason in reply.transport_error, remedy in reply.remedy)
    assert (Outcome.MISCONFIGURED, reply.remedy) == (verdict.outcome, verdict.remedy)


def test_a_server_without_tls_is_told(serve: Any, keys_for: KeysFor) -> None:
    """If plain HTTP answers at an https address, the reply says so, and no attempt follows."""
    plain = serve()
    reply = call(keys_for(plain.url.replace("http:", "https:")))
    assert "TLS: " in reply.transport_error
    assert "Operation not permitted" not in reply.transport_error
    assert "use TLS" in reply.remedy


def test_versions_that_do_not_meet_are_told(
    certificate: Any, trusting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose only version of TLS is refused here gets no second attempt."""
    new = certificate()
    new.context.minimum_version = ssl.TLSVersion.TLSv1_3
    credentials = trusting(new)
    monkeypatch.setattr(tls_context(), "maximum_version", ssl.TLSVersion.TLSv1_2)
    reply = call(credentials)
    assert "PROTOCOL VERSION" in reply.transport_error
    assert reply.remedy is not None


def test_a_connection_that_breaks_off_may_mend_itself() -> None:
    """If the peer breaks off in the middle of TLS, the call is worth another attempt."""
    failure = tls_failure(ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred"))
    assert failure is not None
    assert None is failure.remedy


@pytest.mark.usefixtures("prefect_server")
def test_a_setting_of_one_process_fails_no_other(
    serve: Any, keys_for: KeysFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for one with a wrong setting does not get that one's error."""
    keys = keys_for(serve().url)
    waiting = Shared(keys, Effort("main"))
    monkeypatch.setenv("ETRADE_CA_FILE", "/no/such/file")
    with pytest.raises(CredentialsInvalid):
        renew_shared(Shared(keys, Effort("main")))
    waiting.look()  # raises a failure that is for all
    assert waiting.answer is None


@pytest.mark.usefixtures("prefect_server")
def test_a_renewal_and_a_sign_in_end_at_once(certificate: Any, serve: Any, keys_for: KeysFor) -> None:
    """A renewal raises the reason and the remedy after one attempt, and so does a sign-in."""
    url, effort = serve(context=certificate().context).url, Effort("main")
    with pytest.raises(ConfigurationRefused) as renewal:
        renew_shared(Shared(keys_for(url), effort))
    assert 1 == effort.calls
    with pytest.raises(ConfigurationRefused) as sign_in:
        request_token(SigningKeys("fake-key", "fake-secret"), url)
    for refused in (renewal.value, sign_in.value):
        assert "TLS: self-signed certificate" in refused.message
        assert "ETRADE_CA_FILE" in refused.advice


@pytest.mark.parametrize("variable", ["ETRADE_CA_FILE", "SSL_CERT_FILE"])
def test_an_operator_can_name_a_certificate(
    certificate: Any, serve: Any, keys_for: KeysFor, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A file of certificates works for renewals and for the block's clients, sync and async."""
    made = certificate()
    monkeypatch.setenv(variable, str(made.ca_file))
    credentials = keys_for(serve(context=made.context).url)

    async def get() -> int:
        async with credentials.get_async_client() as client:
            return (await client.get("/v1")).status_code

    with credentials.get_client() as client:
        assert (200, 200) == (client.get("/v1").status_code, asyncio.run(get()))
    assert 200 == call(credentials).status_code


def test_a_named_certificate_is_added_to_the_usual_ones(
    certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ETRADE_CA_FILE` adds a certificate to the usual ones and removes none."""
    usual = len(tls_context().get_ca_certs())
    monkeypatch.setenv("ETRADE_CA_FILE", str(certificate().ca_file))
    assert usual + 1 == len(tls_context().get_ca_certs())


def test_old_ciphers_can_be_named(certificate: Any, trusting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that only knows an old cipher is refused until `ETRADE_TLS_CIPHERS` names that cipher."""
    old = certificate(old=True)
    old.context.maximum_version = ssl.TLSVersion.TLSv1_2
    old.context.set_ciphers("AES128-GCM-SHA256")
    credentials = trusting(old)
    assert "ETRADE_TLS_CIPHERS" in call(credentials).remedy
    monkeypatch.setenv("ETRADE_TLS_CIPHERS", "AES128-GCM-SHA256")
    assert 200 == call(credentials).status_code


def test_no_cipher_takes_the_verification_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ciphers without a certificate or without encryption stay off, even if they are asked for."""
    monkeypatch.setenv("ETRADE_TLS_CIPHERS", "ALL:aNULL:eNULL:@SECLEVEL=0")
    context = tls_context()
    assert [] == [
        c["name"] for c in context.get_ciphers() if c["auth"] == "auth-null" or not c["strength_bits"]
    ]
    assert (True, ssl.CERT_REQUIRED) == (context.check_hostname, context.verify_mode)


def test_a_host_without_secure_renegotiation_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ETRADE_TLS_LEGACY_RENEGOTIATION` sets OpenSSL's option for it, which is otherwise not set."""
    assert not tls_context().options & 0x4
    monkeypatch.setenv("ETRADE_TLS_LEGACY_RENEGOTIATION", "true")
    assert tls_context().options & 0x4


@pytest.mark.parametrize("variable", ["ETRADE_CA_FILE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_cannot_be_used_is_named(
    keys_for: KeysFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, content: str | None
) -> None:
    """If the file is missing or holds no certificate, the error names the variable."""
    path = tmp_path / "given.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(CredentialsInvalid, match=variable):
        call(keys_for("https://127.0.0.1:9"))
    with pytest.raises(CredentialsInvalid, match=variable):
        keys_for("https://127.0.0.1:9").get_client()


def test_ciphers_that_are_not_known_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If OpenSSL does not know a cipher's name, the error names the variable and not the cipher."""
    monkeypatch.setenv("ETRADE_TLS_CIPHERS", "canary")
    with pytest.raises(CredentialsInvalid, match="ETRADE_TLS_CIPHERS") as refused:
        tls_context()
    assert "canary" not in str(refused.value)


def test_the_context_is_made_once(keys_for: KeysFor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls and clients of one process share a context, which is the slow part of making a client."""
    made = []

    def counted() -> ssl.SSLContext:
        made.append(1)
        return ssl.create_default_context()

    monkeypatch.setenv("ETRADE_TLS_CIPHERS", "HIGH")  # no other test uses it
    monkeypatch.setattr(httpx, "create_ssl_context", counted)
    for _ in range(3):
        with keys_for("https://127.0.0.1:9").get_client():
            call(keys_for("https://127.0.0.1:9"))
    assert [1] == made


def test_a_certificate_that_has_changed_is_read_again(certificate: Any, trusting: Any) -> None:
    """A process that runs for days reads a file again that an operator has corrected, without a restart."""
    right = certificate()
    content = right.ca_file.read_bytes()
    certificate()
    credentials = trusting(right)
    assert None is call(credentials).status_code
    right.ca_file.write_bytes(content)
    os.utime(right.ca_file, ns=(1, 1))  # the file system's clock may not have moved since
    assert 200 == call(credentials).status_code
