"""Finds the tokens of a fleet, and which of them share a consumer key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from prefect.client.orchestration import SyncPrefectClient, get_client

from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import CredentialsNotFound

PAGE = 200
"""How many blocks the server returns at once."""


class Member(NamedTuple):
    """One token of a fleet.

    Attributes:
        name: The credentials' name.
        key: The same number for all that share a consumer key; it has no other meaning.
    """

    name: str
    key: int


def members(wanted: Sequence[str] | None) -> list[Member]:
    """The members of the fleet, sorted by name, each once.

    A name without a block is a member too: its renewal says what is wrong with it.

    Args:
        wanted: Names of credentials, which may contain the wildcards `*` and `?`; None for all blocks.

    Raises:
        CredentialsNotFound: There is no block at all, none that matches a pattern, or the list is empty.
    """
    if wanted is not None and not wanted:
        raise CredentialsNotFound(
            "The list of credentials is empty.",
            advice="name at least one block, or give no list to renew all.",
        )
    with get_client(sync_client=True) as client:
        found = dict(_blocks(client))
    chosen = set(found) if wanted is None else set(_chosen(wanted, found))
    if wanted is None and not chosen:
        raise CredentialsNotFound("There is no block of the type E*TRADE Credentials on this Prefect server.")
    # Members without a block share one key, that of the ETRADE_* variables.
    numbers: dict[object, int] = {}
    return [Member(name, numbers.setdefault(found.get(name), len(numbers))) for name in sorted(chosen)]


def _chosen(wanted: Sequence[str], found: dict[str, object]) -> Iterator[str]:
    for each in wanted:
        if "*" not in each and "?" not in each:
            yield each
            continue
        fitting = [name for name in found if fnmatchcase(name, each)]
        if not fitting:
            raise CredentialsNotFound(f"No E*TRADE Credentials block has a name like {each!r}.")
        yield from fitting


def _blocks(client: SyncPrefectClient) -> Iterator[tuple[str, object]]:
    """Each block's name and its consumer key, which is only compared.

    Prefect's own listing of a type has no pages: it sends thousands of blocks in one answer.
    """
    wanted = {"block_types": {"slug": {"any_": [ETradeCredentials.get_block_type_slug()]}}}
    offset = 0
    while True:
        page: dict[str, Any] = {"limit": PAGE, "offset": offset, "include_secrets": True}
        blocks = client.request("POST", "/block_documents/filter", json=wanted | page).json()
        for block in blocks:
            if block["name"] is not None and not block["is_anonymous"]:
                yield block["name"], block["data"].get("consumer_key")
        if len(blocks) < PAGE:
            return
        offset += PAGE
