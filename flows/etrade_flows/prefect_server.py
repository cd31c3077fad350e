"""The Prefect server as the commands meet it: it answers, or one error says what to do.

Inside a run there is a server, and Prefect's client tries for minutes to reach it again; at a terminal a
person waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from etrade_tasks.errors import PrefectUnavailable

RETRIES = 1
"""How often a call that fails is made once more while a person waits."""

SECONDS = 10.0
"""How long the first answer is waited for, in seconds."""


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
    return PrefectUnavailable(f"No Prefect server answers ({type(error).__name__}).")
