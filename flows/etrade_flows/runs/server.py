"""Checks Prefect for the commands: it works, or one error says what to do.

Inside a run, Prefect's client tries for minutes to reach the server again. At a terminal a person is waiting,
so it must not.

Prefect's engine loads the default result storage for every flow and task run, although most of ours persist
nothing. If its block does not exist, all runs fail with a `ValueError` before their first line. A block that
is not a storage, or a folder that cannot be written, fails only when a result is written (Prefect 3.8).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from json import JSONDecodeError
from urllib.request import getproxies

import httpx
from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL, PREFECT_DEFAULT_RESULT_STORAGE_BLOCK

from etrade_tasks.errors import ETradeError, PrefectUnavailable
from etrade_tasks.oauth.addresses import LOOPBACK_HOSTS, is_loopback
from etrade_tasks.oauth.tls import TlsFailure, tls_failure
from etrade_tasks.prefect_context import changed_setting
from etrade_tasks.sharing.record import default_result_storage

RETRIES = 1
"""How many times a failed call is retried while a person waits."""

SECONDS = 10.0
"""How long to wait for the first answer, in seconds."""

TEMPORARY_SERVER = (
    "No Prefect server is set (PREFECT_API_URL), so each command starts a temporary one. What it stores "
    "stays in the Prefect home, but nothing runs on a schedule, nobody is alerted, and there is no UI."
)
"""What happens without a server: the temporary one keeps its database, but runs no services."""

START_SERVER = (
    "run `prefect server start` and leave it running, and "
    "`prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`."
)

_CA_REMEDY = (
    "name a file with the CA certificate of the Prefect server, or of your company's proxy, with "
    "`prefect config set PREFECT_API_SSL_CERT_FILE=FILE`; SSL_CERT_FILE works too."
)
_CA_FILE_REMEDY = "correct or unset PREFECT_API_SSL_CERT_FILE (`prefect config view`) or SSL_CERT_FILE."
_HANDSHAKE_REMEDY = "check that PREFECT_API_URL is right (`prefect config view`) and the server uses TLS."
_BUSY = "try again in a moment; if the server's database is SQLite, many runs at once keep it locked."
_LOCKED_OUT = (
    "set the key or the password that the server asks for: PREFECT_API_KEY (Prefect Cloud) or "
    "PREFECT_API_AUTH_STRING (`prefect config view`); a key that may only read is not enough."
)
_VERSIONS = (
    "check that PREFECT_API_URL is the address of a Prefect server, ending in /api, and that the server is "
    "no older than Prefect here (`prefect version`)."
)
_ADVICE = {
    **dict.fromkeys((401, 403), _LOCKED_OUT),
    **dict.fromkeys((404, 405, 422), _VERSIONS),
    **dict.fromkeys((408, 429, 502, 503, 504), _BUSY),
}
_SHOW_WHY = "run `prefect server start`, which shows why it fails; `etrade-session doctor` tells more."
_STORAGE = (
    "correct or unset PREFECT_DEFAULT_RESULT_STORAGE_BLOCK (`prefect config view`), or create that block "
    "(Prefect UI > Blocks) and install the package of its type; if the setting is unset, correct the "
    "default result storage of the server."
)


def spare_this_machine_the_proxy() -> None:
    """Let this process, and those it starts, reach a Prefect server on this machine without a proxy.

    Prefect's clients use the environment's proxies for every host that is not in `NO_PROXY`.
    """
    proxies = getproxies()
    known = proxies.pop("no", "")
    if not proxies or known.strip() == "*":
        return
    hosts: list[str] = list(LOOPBACK_HOSTS)
    with suppress(httpx.InvalidURL):  # the first call will report it
        hosts.append(httpx.URL(PREFECT_API_URL.value() or "").host)
    named = [*filter(None, known.split(",")), *filter(is_loopback, hosts)]
    # If both are set, the one in small letters counts.
    os.environ["no_proxy" if "no_proxy" in os.environ else "NO_PROXY"] = ",".join(dict.fromkeys(named))


def prefect_tls_failure(error: Exception) -> TlsFailure | None:
    """Why TLS with the Prefect server failed, and what to do; None if TLS did not fail."""
    # httpx wraps network failures in its own errors; a bare one is about the files that it reads first.
    if isinstance(error, OSError) and not server_is_temporary():
        return TlsFailure("its file of certificates cannot be used", _CA_FILE_REMEDY)
    return tls_failure(error, _CA_REMEDY, _HANDSHAKE_REMEDY)


def server_is_temporary() -> bool:
    """Whether no server is set, so that Prefect starts one for this process."""
    return determine_server_type() is ServerType.EPHEMERAL


@contextmanager
def prefect_reached() -> Iterator[None]:
    """Enter the `with` block after the Prefect server has answered. Starts a temporary one if Prefect would.

    Raises:
        PrefectUnavailable: It does not answer correctly, now or later in the block.
    """
    with _told_as_unavailable():
        with changed_setting("client.max_retries", RETRIES), changed_setting("api.request_timeout", SECONDS):
            try:
                with get_client(sync_client=True) as client:
                    client.read_flows(limit=1)
            # Only Prefect's client has run, so no server can be started, or a file, address or answer is
            # unreadable.
            except (OSError, RuntimeError, ValueError, httpx.InvalidURL) as error:
                raise _no_answer(error) from None
        yield


def require_result_storage() -> None:
    """Check that the default result storage loads, as Prefect's engine loads it for every run.

    Raises:
        PrefectUnavailable: It does not load, so no flow and no task can run here.
    """
    try:
        default_result_storage()
    except httpx.HTTPError:
        raise  # the server's fault
    except Exception as error:  # noqa: BLE001  # each type of block can fail to load in its own way
        found = error
    else:
        return
    block = PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value()
    named = f"the block {block}" if block else "the server's default"
    why = type(found.__cause__ or found).__name__
    raise PrefectUnavailable(f"Prefect's result storage cannot be loaded: {named} ({why}).", advice=_STORAGE)


@contextmanager
def storage_told() -> Iterator[None]:
    """Turns an exception of the `with` block into our error, if the result storage cannot be loaded.

    Prefect's exception is an ordinary `ValueError`, and its text is not for programs to read. So after a
    failure this loads the storage again, to see whether that is the cause.

    Raises:
        PrefectUnavailable: The result storage cannot be loaded.
    """
    try:
        yield
    except (ETradeError, httpx.HTTPError):
        raise
    except Exception:
        try:
            require_result_storage()
        except PrefectUnavailable as unusable:
            raise unusable from None
        except httpx.HTTPError:
            pass  # the first error says more
        raise


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    try:
        with storage_told():
            yield
    except ETradeError:
        raise
    except Exception as error:
        # Some of Prefect's functions wrap its client's error in one of Python's own.
        unavailable = _unavailable(error) or (error.__cause__ and _unavailable(error.__cause__))
        if not unavailable:
            raise
        raise unavailable from None


def _unavailable(error: BaseException) -> PrefectUnavailable | None:
    """Our error for an exception of Prefect or its client; None for any other exception."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return PrefectUnavailable(
            f"The Prefect server answers with status {status}.", advice=_ADVICE.get(status)
        )
    if isinstance(error, (httpx.HTTPError, JSONDecodeError)):
        return _no_answer(error)
    if isinstance(error, PrefectException):
        return PrefectUnavailable(f"The Prefect server refuses a call ({type(error).__name__}).")
    return None


def _no_answer(error: Exception) -> PrefectUnavailable:
    if server_is_temporary():
        return PrefectUnavailable(
            f"The temporary Prefect server does not answer ({type(error).__name__}).", advice=_SHOW_WHY
        )
    tls = prefect_tls_failure(error)
    why = f"{type(error).__name__}, TLS: {tls.reason}" if tls else type(error).__name__
    return PrefectUnavailable(f"No Prefect server answers ({why}).", advice=tls.remedy if tls else None)
