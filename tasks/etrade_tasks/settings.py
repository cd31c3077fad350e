"""The package's settings, read from `ETRADE_*` environment variables."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from prefect.settings import get_current_settings
from pydantic import Field, SecretStr, field_validator

from etrade_tasks.inputs import EVERY_DAY, Days, InHome, Span, read_variables
from etrade_tasks.oauth.settings import CallSettings
from etrade_tasks.session import EASTERN, IDLE_LIMIT, REUSE_WINDOW


class RenewalSettings(CallSettings):
    """How long a renewal is reused, how long it may take, and where processes keep their locks.

    Spans are in seconds or ISO 8601 durations (`PT50M`).
    """

    reuse_window: Span = Field(
        default=REUSE_WINDOW, description="How long a renewal is reused instead of making another."
    )
    deadline: Span = Field(
        default=timedelta(seconds=60),
        gt=timedelta(0),
        description="The longest that one renewal may take, including waits and all attempts.",
    )
    sign_in_by: time = Field(
        default=time(7),
        description="Before this time US Eastern no scheduled run alerts that a sign-in is due.",
    )
    sign_in_days: Days = Field(
        default=EVERY_DAY,
        description="The days that need a session, such as `mon-fri` or `mon,wed`. On other days no "
        "scheduled run alerts that a sign-in is due.",
    )
    expiring_before: Span = Field(
        default=timedelta(0),
        ge=timedelta(0),
        description="How long before midnight US Eastern a renewed session counts as expiring; 0 for never.",
    )
    lock_directory: InHome = Field(
        default_factory=lambda: get_current_settings().home / "etrade-locks",
        description="Where the processes of one machine keep their lock files.",
    )
    lock_redis_url: SecretStr | None = Field(
        default=None,
        description="A Redis server where the processes of several machines keep their locks instead.",
    )

    def alerts_at(self, moment: datetime) -> bool:
        """Whether a scheduled run alerts at that moment that a sign-in is due."""
        eastern = moment.astimezone(EASTERN)
        return eastern.weekday() in self.sign_in_days and eastern.time() >= self.sign_in_by

    @field_validator("reuse_window")
    @classmethod
    def _within_the_idle_limit(cls, value: timedelta) -> timedelta:
        if not timedelta(0) < value < IDLE_LIMIT:
            raise ValueError("must be more than zero and less than the idle limit of two hours")
        return value

    @field_validator("sign_in_by")
    @classmethod
    def _without_a_zone(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("is US Eastern; give it without a time zone")
        return value


def renewal_settings() -> RenewalSettings:
    """The settings as the environment variables set them now.

    Raises:
        CredentialsInvalid: A variable is malformed; names it and not its value.
    """
    return read_variables(RenewalSettings, get_current_settings().home)
