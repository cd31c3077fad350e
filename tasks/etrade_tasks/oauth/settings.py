"""How calls to E*TRADE are made: the `ETRADE_*` variables that `inputs.read_variables` reads."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from etrade_tasks.inputs import InHome, Span, refuse_quotes


class TlsSettings(BaseSettings):
    """Trusted CAs and ciphers for calls to E*TRADE. Nothing turns verification off.

    Reading only these does not fail if another variable is malformed.
    """

    model_config = SettingsConfigDict(
        env_prefix="ETRADE_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    ca_file: InHome | None = Field(
        default=None,
        description="A file of CA certificates (PEM) to trust besides the usual ones, such as your proxy's.",
    )
    tls_ciphers: str | None = Field(
        default=None,
        description="Ciphers to offer, as `openssl ciphers` names them, for a host that has only old ones.",
    )
    tls_legacy_renegotiation: bool = Field(
        default=False,
        description="Whether to connect to a host without secure renegotiation (RFC 5746).",
    )

    # A path with a quotation mark would be created silently.
    _unquoted = field_validator("*", mode="before")(refuse_quotes)


class CallSettings(TlsSettings):
    """The TLS settings, and how soon a failed call is tried again."""

    first_backoff: Span = Field(
        default=timedelta(seconds=1),
        ge=timedelta(0),
        description="The wait before the second attempt, on average; it doubles each time.",
    )
