"""Which packages are installed, and which of them do not go together.

Reads what is installed and imports none of it, so that it can tell of a package that fails at import.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.version import Version

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, ok, problem, warning

DISTRIBUTION = "prefect-etrade"

_SHOWN = (DISTRIBUTION, "prefect", "fastapi", "sqlalchemy", "authlib", "httpx", "pydantic")
_CAUSES = {
    "fastapi": "Prefect before 3.9.1 answers 422 with it, or fails at import",
    "sqlalchemy": "the server of Prefect 3.8 schedules nothing with it",
}
_AUTHLIB_TAKES_HTTPX2 = Version("1.8")


def check_versions(_: Facts) -> Finding:
    """The versions installed, and those that this package cannot work with."""
    clashes = list(_clashes())
    if clashes:
        told = "; ".join(_told(requirement) for requirement in clashes)
        wanted = " ".join(f"'{requirement.name}{requirement.specifier}'" for requirement in clashes)
        return problem(f"These do not go together: {told}.", f"pip install {wanted}")
    shown = ", ".join(f"{name} {_installed(name) or 'missing'}" for name in _SHOWN)
    return ok(f"python {platform.python_version()}, {shown}.")


def check_httpx2(_: Facts) -> Finding:
    """Whether Authlib's own httpx integration would take httpx2 instead."""
    if find_spec("httpx2") is None:
        return ok("httpx2 is not installed.")
    authlib = _installed("authlib")
    if authlib is None or Version(authlib) < _AUTHLIB_TAKES_HTTPX2:
        return ok("httpx2 is installed, and this Authlib does not use it.")
    return warning(
        "httpx2 is installed, and `authlib.integrations.httpx_client` binds to it: with an httpx client "
        "its OAuth1Auth raises TypeError. This package does not use that module.",
        "if your own code does, sign by `ETradeCredentials.get_client()`, or pip uninstall httpx2",
    )


def _clashes() -> Iterator[Requirement]:
    """What this package requires and does not find."""
    for line in requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            yield requirement


def _told(requirement: Requirement) -> str:
    found = _installed(requirement.name)
    if found is None:
        return f"{requirement.name} is missing"
    cause = _CAUSES.get(requirement.name)
    return f"{requirement.name} {found} is not {requirement.specifier}" + (f" ({cause})" if cause else "")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
