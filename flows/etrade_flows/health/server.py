"""Checks what is installed and set here, the Prefect server, and what it knows about this package.

It reads the packages' versions without importing them, so that it can report one that fails at import.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

import prefect
from packaging.requirements import Requirement
from packaging.version import Version
from prefect.exceptions import ObjectNotFound

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, ok, problem, warning
from etrade_flows.health.model import Source
from etrade_flows.health.place import Place
from etrade_flows.runs.server import START_SERVER, TEMPORARY_SERVER
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import CredentialsInvalid, ETradeError
from etrade_tasks.inputs import variable
from etrade_tasks.settings import renewal_settings

DISTRIBUTION = "prefect-etrade"

_SHOWN = (DISTRIBUTION, "prefect", "fastapi", "sqlalchemy", "authlib", "httpx", "pydantic")
_CAUSES = {
    "fastapi": "Prefect before 3.9.1 answers 422 with it, or fails at import",
    "sqlalchemy": "the server of Prefect 3.8 schedules nothing with it",
}
_AUTHLIB_TAKES_HTTPX2 = Version("1.8")
_UNREACHED = {
    Place.CLOUD: "check this machine's network, and `prefect config view` for PREFECT_API_URL.",
    Place.HERE: "run `prefect server start` (with --background it ends at its first log line), or set its "
    "port with `prefect config set PREFECT_API_URL=`.",
    Place.ELSEWHERE: "check that it runs and can be reached, and `prefect config view` for PREFECT_API_URL.",
    Place.TEMPORARY: "fix `versions` first; else run `prefect server start`, which shows why it fails.",
}
_REFUSED = "set PREFECT_API_AUTH_STRING to the server's own user:password."
_REFUSED_BY_CLOUD = "run `prefect cloud login`."
_REGISTER = "prefect block register -m etrade_tasks"


def check_versions(_: Facts) -> Finding:
    """The installed versions, and those that this package cannot work with."""
    clashes = list(_clashes())
    if clashes:
        named = "; ".join(_in_words(requirement) for requirement in clashes)
        wanted = " ".join(f"'{requirement.name}{requirement.specifier}'" for requirement in clashes)
        return problem(f"These do not work together: {named}.", f"pip install {wanted}")
    shown = ", ".join(f"{name} {_installed(name) or 'missing'}" for name in _SHOWN)
    return ok(f"python {platform.python_version()}, {shown}.")


def check_httpx2(_: Facts) -> Finding:
    """Whether Authlib's own httpx integration would take httpx2 instead."""
    if find_spec("httpx2") is None:
        return ok("httpx2 is not installed, so nothing uses it instead of httpx.")
    authlib = _installed("authlib")
    if authlib is None or Version(authlib) < _AUTHLIB_TAKES_HTTPX2:
        return ok("httpx2 is installed, and this Authlib does not use it.")
    return warning(
        "httpx2 is installed, and `authlib.integrations.httpx_client` binds to it: with an httpx client "
        "its OAuth1Auth raises TypeError. This package does not use that module.",
        "if your own code uses it, sign with `ETradeCredentials.get_client()`, or pip uninstall httpx2",
    )


def check_server(facts: Facts) -> Finding:
    """Which server is used, and whether it answers."""
    server = facts.server
    place = server.place
    if place is Place.NOWHERE:
        return problem("No Prefect server is set, and none may be started temporarily.", START_SERVER)
    if server.refused:
        remedy = _REFUSED_BY_CLOUD if place is Place.CLOUD else _REFUSED
        return problem(_sentence(f"{place} refuses this machine ({server.failure})."), remedy)
    if server.failure is not None:
        remedy = server.remedy or _UNREACHED[place]
        return problem(_sentence(f"{place} does not answer ({server.failure})."), remedy)
    if place is Place.TEMPORARY:
        return warning(TEMPORARY_SERVER, START_SERVER)
    return ok(_sentence(f"{place} answers."))


def check_server_version(facts: Facts) -> Finding:
    """Whether the versions of server and client work together."""
    with facts.client() as client:
        if facts.server.place is Place.CLOUD:
            return ok("Prefect Cloud serves every version.")
        return compare(client.api_version(), prefect.__version__)


def compare(server: str, client: str) -> Finding:
    """Whether a server of one version serves a client of another, as Prefect itself judges it."""
    if Version(server).major != Version(client).major:
        return problem(
            f"The server is Prefect {server}, but this machine has {client}: flows do not start.",
            f"pip install 'prefect=={server}' here, or upgrade the server to {client}.",
        )
    if Version(server) < Version(client):
        return warning(
            f"The server is Prefect {server}, older than the {client} of this machine.",
            f"upgrade the server: pip install 'prefect=={client}' where it runs, and restart it.",
        )
    return ok(f"The server is Prefect {server}, and this machine has {client}.")


def check_block_type(facts: Facts) -> Finding:
    """Whether the server knows the block type, with the fields of the version installed here."""
    slug = ETradeCredentials.get_block_type_slug()
    checksum = ETradeCredentials._calculate_schema_checksum()  # noqa: SLF001  # Prefect registers with it
    with facts.client() as client:
        try:
            client.read_block_type_by_slug(slug)
        except ObjectNotFound:
            return problem(f"The server does not know the block type {slug}.", _REGISTER)
        try:
            client.read_block_schema_by_checksum(checksum)
        except ObjectNotFound:
            return warning(f"The server knows the fields of {slug} from another version.", _REGISTER)
    return ok(f"The block type {slug} is registered, with the fields of this version.")


def check_credentials(facts: Facts) -> Finding:
    """Whether there are credentials of that name, and every field is well formed."""
    credentials, source = facts.stored
    if isinstance(credentials, ETradeError):
        return problem(credentials.message, credentials.advice)
    held = f"a {credentials.environment} key, well formed."
    if source is Source.BLOCK:
        return ok(f"The block {facts.name!r} holds {held}")
    return ok(f"The ETRADE_* variables, used instead of a block, hold {held}")


def check_settings(_: Facts) -> Finding:
    """Whether the `ETRADE_*` variables that tune a renewal can be read."""
    try:
        changed = sorted(renewal_settings().model_fields_set)
    except CredentialsInvalid as error:
        return problem(error.message, error.advice)
    named = ", ".join(map(variable, changed))
    return ok(f"Set here: {named}." if changed else "All ETRADE_* settings are at their defaults.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _clashes() -> Iterator[Requirement]:
    """The requirements of this package that are not met."""
    for line in requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            yield requirement


def _in_words(requirement: Requirement) -> str:
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
