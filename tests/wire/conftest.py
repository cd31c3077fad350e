"""What the tests of the wire share: real servers on loopback, with certificates made for the test."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from etrade_tasks import ETradeCredentials

RENEWED = b"Access Token has been renewed"


@dataclass
class Answering:
    """A server that gives every request the same answer.

    Attributes:
        body: The answer's body.
        headers: More headers of the answer.
        status: The answer's status.
        asked: The paths that were asked for.
        url: The server's address.
    """

    body: bytes = RENEWED
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing when a client rejects the certificate."""


@contextmanager
def _serving(answer: Answering, context: ssl.SSLContext | None, host: str) -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked.append(self.path)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with _Quiet((host, 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        answer.url = f"{'https' if context else 'http'}://{host}:{server.server_address[1]}"
        try:
            yield answer
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Answering]]:
    """Starts a server with this answer, over TLS if a context is given."""
    with ExitStack() as running:

        def start(
            *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", **answer: object
        ) -> Answering:
            return running.enter_context(_serving(Answering(**answer), context, host))

        yield start


@dataclass
class Certificate:
    """A certificate, and a server's context that shows it."""

    ca_file: Path
    context: ssl.SSLContext


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., Certificate]:
    """Makes a self-signed certificate for 127.0.0.1, or with what it is given."""

    def make(*, ends_in: timedelta = timedelta(days=1), address: str = "127.0.0.1", old: bool = False):
        key = rsa.generate_private_key(65537, 2048) if old else ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake E*TRADE")])
        names = [x509.IPAddress(IPv4Address(address))]
        ends_at = datetime.now(UTC) + ends_in
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends_at - timedelta(days=30))
            .not_valid_after(ends_at)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = made.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        ca_file, chain = tmp_path / "ca.pem", tmp_path / "chain.pem"
        ca_file.write_bytes(pem)
        chain.write_bytes(private + pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return Certificate(ca_file, context)

    return make


@pytest.fixture
def keys_for() -> Callable[[str], ETradeCredentials]:
    """Makes fake credentials whose calls go to one address."""

    def make(url: str) -> ETradeCredentials:
        return ETradeCredentials.model_validate(
            {
                "consumer_key": "canary-consumer-key",
                "consumer_secret": "canary-consumer-secret",
                "access_token": "canary/access+token=",
                "access_token_secret": "canary/token+secret=",
                "oauth_url": url,
                "api_url": url,
            }
        )

    return make
