"""Checks the result storage and the locks: whether they work, and whether machines share them."""

from __future__ import annotations

from uuid import uuid4

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, SkipCheck, ok, problem, warning
from etrade_flows.health.place import Place
from etrade_tasks.sharing.locks import locks_for, probe
from etrade_tasks.sharing.record import STORAGE_LIMIT, Block, Folder
from etrade_tasks.time_limit import within

PROBE = "etrade-session-doctor"
"""The key of the test record. If it cannot be deleted, the next test replaces it."""

_LOCAL_FOLDER = "the folder of PREFECT_LOCAL_STORAGE_PATH (`prefect config view --show-defaults`)"
_OPEN_RESULTS = (
    "check that the block of PREFECT_DEFAULT_RESULT_STORAGE_BLOCK (`prefect config view`) exists, and that "
    "the package of its type is installed."
)
_REACH_REDIS = (
    "check that the Redis server of ETRADE_LOCK_REDIS_URL runs, can be reached and accepts the password."
)
_WRITE_LOCKS = (
    "make the folder of ETRADE_LOCK_DIRECTORY (default: etrade-locks in the Prefect home) writable for "
    "this user."
)
_SHARE_RESULTS = (
    "create a storage block that all machines reach, and set PREFECT_DEFAULT_RESULT_STORAGE_BLOCK to it"
)
_SHARE_LOCKS = "set ETRADE_LOCK_REDIS_URL and pip install 'prefect-etrade[redis]'"


def check_result_storage(facts: Facts) -> Finding:
    """Whether the record of a renewal can be written and read back."""
    facts.require_server()
    try:
        store = facts.result_store
    except SkipCheck as unopened:
        return problem(unopened.says, _OPEN_RESULTS)
    local = not store.is_shared
    kept = "files on this machine" if local else "a storage block"
    try:
        _write_and_read_back(store)
    except Exception as error:  # noqa: BLE001  # every kind of storage fails in its own way
        whose = _LOCAL_FOLDER if local else "the storage block (Prefect UI > Blocks)"
        return problem(
            f"Renewals cannot be recorded: {kept} cannot be written ({type(error).__name__}).",
            f"make {whose} writable for this user.",
        )
    return ok(f"Renewals are recorded in {kept}, which can be written and read.")


def check_locks(facts: Facts) -> Finding:
    """Whether a lock can be taken and freed."""
    in_redis = facts.settings.lock_redis_url is not None
    kept = "Redis" if in_redis else "files on this machine"
    try:
        probe(locks_for(facts.settings))
    except ModuleNotFoundError:
        return problem(
            "ETRADE_LOCK_REDIS_URL is set, but the package redis is missing.",
            "pip install 'prefect-etrade[redis]'",
        )
    except Exception as error:  # noqa: BLE001  # the operating system and Redis fail in many ways
        remedy = _REACH_REDIS if in_redis else _WRITE_LOCKS
        return problem(f"Locks do not work in {kept} ({type(error).__name__}).", remedy)
    return ok(f"Locks are kept in {kept}, and a test lock was taken and freed.")


def check_sharing(facts: Facts) -> Finding:
    """Whether the machines that may renew share the same records and the same locks."""
    settings, store = facts.settings, facts.result_store
    if facts.server.place not in (Place.CLOUD, Place.ELSEWHERE):
        return ok(
            "The Prefect server is on this machine: processes with the same Prefect home and settings share "
            "results and locks; other users and containers have their own."
        )
    lacks = [("what was renewed", _SHARE_RESULTS)] if not store.is_shared else []
    lacks += [("who goes first", _SHARE_LOCKS)] if settings.lock_redis_url is None else []
    if not lacks:
        return ok("Results and locks are kept where several machines can share them.")
    return warning(
        f"Other machines may use the same Prefect server, and only the processes of this one share "
        f"{' and '.join(what for what, _ in lacks)}.",
        f"nothing, if only this machine renews; else {'; '.join(remedy for _, remedy in lacks)}.",
    )


def _write_and_read_back(store: Folder | Block) -> None:
    """Write a test record and read it back; leave nothing behind in a folder.

    Raises:
        Exception: Whatever the storage raises, and OSError if another record comes back, or none in time.
    """
    mark = uuid4().hex.encode()
    try:
        within(STORAGE_LIMIT, lambda: store.write(PROBE, mark))
        if within(STORAGE_LIMIT, lambda: store.read(PROBE)) != mark:
            raise OSError
    finally:
        store.delete(PROBE)
