"""The task `load-credentials`, against a real Prefect server."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentUpdate, BlockSchemaCreate

from etrade_flows.person.login import store, without_token
from etrade_tasks import CredentialsInvalid, CredentialsNotFound, ETradeCredentials, load_credentials
from etrade_tasks.credentials import ENVIRONMENT_VARIABLES

SECRETS = ("access_token", "access_token_secret", "consumer_key", "consumer_secret")


def test_block_goes_before_the_environment(
    block: str, credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block of this name is returned whole; if there is none, the environment's variables are used."""
    for name in ("CONSUMER_KEY", "CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"):
        monkeypatch.setenv(f"ETRADE_{name}", "fake-from-the-environment")
    assert credentials.fingerprint == load_credentials.fn(block).fingerprint
    loaded = load_credentials.fn("no-such-block")
    assert "fake-from-the-environment" == loaded.access_token.get_secret_value()


def test_nothing_found_lists_every_place_searched(prefect_server: None) -> None:
    """The error names the block and every variable that was looked for, and says how to make a block."""
    with pytest.raises(CredentialsNotFound) as missing:
        load_credentials.fn("no-such-block")
    places = ("etrade-credentials/no-such-block", *ENVIRONMENT_VARIABLES)
    assert [] == [place for place in places if place not in str(missing.value)]
    assert "login --credentials no-such-block" in missing.value.advice
    assert "Blocks" in missing.value.advice


def test_mistyped_name_is_answered_with_those_that_are_near(block: str) -> None:
    """If a block has nearly that name, the error asks whether it was meant, and the advice starts with it."""
    with pytest.raises(CredentialsNotFound, match=f"Did you mean '{block}'") as missing:
        load_credentials.fn(f"{block[:-2]}{block[:-3:-1]}x")
    assert missing.value.advice.startswith(f"give the right name ('{block}'")


def test_block_that_does_not_fit_is_named_by_field(
    post_block: Callable[..., UUID], credentials: ETradeCredentials
) -> None:
    """The error for a stored block with a broken field names the field, without its value."""
    post_block("test-does-not-fit", credentials, consumer_key="canary with blanks")
    with pytest.raises(CredentialsInvalid, match="consumer_key") as refused:
        load_credentials.fn("test-does-not-fit")
    assert "canary" not in str(refused.value)
    assert "test-does-not-fit" in refused.value.advice


def test_answer_that_is_none_of_prefect_s_is_not_taken_for_no_block(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a web page answers instead of Prefect's API, the error does not say that the block is missing."""

    def unreadable(*_: object, **__: object) -> None:
        json.loads("<!doctype html>")

    monkeypatch.setattr(SyncPrefectClient, "read_block_document_by_name", unreadable)
    with pytest.raises(json.JSONDecodeError):
        load_credentials.fn("no-such-block")


def test_writing_keeps_what_a_later_version_has_stored(block: str) -> None:
    """During a rolling upgrade, a block that a later version saved loads here, and keeps its new fields."""
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(block, "etrade-credentials", include_secrets=True)
        fields = {**document.block_schema.fields, "secret_fields": [*SECRETS, "later_secret"]}
        fields["properties"] = {**fields["properties"], "later_secret": {"type": "string"}}
        schema = client.create_block_schema(
            BlockSchemaCreate(fields=fields, block_type_id=document.block_type_id, capabilities=[])
        )
        data = {**document.data, "later_secret": "canary", "later_note": "kept"}
        client.update_block_document(document.id, BlockDocumentUpdate(data=data, block_schema_id=schema.id))
    store(block, without_token(load_credentials.fn(block)))
    with get_client(sync_client=True) as client:
        shown = client.read_block_document_by_name(block, "etrade-credentials", include_secrets=False).data
        kept = client.read_block_document_by_name(block, "etrade-credentials", include_secrets=True).data
    assert ("********", "kept") == (shown["later_secret"], shown["later_note"])
    assert ("canary", None) == (kept["later_secret"], kept["access_token"])
    assert load_credentials.fn(block).access_token is None
