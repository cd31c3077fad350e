"""The credentials that a renewal needs: the Prefect block, the fallback variables, signed clients."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self

import httpx
from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block, schema_extra
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    HttpUrl,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function
from pydantic_settings import BaseSettings, SettingsConfigDict

from etrade_tasks.errors import CredentialsInvalid, SignInRequired
from etrade_tasks.inputs import STILL_ENCODED, is_percent_encoded, named_problems, refuse_quotes, variable
from etrade_tasks.oauth.addresses import API_URLS, OAUTH_URL, Environment, safe_address, without_version
from etrade_tasks.oauth.clients import SignedAsyncClient, SignedClient, client_options
from etrade_tasks.oauth.signature import ETradeAuth, SigningKeys
from etrade_tasks.session import midnight_after

DEFAULT_NAME = "etrade"
"""The credentials that are meant if no name is given."""


def _trimmed(secret: SecretStr) -> SecretStr:
    """The secret without blanks and newlines that were pasted with it."""
    value = secret.get_secret_value().strip()
    if not value:
        raise ValueError("must not be empty")
    if not value.isprintable() or " " in value:
        raise ValueError("must not contain blanks or control characters")
    return SecretStr(value)


def _decoded(secret: SecretStr) -> SecretStr:
    if is_percent_encoded(secret):
        raise ValueError(STILL_ENCODED)
    return secret


def _nothing_if_blank(value: object) -> object:
    # The Prefect UI sends an empty string for a cleared field.
    shown = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if shown == "" else value


def _form(schema: dict[str, Any], model: type[Block]) -> None:
    """Remove our defaults from the schema that Prefect's form is made from.

    The form that edits a block shows and saves a field's default instead of the stored value. It would turn a
    sandbox key into a live one, and delete the token.
    """
    schema_extra(schema, model)
    for field in schema["properties"].values():
        field.pop("default", None)


Secret = Annotated[SecretStr, AfterValidator(_trimmed), AfterValidator(_decoded)]
# One password field in the UI's form; a union would show as two tabs.
OptionalSecret = Annotated[
    # Not annotated: Prefect does not find an annotated secret in a union, and would show it unmasked.
    SecretStr | None,
    BeforeValidator(_nothing_if_blank),
    AfterValidator(lambda secret: secret and _trimmed(secret)),
    WithJsonSchema({"type": "string", "format": "password", "writeOnly": True}),
]
Address = Annotated[str, AfterValidator(lambda address: address and safe_address(address))]


_saved = [0]


def times_saved() -> int:
    """How often this process has saved credentials; each save counts before and after its write."""
    return _saved[0]


class ETradeCredentials(CredentialsBlock):
    """Consumer key and access token of one E*TRADE account, and the clients they sign.

    Save one with the consumer key and secret, under the name that pipelines use. Signing in, with the
    command `etrade-session login` or the flow `sign-in`, fills in the access token.

    Example:
        ```python
        from prefect_etrade import ETradeCredentials

        credentials = ETradeCredentials.load("BLOCK_NAME")
        with credentials.get_client() as client:
            client.get("/v1/accounts/list.json")
        ```
    """

    _block_type_name: ClassVar[str | None] = "E*TRADE Credentials"
    _block_type_slug: ClassVar[str | None] = "etrade-credentials"
    # The logo of Prefect's own Secret block: the schema accepts only http(s) addresses, so the package cannot
    # bring a picture of its own.
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://cdn.sanity.io/images/3ugk85nk/production/c6f20e556dd16effda9df16551feecfb5822092b-48x48.png"
    )
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://developer.etrade.com/getting-started")

    # Else errors would print a refused value.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra=_form)

    def __init__(self, *args: Any, **fields: Any) -> None:  # noqa: ANN401  # as Prefect's own
        """Take the fields by name.

        Raises:
            ValidationError: A field's name does not exist (it could hold a mistyped secret), or its value is
                malformed. Names the field without its value.
        """
        unknown = [name for name in fields if name not in type(self).model_fields]
        if unknown:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [{"type": "extra_forbidden", "loc": (name,), "input": None} for name in unknown],
                hide_input=True,
            )
        super().__init__(*args, **fields)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Ignore stored fields that a later version has added.

        `load`, `model_validate` and a block that contains this one call this first, and `__init__` after it.
        Code that passes the fields by name calls `__init__` first.
        """

        def known(stored: object) -> object:
            if not isinstance(stored, dict):
                return stored
            return {name: value for name, value in stored.items() if name in cls.model_fields}

        return no_info_before_validator_function(known, handler(source))

    environment: Environment = Field(
        default="live",
        title="Environment",
        description=(
            "The E*TRADE environment that issued the consumer key; live by default. Keys are good for "
            "one only."
        ),
    )
    consumer_key: Secret = Field(title="Consumer key", description="Issued by E*TRADE to your application.")
    consumer_secret: Secret = Field(title="Consumer secret", description="Comes with the consumer key.")
    access_token: OptionalSecret = Field(
        default=None,
        title="Access token",
        description=(
            "From today's sign-in, which fills it in. Empty while nobody is signed in. If you paste one, "
            "paste it decoded: it ends in =, not in %3D."
        ),
    )
    access_token_secret: OptionalSecret = Field(
        default=None,
        title="Access token secret",
        description="Comes with the access token; changes with it.",
    )
    signed_in_at: Annotated[AwareDatetime | None, BeforeValidator(_nothing_if_blank)] = Field(
        default=None,
        title="Signed in at",
        description=(
            "When the access token was issued, with the hour and the time zone: it expires at the next "
            "midnight US Eastern. Leave it at None if you are not sure, or if you paste a token: E*TRADE "
            "is asked instead."
        ),
    )
    consumer_key_issued_on: Annotated[date | None, BeforeValidator(_nothing_if_blank)] = Field(
        default=None,
        title="Consumer key issued on",
        description=(
            "The date on which E*TRADE issued the consumer key. E*TRADE lets keys lapse silently after about "
            "two years. If you give the date, you get a warning 30 days before."
        ),
    )
    oauth_url: Address = Field(
        default="",
        title="OAuth address",
        description=f"Leave empty for {OAUTH_URL}. Set it for a simulator or a sandbox key served elsewhere.",
    )
    api_url: Annotated[Address, AfterValidator(without_version)] = Field(
        default="",
        title="API address",
        description=f"Leave empty for {API_URLS['live']} or, in the sandbox, {API_URLS['sandbox']}.",
    )

    def save(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # Prefect's own signature
        """Save as Prefect's `Block.save` does; this process then checks its remembered sessions again."""
        _saved[0] += 1
        done = super().save(*args, **kwargs)
        _saved[0] += 1
        return done

    _unquoted = field_validator("*", mode="before")(refuse_quotes)

    @model_validator(mode="after")
    def _decoded_token(self) -> Self:
        # If the time is known, a sign-in most likely stored the token as E*TRADE gave it: that must load.
        if self.signed_in_at is None and (encoded := _encoded_parts(dict(self))):
            raise ValueError(f"{' and '.join(encoded)} {STILL_ENCODED}")
        return self

    @model_validator(mode="after")
    def _whole_token(self) -> Self:
        if (self.access_token is None) != (self.access_token_secret is None):
            raise ValueError("access_token and access_token_secret come together: give both or neither")
        return self

    @property
    def oauth_base_url(self) -> str:
        """Where OAuth calls go, without a trailing slash."""
        return self.oauth_url or OAUTH_URL

    @property
    def api_base_url(self) -> str:
        """Where data calls go, without a trailing slash."""
        return self.api_url or API_URLS[self.environment]

    @property
    def consumer_keys(self) -> SigningKeys:
        """The application's key pair in the clear, whether or not anybody is signed in."""
        return SigningKeys(self.consumer_key.get_secret_value(), self.consumer_secret.get_secret_value())

    @property
    def signing_keys(self) -> SigningKeys:
        """The four secrets in the clear, for signing and nothing else.

        Raises:
            SignInRequired: There is no access token.
        """
        if self.access_token is None or self.access_token_secret is None:
            raise SignInRequired("Nobody is signed in with these credentials.")
        token, secret = self.access_token.get_secret_value(), self.access_token_secret.get_secret_value()
        return replace(self.consumer_keys, token=token, token_secret=secret)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify this token and reveal nothing about it.

        The secrets are the key of the digest, so nobody can compute it from the consumer key and the token.

        Raises:
            SignInRequired: There is no access token.
        """
        keys = self.signing_keys
        secret = f"{keys.consumer_secret}&{keys.token_secret}".encode()
        public = f"{self.oauth_base_url} {keys.consumer_key} {keys.token}".encode()
        return hmac.new(secret, public, hashlib.sha256).hexdigest()[:16]

    def expires_at(self, now: datetime) -> datetime:
        """The midnight US Eastern that ends the session.

        If the time of the sign-in is unknown, a token that is good `now` must be from today. If the time is
        in the future, the session still ends today.

        Raises:
            ValueError: `now` is naive.
        """
        today_ends = midnight_after(now)
        return min(midnight_after(self.signed_in_at), today_ends) if self.signed_in_at else today_ends

    def get_client(self) -> httpx.Client:
        """A client for E*TRADE's API that signs every request. Close it after use.

        It uses the environment's proxies, but not for loopback addresses. It trusts the CAs of
        `SSL_CERT_FILE` and `ETRADE_CA_FILE`. It keeps what it sends and receives out of the HTTP libraries'
        logs. A request to a host other than E*TRADE's or the API address's raises `AddressRefused`. Redirects
        are returned, never followed.

        Raises:
            SignInRequired: There is no access token.
            CredentialsInvalid: A setting for TLS cannot be used.
        """
        return SignedClient(**self._client_options())

    def get_async_client(self) -> httpx.AsyncClient:
        """The same client as `get_client`, for async code."""
        return SignedAsyncClient(**self._client_options())

    def _client_options(self) -> dict[str, Any]:
        return {
            "auth": ETradeAuth(self.signing_keys, api_url=self.api_base_url),
            "base_url": self.api_base_url,
            "headers": {"Accept": "application/json"},
            **client_options(self.api_base_url),
        }


class _EnvironmentCredentials(BaseSettings):
    """The values of the `ETRADE_*` variables. All are optional, so that an error can name missing ones."""

    model_config = SettingsConfigDict(env_prefix="ETRADE_", env_ignore_empty=True)

    environment: str | None = None
    consumer_key: SecretStr | None = None
    consumer_secret: SecretStr | None = None
    access_token: SecretStr | None = None
    access_token_secret: SecretStr | None = None
    signed_in_at: str | None = None
    consumer_key_issued_on: str | None = None
    oauth_url: str | None = None
    api_url: str | None = None


ENVIRONMENT_VARIABLES = tuple(map(variable, _EnvironmentCredentials.model_fields))
"""The variables that can replace a block."""

_REQUIRED = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")


def credentials_from_environment() -> ETradeCredentials | None:
    """The credentials in the `ETRADE_*` variables; None if they hold no key and no token.

    Raises:
        CredentialsInvalid: Some are set and others are missing or malformed; names the variables.
    """
    found = _EnvironmentCredentials().model_dump(exclude_none=True)
    missing = [variable(name) for name in _REQUIRED if name not in found]
    if len(missing) == len(_REQUIRED):
        return None
    if missing:
        raise CredentialsInvalid(
            f"The environment holds some of the E*TRADE credentials, but not {', '.join(missing)}.",
            advice="set the missing variables, or unset the others; `etrade-session login` needs only the "
            "consumer key and its secret, and creates a block.",
        )
    # A sign-in never writes variables, so a token in one was pasted, even if it has a time.
    if encoded := _encoded_parts(found):
        named = " and ".join(map(variable, encoded))
        raise CredentialsInvalid(f"The environment's credentials are not usable: {named} {STILL_ENCODED}.")
    try:
        return ETradeCredentials(**found)
    except ValidationError as error:
        problems = named_problems(error, variable)
    raise CredentialsInvalid(f"The environment's credentials are not usable: {problems}.")


def environment_of(credentials: ETradeCredentials) -> dict[str, str]:
    """The `ETRADE_*` variables that hold these credentials, with secrets as plain text.

    A program with these variables loads the same credentials. Unknown values are left out.
    """
    values = credentials.model_dump(
        mode="json", include=set(_EnvironmentCredentials.model_fields), context={"include_secrets": True}
    )
    return {variable(name): value for name, value in values.items() if value}


def _encoded_parts(values: Mapping[str, Any]) -> list[str]:
    """The parts of the token that look as if they were pasted without decoding."""
    return [name for name in ("access_token", "access_token_secret") if is_percent_encoded(values.get(name))]
