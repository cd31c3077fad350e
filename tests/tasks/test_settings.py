"""What `ETRADE_*` variables can set, and how a mistake is reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from etrade_tasks import CredentialsInvalid
from etrade_tasks.session import EASTERN
from etrade_tasks.settings import RenewalSettings, renewal_settings


def test_spans_are_seconds_or_iso_8601(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is read as seconds, and a duration as ISO 8601."""
    monkeypatch.setenv("ETRADE_DEADLINE", "90")
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "PT40M")
    settings = renewal_settings()
    assert (timedelta(seconds=90), timedelta(minutes=40)) == (settings.deadline, settings.reuse_window)


@pytest.mark.parametrize(
    ("days", "alerting"),
    [
        ("", "1111111"),
        ("mon-fri", "1111100"),
        ("Mon, WED,sun", "1010001"),
        ("sat-mon", "1000011"),
    ],
)
def test_people_are_alerted_on_the_days_that_need_a_session(
    monkeypatch: pytest.MonkeyPatch, days: str, alerting: str
) -> None:
    """Scheduled runs alert only on sign-in days and from the hour to sign in; both are Eastern."""
    monkeypatch.setenv("ETRADE_SIGN_IN_BY", "")
    monkeypatch.setenv("ETRADE_SIGN_IN_DAYS", days)
    settings, monday = renewal_settings(), datetime(2027, 6, 14, 7, tzinfo=EASTERN)
    week = [monday + timedelta(days=i) for i in range(7)]
    assert alerting == "".join(str(int(settings.alerts_at(each.astimezone(UTC)))) for each in week)
    assert not any(settings.alerts_at(each - timedelta(seconds=1)) for each in week)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("deadline", "90s-canary", ""),
        ("deadline", "0", ""),
        ("reuse_window", "PT2H", ""),
        ("first_backoff", "-1", ""),
        ("sign_in_by", "07:00+01:00", ""),
        ("expiring_before", "canary", ""),
        ("expiring_before", "-PT1H", ""),
        ("sign_in_days", "mon-canary", ""),
        *product(RenewalSettings.model_fields, ['"60"'], ["is in quotes"]),
    ],
)
def test_unusable_variable_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, field: str, value: str, reason: str
) -> None:
    """A malformed or quoted setting raises our own error, with the variable's name and not its value."""
    monkeypatch.setenv(f"ETRADE_{field.upper()}", value)
    with pytest.raises(CredentialsInvalid, match=f"ETRADE_{field.upper()}: {reason}") as told:
        renewal_settings()
    assert value not in told.value.message or value == "0"


def test_settings_are_read_once_while_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Settings are read again only if a variable, in capitals or not, or Prefect's home has changed."""
    first = renewal_settings()
    assert first is renewal_settings()
    with temporary_settings({PREFECT_HOME: tmp_path}):
        assert tmp_path / "etrade-locks" == renewal_settings().lock_directory
    monkeypatch.setenv("etrade_deadline", "90")
    assert timedelta(seconds=90) == renewal_settings().deadline
    monkeypatch.delenv("etrade_deadline")
    assert first == renewal_settings()
