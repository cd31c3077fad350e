"""Prefect as the commands meet it: it does what it should, or one error says what to do.

Inside a run there is a server, and Prefect's client tries for minutes to reach it again; at a terminal a
person waits.

Prefect's engine loads the default result storage for every flow and task run, and persists nothing in most of
ours; a block that does not exist fails them all, with a `ValueError` before their first line. A block that is
no storage, and a folder that cannot be written, fail nothing until a result is written (Prefect 3.8).
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
from etrade_tasks.prefect_settings import changed_setting
from etrade_tasks.sharing.record import default_result_storage

RETRIES = 1
"""How often a call that fails is made once more while a person waits."""

SECONDS = 10.0
"""How long the first answer is waited for, in seconds."""

TEMPORARY_SERVER = (
    "No Prefect server is set (PREFECT_API_URL), so each command starts a temporary one. What it stores "
    "stays in the Prefect home, but nothing runs by schedule, nobody is alerted, and there is no UI."
)
"""What it means to have no server: the temporary one keeps its database, and runs no services."""

START_SERVER = (
    "run `prefect server start` and leave it running, and "
    "`prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`."
)

_CA_REMEDY = (
    "name a file with the CA certificate of the Prefect server, or of your company's proxy, by "
    "`prefect config set PREFECT_API_SSL_CERT_FILE=FILE`; SSL_CERT_FILE serves as well."
)
_CA_FILE_REMEDY = "correct or unset PREFECT_API_SSL_CERT_FILE (`prefect config view`) or SSL_CERT_FILE."
_HANDSHAKE_REMEDY = "see that PREFECT_API_URL is right (`prefect config view`), and that TLS is spoken there."
_BUSY = "try again in a moment; where SQLite is the server's database, many runs at once keep it locked."
_LOCKED_OUT = (
    "give the key or the password that the server asks for: PREFECT_API_KEY (Prefect Cloud) or "
    "PREFECT_API_AUTH_STRING (`prefect config view`); a key that may only read is not enough."
)
_VERSIONS = (
    "see that PREFECT_API_URL is the address of a Prefect server, with /api at the end, and that the server "
    "is no older than Prefect here (`prefect version`)."
)
_ADVICE = {
    **dict.fromkeys((401, 403), _LOCKED_OUT),
    **dict.fromkeys((404, 405, 422), _VERSIONS),
    **dict.fromkeys((408, 429, 502, 503, 504), _BUSY),
}
_SHOW_WHY = "run `prefect server start`, which shows why it fails; `etrade-session doctor` tells more."
_STORAGE = (
    "correct or unset PREFECT_DEFAULT_RESULT_STORAGE_BLOCK (`prefect config view`), or create that block "
    "(Prefect UI > Blocks) and install the package of its type; where the setting is unset, correct the "
    "default result storage of the server."
)


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
    # What the network does, httpx raises as an error of its own; a bare one is of the files it reads first.
    if isinstance(error, OSError) and not server_is_temporary():
        return TlsFailure("its file of certificates cannot be used", _CA_FILE_REMEDY)
    return tls_failure(error, _CA_REMEDY, _HANDSHAKE_REMEDY)


def server_is_temporary() -> bool:
    """Whether no server is set, so that Prefect starts one for this process."""
    return determine_server_type() is ServerType.EPHEMERAL


def require_lasting_server() -> None:
    """Go on only where a server is set.

    Raises:
        PrefectUnavailable: None is.
    """
    if server_is_temporary():
        raise PrefectUnavailable(
            "No Prefect server is set (PREFECT_API_URL), and a temporary one runs nothing by schedule.",
            advice=START_SERVER,
        )


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
        changed_setting("client.max_retries", RETRIES),
        changed_setting("api.request_timeout", SECONDS),
        _told_as_unavailable(),
    ):
        try:
            with get_client(sync_client=True) as client:
                client.read_flows(limit=1)
        # Only Prefect's client has run: no server can be started; a file, address or answer is unreadable.
        except (OSError, RuntimeError, ValueError, httpx.InvalidURL) as error:
            raise _no_answer(error) from None


def require_result_storage() -> None:
    """See that the default result storage loads, as Prefect's engine loads it for every run.

    Raises:
        PrefectUnavailable: It does not, so no flow and no task can run here.
    """
    try:
        default_result_storage()
    except httpx.HTTPError:
        raise  # which is the server's fault
    except Exception as error:  # noqa: BLE001  # a block can fail to load in as many ways as there are types
        found = error
    else:
        return
    block = PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value()
    named = f"the block {block}" if block else "the server's default"
    why = type(found.__cause__ or found).__name__
    raise PrefectUnavailable(f"Prefect's result storage cannot be loaded: {named} ({why}).", advice=_STORAGE)


@contextmanager
def storage_told() -> Iterator[None]:
    """Turns what the `with` block raises because the result storage cannot be loaded into our error.

    Whether that is the cause is asked of Prefect anew, once something has failed: its exception is an
    ordinary `ValueError`, and its text is not for programs to read.

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
            pass  # the first is the better one to know
        raise


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    try:
        with storage_told():
            yield
    except ETradeError:
        raise
    except Exception as error:
        # Some of Prefect's functions wrap what its client has raised into an error of Python's own.
        unavailable = _unavailable(error) or (error.__cause__ and _unavailable(error.__cause__))
        if not unavailable:
            raise
        raise unavailable from None


def _unavailable(error: BaseException) -> PrefectUnavailable | None:
    """What to say of an exception of Prefect or its client; None of any other."""
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
