"""Signing in, for the terminal and the flow: a verifier becomes a tested token in the block.

The stored token stays until a first renewal has tested the new one; then one update of the block replaces it.
If the process dies, the block holds either the old token or the new one, whole. Edits that somebody made in
the block meanwhile also stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from etrade_flows.access.memory import forget_sessions, remember
from etrade_flows.access.renewal import Wanted, renew_loaded
from etrade_flows.news.events import emit_sign
from etrade_flows.news.session_news import SessionEvent
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import (
    ConfigurationRefused,
    CredentialsNotFound,
    VerifierRefused,
)
from etrade_tasks.load_credentials import load_block, near_names
from etrade_tasks.oauth.addresses import Environment
from etrade_tasks.oauth.authorization import (
    IssuedToken,
    access_token,
    authorize_url,
    request_token,
)
from etrade_tasks.oauth.signature import SigningKeys
from etrade_tasks.session import TokenSession

ROUNDS = 3
"""How many verifiers a person may try before the sign-in fails."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that waits for a person. It is valid for five minutes; keep it only in memory.

    Attributes:
        name: The credentials' name.
        authorize_url: The address that the person opens. It contains the consumer key and the request token.
        credentials: The credentials to sign in to, as they were stored.
        request_token: The token that is exchanged together with the verifier.
    """

    name: str
    authorize_url: str = field(repr=False)
    credentials: ETradeCredentials = field(repr=False)
    request_token: IssuedToken = field(repr=False)


Ask = Callable[[SignIn, VerifierRefused | None], str]
"""Asks a person for the verifier of a sign-in; it also gets the reason why the previous one was refused."""


def begin_sign_in(credentials: str = DEFAULT_NAME) -> SignIn:
    """Begin a sign-in at E*TRADE to the credentials of this name. A person opens its `authorize_url`.

    Example:
        ```python
        waiting = begin_sign_in("etrade")
        print(waiting.authorize_url)
        session = complete_sign_in(waiting, input("Verifier: "))
        ```

    Args:
        credentials: The name of the E*TRADE Credentials block, which must hold the consumer keys.

    Raises:
        CredentialsNotFound: There is no block of that name.
        CredentialsInvalid: The block cannot be used.
        ConfigurationRefused: The consumer key, its secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing.
    """
    return begin(credentials, stored_credentials(credentials))


def begin(name: str, credentials: ETradeCredentials) -> SignIn:
    """Begin a sign-in at E*TRADE to these credentials.

    Raises:
        ConfigurationRefused: The consumer key, its secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing.
    """
    consumer = credentials.consumer_keys
    token = request_token(consumer, credentials.oauth_base_url)
    return SignIn(name, authorize_url(consumer, token, credentials.oauth_base_url), credentials, token)


def complete_sign_in(sign_in: SignIn, verifier: str) -> TokenSession:
    """Open the session with the verifier, test it with a first renewal, store the token, return the session.

    Args:
        sign_in: The result of `begin_sign_in`.
        verifier: What E*TRADE showed to the person.

    Raises:
        VerifierRefused: The verifier is wrong, late or already used; begin again.
        ConfigurationRefused: As for a renewal; or somebody has put another key into the block meanwhile.
        ETradeError: As for a renewal. The block is unchanged.
    """
    held, oauth_url = sign_in.credentials, sign_in.credentials.oauth_base_url
    bought = access_token(held.consumer_keys, sign_in.request_token, verifier, oauth_url)
    proven = _with_token(held, bought)
    session = renew_loaded(sign_in.name, proven, Wanted(force=True, clock_offset=bought.clock_offset))
    signed_in = _with_token(_as_edited(sign_in), bought)
    store(sign_in.name, signed_in)
    emit_sign(SessionEvent.SIGNED_IN, sign_in.name, signed_in)
    forget_sessions()
    return remember(sign_in.name, session, signed_in)


def in_rounds(name: str, credentials: ETradeCredentials, ask: Ask) -> TokenSession:
    """The session after at most `ROUNDS` verifiers, each with its own request token.

    Args:
        name: The credentials' name.
        credentials: The credentials to sign in to, as stored, or as they will be once E*TRADE accepts the
            keys.
        ask: Asks a person for the verifier of a sign-in, and tells them why the previous one was refused.

    Raises:
        ETradeError: The error of the last round, or one that no other verifier can fix.
    """
    _require_writable(credentials)
    refused: VerifierRefused | None = None
    for _ in range(ROUNDS):
        sign_in = begin(name, credentials)
        if credentials.access_token is None and load_block(name) is None:
            store(name, credentials)  # so that nobody has to type keys again that E*TRADE has accepted
        try:
            return complete_sign_in(sign_in, ask(sign_in, refused))
        except VerifierRefused as error:
            refused = error
    assert refused is not None  # noqa: S101  # for type checkers: there is at least one round
    raise refused


def _require_writable(credentials: ETradeCredentials) -> None:
    """Check that the block can be written, before a person's work depends on it. This changes nothing.

    A new block needs no such check, because it is created before the person is asked.

    Raises:
        Exception: What Prefect's client raises if the server accepts no update, as with a read-only key.
    """
    block_id = credentials._block_document_id  # noqa: SLF001  # Prefect has no public name
    if block_id is None:
        return
    with get_client(sync_client=True) as client:
        # Without data: with empty data, the server would write back what it has just read, and could undo
        # what somebody stores at that moment.
        client.update_block_document(block_id, BlockDocumentUpdate())


def stored_credentials(name: str) -> ETradeCredentials:
    """The block of that name. A sign-in needs a block, because it cannot store a token in variables.

    Raises:
        CredentialsNotFound: There is no such block.
        CredentialsInvalid: It cannot be used.
    """
    if block := load_block(name):
        return block
    near = near_names(name)
    raise CredentialsNotFound(
        f"There is no block {ETradeCredentials.get_block_type_slug()}/{name}."
        + (f" Did you mean {near}?" if near else ""),
        advice=f"run `etrade-session login --credentials {name}`, which creates it, or create it in the "
        "Prefect UI (Blocks > + > E*TRADE Credentials).",
    )


def without_token(credentials: ETradeCredentials) -> ETradeCredentials:
    """The same credentials without a token: every renewal then asks for a sign-in, without a call."""
    return credentials.model_copy(
        update={"access_token": None, "access_token_secret": None, "signed_in_at": None}
    )


def store(name: str, credentials: ETradeCredentials) -> None:
    """Write the block in one update, or create it.

    Fields of a later version of this package stay there.
    """
    known = ETradeCredentials.model_fields.keys()
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        stored = client.read_block_document_by_name(name, ETradeCredentials.get_block_type_slug())
        if stored.data.keys() - known:
            # `save` would link the block to our schema, and Prefect would then show the later version's
            # secrets unmasked.
            values = credentials.model_dump(
                mode="json", include=set(known), context={"include_secrets": True}
            )
            client.update_block_document(stored.id, BlockDocumentUpdate(data=values))
            return
    # Without `_sync`, Prefect would return a coroutine if the calling flow is async.
    credentials.save(name, overwrite=True, _sync=True)


def _as_edited(sign_in: SignIn) -> ETradeCredentials:
    """The block as it is now, with all edits made while the person was away.

    Raises:
        ConfigurationRefused: Its keys or addresses have changed, so the new token does not belong to it.
    """
    block = load_block(sign_in.name)
    if block is None:
        return sign_in.credentials
    if _bought_with(block) != _bought_with(sign_in.credentials):
        raise ConfigurationRefused(
            f"The consumer key, the environment or the address of {sign_in.name!r} was changed while the "
            "sign-in waited, so the new token does not belong to it. The block is unchanged.",
            advice="sign in again.",
        )
    return block


def _bought_with(credentials: ETradeCredentials) -> tuple[Environment, SigningKeys, str]:
    """The values that an access token belongs to."""
    return credentials.environment, credentials.consumer_keys, credentials.oauth_base_url


def _with_token(credentials: ETradeCredentials, bought: IssuedToken) -> ETradeCredentials:
    return credentials.model_copy(
        update={
            "access_token": SecretStr(bought.token),
            "access_token_secret": SecretStr(bought.secret),
            "signed_in_at": bought.issued_at,
        }
    )
