"""Signing in, the same for the terminal and the flow: a verifier becomes a proven token in the block.

The stored token stays until the new one has stood its first renewal; then one update of the block replaces
it. Whenever the process dies, the block holds the old token or the new one, whole. What somebody has edited
in the block meanwhile stays as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr, ValidationError

from etrade_flows.access.memory import forget_sessions, remember
from etrade_flows.access.renewal import renew_loaded
from etrade_flows.news.events import emit_signed_in
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import (
    ConfigurationRefused,
    CredentialsInvalid,
    CredentialsNotFound,
    VerifierRefused,
)
from etrade_tasks.inputs import named_problems
from etrade_tasks.load_credentials import load_block, near_names
from etrade_tasks.oauth.addresses import Environment
from etrade_tasks.oauth.authorization import (
    AccessToken,
    ConsumerKeys,
    RequestToken,
    access_token,
    authorize_url,
    request_token,
)
from etrade_tasks.session import TokenSession

ROUNDS = 3
"""How many verifiers a person may try before the sign-in is given up."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that waits for its person. Hold it in memory alone; it is good for five minutes.

    Attributes:
        name: The credentials' name.
        authorize_url: What the person opens. It holds the consumer key and the request token.
        credentials: What is signed in to, as it was stored.
        request_token: What the verifier is exchanged with.
    """

    name: str
    authorize_url: str = field(repr=False)
    credentials: ETradeCredentials = field(repr=False)
    request_token: RequestToken = field(repr=False)


Ask = Callable[[SignIn, VerifierRefused | None], str]
"""Asks a person for the verifier of a sign-in; given too is why the one before it was refused."""


def begin_sign_in(credentials: str = DEFAULT_NAME) -> SignIn:
    """A new sign-in at E*TRADE to the credentials of this name: a person opens its `authorize_url`.

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
        CredentialsInvalid: The block cannot be used as it stands.
        ConfigurationRefused: The consumer key, its secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network did not answer well.
    """
    return begin(credentials, stored_credentials(credentials))


def begin(name: str, credentials: ETradeCredentials) -> SignIn:
    """A new sign-in at E*TRADE to these credentials.

    Raises:
        ConfigurationRefused: The consumer key, its secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network did not answer well.
    """
    consumer = credentials.consumer_keys
    token = request_token(consumer, credentials.oauth_base_url)
    return SignIn(name, authorize_url(consumer, token, credentials.oauth_base_url), credentials, token)


def complete_sign_in(sign_in: SignIn, verifier: str) -> TokenSession:
    """The session that the verifier opens, proven by a first renewal and stored in the block.

    Args:
        sign_in: What `begin_sign_in` gave.
        verifier: What E*TRADE showed to the person.

    Raises:
        VerifierRefused: The verifier is wrong, late or used already; begin anew.
        ConfigurationRefused: As of a renewal; or somebody has put another key into the block meanwhile.
        ETradeError: What a renewal raises. The block is as it was.
    """
    held, oauth_url = sign_in.credentials, sign_in.credentials.oauth_base_url
    bought = access_token(held.consumer_keys, sign_in.request_token, verifier, oauth_url)
    proven = _with_token(held, bought)
    session = renew_loaded(sign_in.name, proven, force=True, clock_offset=bought.clock_offset)
    signed_in = _with_token(_as_edited(sign_in), bought)
    store(sign_in.name, signed_in)
    emit_signed_in(sign_in.name, signed_in)
    forget_sessions()
    return remember(sign_in.name, session, signed_in)


def in_rounds(name: str, credentials: ETradeCredentials, ask: Ask) -> TokenSession:
    """The session after at most `ROUNDS` verifiers, each of a request token of its own.

    Args:
        name: The credentials' name.
        credentials: What is signed in to, as it is stored, or as it will be once E*TRADE takes the keys.
        ask: Gives the verifier of a sign-in, from a person who is told what was refused before it.

    Raises:
        ETradeError: What the last round came to, or what no other verifier could mend.
    """
    _require_writable(credentials)
    refused: VerifierRefused | None = None
    for _ in range(ROUNDS):
        sign_in = begin(name, credentials)
        _keep_new_keys(name, credentials)
        try:
            return complete_sign_in(sign_in, ask(sign_in, refused))
        except VerifierRefused as error:
            refused = error
    assert refused is not None  # noqa: S101  # for type checkers: there is at least one round
    raise refused


def _require_writable(credentials: ETradeCredentials) -> None:
    """See that the block can be written, before a person's work depends on it. Changes nothing.

    A block that is to be made needs no such look: it is made before the person is asked.

    Raises:
        Exception: What Prefect's client raises of a server that takes no update, as with a reader's key.
    """
    block_id = credentials._block_document_id  # noqa: SLF001  # Prefect has no public name
    if block_id is None:
        return
    with get_client(sync_client=True) as client:
        # Without data: with an empty one the server would write back what it has just read, and could undo
        # what somebody stores in that moment.
        client.update_block_document(block_id, BlockDocumentUpdate())


def _keep_new_keys(name: str, credentials: ETradeCredentials) -> None:
    """Make a block that does not exist yet, so that keys which E*TRADE has taken are typed once."""
    if credentials.access_token is None and load_block(name) is None:
        store(name, credentials)


def stored_credentials(name: str) -> ETradeCredentials:
    """The block of that name. Only a block can be signed in to: nobody can write to an environment.

    Raises:
        CredentialsNotFound: There is no such block.
        CredentialsInvalid: It cannot be used as it stands.
    """
    if block := load_block(name):
        return block
    near = " or ".join(map(repr, near_names(name)))
    raise CredentialsNotFound(
        f"There is no block {ETradeCredentials.get_block_type_slug()}/{name}."
        + (f" Did you mean {near}?" if near else ""),
        advice=f"run `etrade-session login --credentials {name}`, which creates it, or create it in the "
        "Prefect UI (Blocks > + > E*TRADE Credentials).",
    )


def signed_out_credentials(
    consumer: ConsumerKeys, fields: Mapping[str, str], spell: Callable[[str], str] = str
) -> ETradeCredentials:
    """Credentials that nobody has signed in to yet.

    Args:
        consumer: The application's key pair.
        fields: Other fields of the block, as text.
        spell: How an error names a field.

    Raises:
        CredentialsInvalid: A value is malformed; names it without showing it.
    """
    try:
        return ETradeCredentials(consumer_key=consumer.key, consumer_secret=consumer.secret, **fields)
    except ValidationError as error:
        problems = "; ".join(named_problems(error, spell))
    raise CredentialsInvalid(f"This cannot be signed in to: {problems}.", advice="correct it and try again.")


def without_token(credentials: ETradeCredentials) -> ETradeCredentials:
    """The same credentials with nobody signed in: every renewal asks for a sign-in, without a call."""
    return credentials.model_copy(
        update={"access_token": None, "access_token_secret": None, "signed_in_at": None}
    )


def store(name: str, credentials: ETradeCredentials) -> None:
    """Write the block in one update, or create it.

    What a later version of this package keeps in it besides stays there.
    """
    known = ETradeCredentials.model_fields.keys()
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        stored = client.read_block_document_by_name(name, ETradeCredentials.get_block_type_slug())
        if stored.data.keys() - known:
            # `save` would tie the block to our schema, by which Prefect masks the secrets that we know
            # and shows the later version's.
            values = credentials.model_dump(
                mode="json", include=set(known), context={"include_secrets": True}
            )
            client.update_block_document(stored.id, BlockDocumentUpdate(data=values))
            return
    # Named sync: Prefect would hand back a coroutine where the calling flow is async.
    credentials.save(name, overwrite=True, _sync=True)


def _as_edited(sign_in: SignIn) -> ETradeCredentials:
    """The block as it stands now, after all that others may have stored while the person was away.

    Raises:
        ConfigurationRefused: A token that was bought with what the sign-in holds does not belong to it.
    """
    block = load_block(sign_in.name)
    if block is None:
        return sign_in.credentials
    if _bought_with(block) != _bought_with(sign_in.credentials):
        raise ConfigurationRefused(
            f"The consumer key, the environment or the address of {sign_in.name!r} was changed while the "
            "sign-in waited, so the new token does not belong to it. The block stays as it is.",
            advice="sign in again.",
        )
    return block


def _bought_with(credentials: ETradeCredentials) -> tuple[Environment, ConsumerKeys, str]:
    """What an access token is good with, and with nothing else."""
    return credentials.environment, credentials.consumer_keys, credentials.oauth_base_url


def _with_token(credentials: ETradeCredentials, bought: AccessToken) -> ETradeCredentials:
    return credentials.model_copy(
        update={
            "access_token": SecretStr(bought.token),
            "access_token_secret": SecretStr(bought.secret),
            "signed_in_at": bought.issued_at,
        }
    )
