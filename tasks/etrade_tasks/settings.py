"""What a person may tune, read from `ETRADE_*` environment variables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

from prefect.settings import get_current_settings
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from etrade_tasks.errors import CredentialsInvalid
from etrade_tasks.inputs import refuse_quotes
from etrade_tasks.session import IDLE_LIMIT, REUSE_WINDOW


def _default_lock_directory() -> Path:
    return get_current_settings().home / "etrade-locks"


def _seconds_if_number(value: object) -> object:
    # pydantic takes a number for seconds, and refuses the same number as the text that a variable holds.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Settings = TypeVar("Settings", bound=BaseSettings)

Span = Annotated[timedelta, BeforeValidator(_seconds_if_number)]
"""A length of time, in seconds or as an ISO 8601 duration (`PT50M`)."""


class TlsSettings(BaseSettings):
    """Whom calls to E*TRADE trust, and by which ciphers they are made. Nothing turns verification off."""

    model_config = SettingsConfigDict(
        env_prefix="ETRADE_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    ca_file: Path | None = Field(
        default=None,
        description="A file of CA certificates (PEM) to trust besides the usual ones, such as your proxy's.",
    )
    tls_ciphers: str | None = Field(
        default=None,
        description="Ciphers to offer, as `openssl ciphers` names them, for a host that knows old ones only.",
    )
    tls_legacy_renegotiation: bool = Field(
        default=False,
        description="Whether a host without secure renegotiation (RFC 5746) is served.",
    )


class RenewalSettings(TlsSettings):
    """How long a renewal answers for the next ones, how long it may take, and where processes meet.

    Spans are given in seconds or as ISO 8601 durations (`PT50M`).
    """

    reuse_window: Span = Field(
        default=REUSE_WINDOW, description="How long one renewal answers for the next ones."
    )
    deadline: Span = Field(
        default=timedelta(seconds=60),
        gt=timedelta(0),
        description="The longest that one renewal may take, waiting for others and all attempts included.",
    )
    first_backoff: Span = Field(
        default=timedelta(seconds=1),
        ge=timedelta(0),
        description="The wait before the second attempt, on average; it doubles each time.",
    )
    sign_in_by: time = Field(
        default=time(0),
        description="Before this time US Eastern a scheduled run never alerts that a sign-in is due.",
    )
    expiring_before: Span = Field(
        default=timedelta(hours=2),
        ge=timedelta(0),
        description="How long before midnight US Eastern a renewed session counts as expiring; 0 for never.",
    )
    lock_directory: Path = Field(
        default_factory=_default_lock_directory,
        description="Where the processes of one machine keep their lock files.",
    )
    lock_redis_url: SecretStr | None = Field(
        default=None,
        description="A Redis server where the processes of several machines keep their locks instead.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _unquoted(cls, value: object) -> object:
        return refuse_quotes(value)  # a path with a quotation mark in it would be made without a word

    @field_validator("reuse_window")
    @classmethod
    def _within_the_idle_limit(cls, value: timedelta) -> timedelta:
        if not timedelta(0) < value < IDLE_LIMIT:
            raise ValueError("must be more than zero and less than the idle limit of two hours")
        return value

    @field_validator("lock_directory")
    @classmethod
    def _in_the_home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("sign_in_by")
    @classmethod
    def _without_a_zone(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("is US Eastern; give it without a time zone")
        return value


def renewal_settings() -> RenewalSettings:
    """What the environment says now.

    Raises:
        CredentialsInvalid: A variable is malformed; names it and not its value.
    """
    return _read(RenewalSettings)


def tls_settings() -> TlsSettings:
    """What the environment says of TLS now, whatever it says of the rest.

    Raises:
        CredentialsInvalid: A variable is malformed; names it and not its value.
    """
    return _read(TlsSettings)


def _read(kind: type[Settings]) -> Settings:
    try:
        return kind()
    except ValidationError as error:
        problems = named_variables(error)
    raise CredentialsInvalid(
        f"A setting cannot be used: {problems}.", advice="correct the variable, or unset it."
    )


def named_variables(error: ValidationError) -> str:
    """All problems of `ETRADE_*` variables as one text, each as `the variable: what is wrong`."""
    return "; ".join(f"ETRADE_{problem}" for problem in named_problems(error, str.upper))


def named_problems(error: ValidationError, spell: Callable[[str], str] = str) -> list[str]:
    """Each problem as `field: what is wrong`, never with the value.

    Args:
        error: What pydantic found.
        spell: How a field's name is written.
    """
    return [
        f"{spell(str(problem['loc'][0])) if problem['loc'] else 'the whole'}: "
        f"{problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    ]
