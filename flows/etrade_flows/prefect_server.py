"""The Prefect server as the commands meet it: it answers, or one error says what to do.

Inside a run there is a server, and Prefect's client tries for minutes to reach it again; at a terminal a
person waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from json import JSONDecodeError
from urllib.request import getproxies

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from etrade_tasks.addresses import LOOPBACK_HOSTS, is_loopback
from etrade_tasks.errors import PrefectUnavailable
from etrade_tasks.tls import TlsFailure, tls_failure

RETRIES = 1
"""How often a call that fails is made once more while a person waits."""

SECONDS = 10.0
"""How long the first answer is waited for, in seconds."""

_CA_REMEDY = (
    "name a file with the CA certificate of the Prefect server, or of your company's proxy, by "
    "`prefect config set PREFECT_API_SSL_CERT_FILE=FILE`; SSL_CERT_FILE serves as well."
)
_HANDSHAKE_REMEDY = "see that PREFECT_API_URL is right (`prefect config view`), and that TLS is spoken there."


def spare_this_machine_the_proxy() -> None:
    """Have this process, and those that it starts, reach a Prefect server on this machine past any proxy.

    Prefect's clients take the environment's proxies to every host that `NO_PROXY` does not name.
    """
    proxies = getproxies()
    known = proxies.pop("no", "")
    if not proxies or known.strip() == "*":
        return
    hosts: list[str] = list(LOOPBACK_HOSTS)
    with suppress(httpx.InvalidURL):  # which the first call will tell
        hosts.append(httpx.URL(PREFECT_API_URL.value() or "").host)
    named = [*filter(None, known.split(",")), *filter(is_loopback, hosts)]
    # Where both are set, the one in small letters counts.
    os.environ["no_proxy" if "no_proxy" in os.environ else "NO_PROXY"] = ",".join(dict.fromkeys(named))


def prefect_tls_failure(error: Exception) -> TlsFailure | None:
    """Why TLS towards the Prefect server failed, and what to do; None if it was not TLS that failed."""
    return tls_failure(error, _CA_REMEDY, _HANDSHAKE_REMEDY)


@contextmanager
def prefect_reached() -> Iterator[None]:
    """A `with` block that is entered once the Prefect server has answered.

    Raises:
        PrefectUnavailable: It does not answer as it should, now or later in the block.
    """
    _ask_once()
    with _told_as_unavailable():
        yield


def _ask_once() -> None:
    """See that a Prefect server stands at PREFECT_API_URL; starts a temporary one where Prefect would.

    Raises:
        PrefectUnavailable: It is none, or it does not answer.
    """
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES, PREFECT_API_REQUEST_TIMEOUT: SECONDS}),
        _told_as_unavailable(),
    ):
        try:
            with get_client(sync_client=True) as client:
                client.read_flows(limit=1)
        # Only Prefect's client has run: no server can be started, or address or answer are unreadable.
        except (RuntimeError, ValueError, httpx.InvalidURL) as error:
            raise _no_answer(error) from None


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise PrefectUnavailable(
            f"The Prefect server answers with status {error.response.status_code}."
        ) from None
    except (httpx.HTTPError, JSONDecodeError) as error:
        raise _no_answer(error) from None
    except PrefectException as error:
        raise PrefectUnavailable(f"The Prefect server refuses a call ({type(error).__name__}).") from None


def _no_answer(error: Exception) -> PrefectUnavailable:
    tls = prefect_tls_failure(error)
    why = f"{type(error).__name__}, TLS: {tls.reason}" if tls else type(error).__name__
    return PrefectUnavailable(f"No Prefect server answers ({why}).", advice=tls.remedy if tls else None)
