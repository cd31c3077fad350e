"""What a person may tune, and how a mistake in it is told."""

from __future__ import annotations

import pytest

from etrade_tasks.errors import CredentialsInvalid
from etrade_tasks.settings import RenewalSettings, renewal_settings

MALFORMED = {
    "reuse_window": "PT9H",
    "deadline": "-1",
    "first_backoff": "soon",
    "sign_in_by": "fake-canary",
    "expiring_before": "nan",
    "lock_directory": "",
    "lock_redis_url": "",
}
"""A value for each that cannot be used; empty where every text can."""


@pytest.mark.parametrize("name", [name for name, value in MALFORMED.items() if value])
def test_malformed_setting_is_an_error_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that cannot be used is named, without its value, with what to do."""
    monkeypatch.setenv(f"ETRADE_{name.upper()}", MALFORMED[name])
    with pytest.raises(CredentialsInvalid, match=f"ETRADE_{name.upper()}: ") as refused:
        renewal_settings()
    assert "canary" not in str(refused.value)
    assert "correct the variable, or unset it." == refused.value.advice
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_each_setting_is_looked_at() -> None:
    """The mistakes above are one for each setting."""
    assert sorted(RenewalSettings.model_fields) == sorted(MALFORMED)


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several malformed variables each is named."""
    monkeypatch.setenv("ETRADE_DEADLINE", "soon")
    monkeypatch.setenv("ETRADE_SIGN_IN_BY", "early")
    with pytest.raises(CredentialsInvalid, match=r"ETRADE_DEADLINE: .*; ETRADE_SIGN_IN_BY: "):
        renewal_settings()
