"""The names by which Prefect knows our flows and their runs."""

from __future__ import annotations

RENEWAL = "renew-access-token"
SIGN_IN = "sign-in"
SIGN_OUT = "sign-out"


def renewal_run(credentials: str) -> str:
    """What a run of `renew-access-token` is called once it has begun."""
    return f"renew {credentials}"


def sign_in_run(credentials: str) -> str:
    """What a run of `sign-in` is called once it has begun."""
    return f"sign in {credentials}"


def sign_out_run(credentials: str) -> str:
    """What a run of `sign-out` is called once it has begun."""
    return f"sign out {credentials}"
