"""Whether the doctor finds results and locks that cannot be kept, or that machines do not share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prefect.filesystems import LocalFileSystem
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.health.place import Place, Server
from etrade_flows.health.storage import check_locks, check_result_storage, check_sharing

from .expecting import expect

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def facts() -> Facts:
    """Facts of credentials that no check here looks at."""
    return Facts("nobody")


@pytest.fixture
def unusable(tmp_path: Path) -> Path:
    """A folder that nobody can make, not even root, because a file is in the way."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder"


def test_result_is_written_read_and_deleted(facts: Facts, tmp_path: Path) -> None:
    """A record is written to Prefect's result storage and read back, and no file is left behind."""
    storage = tmp_path / "results"
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        expect(check_result_storage(facts), Health.OK)
    assert storage.exists()
    assert [] == [path for path in storage.rglob("*") if path.is_file()]


def test_unwritable_result_storage_is_a_problem(facts: Facts, unusable: Path) -> None:
    """A folder that cannot be written is a problem, named by its setting and not by its path."""
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: unusable}):
        finding = check_result_storage(facts)
    expect(finding, Health.PROBLEM, remedy="PREFECT_LOCAL_STORAGE_PATH")
    assert str(unusable) not in finding.says + finding.remedy


def test_missing_storage_block_is_a_problem(facts: Facts) -> None:
    """A storage block that does not exist is a problem, and the check of what is shared is skipped."""
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/nobody-made-it"}):
        finding = check_result_storage(facts)
        for place in (Place.HERE, Place.ELSEWHERE):
            facts.server = Server(place)
            with pytest.raises(SkipCheck):
                check_sharing(facts)
    expect(finding, Health.PROBLEM, remedy="PREFECT_DEFAULT_RESULT_STORAGE_BLOCK")


def test_locks_in_files_are_tried(
    facts: Facts, tmp_path: Path, unusable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check takes and frees a lock in the folder that is set; a folder it cannot make is a problem."""
    monkeypatch.setenv("ETRADE_LOCK_DIRECTORY", str(tmp_path / "locks"))
    expect(check_locks(facts), Health.OK)
    assert (tmp_path / "locks").is_dir()
    monkeypatch.setenv("ETRADE_LOCK_DIRECTORY", str(unusable))
    expect(check_locks(Facts("nobody")), Health.PROBLEM, remedy="ETRADE_LOCK_DIRECTORY")


def test_locks_in_redis_are_tried(facts: Facts, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a Redis server is set, the check takes and frees its lock there."""
    monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", redis_url)
    expect(check_locks(facts), Health.OK, says="Redis")


def test_unreachable_redis_is_a_problem(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that does not answer is a problem, shown without its address and password."""
    monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "redis://:fake-canary@127.0.0.1:9/0")
    finding = check_locks(facts)
    expect(finding, Health.PROBLEM, says="ConnectionError", remedy="ETRADE_LOCK_REDIS_URL")
    assert "fake-canary" not in finding.says + finding.remedy


def test_missing_redis_package_is_named(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra for Redis, the remedy is the command that installs it."""
    monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    assert "pip install 'prefect-etrade[redis]'" == check_locks(facts).remedy


def test_files_beside_a_distant_server_are_a_warning(facts: Facts) -> None:
    """Local files are a warning with two remedies if other machines may use the server, and else are ok."""
    expect(check_sharing(facts), Health.OK, says="the same Prefect home")
    for place in (Place.CLOUD, Place.ELSEWHERE):
        facts.server = Server(place)
        finding = check_sharing(facts)
        expect(finding, Health.WARNING, remedy="PREFECT_DEFAULT_RESULT_STORAGE_BLOCK")
        assert "ETRADE_LOCK_REDIS_URL" in finding.remedy


def test_shared_storage_and_locks_are_ok(
    facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several machines need both a storage block and a Redis server; each alone is only half of it."""
    facts.server = Server(Place.ELSEWHERE)
    LocalFileSystem(basepath=str(tmp_path / "shared")).save("doctor-shared", overwrite=True)
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/doctor-shared"}):
        half = check_sharing(facts)
        monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "redis://127.0.0.1:9/0")
        other = Facts("nobody")
        other.server = facts.server
        whole = check_sharing(other)
        written = check_result_storage(other)
    assert (Health.WARNING, False) == (half.verdict, "RESULT_STORAGE" in half.remedy)
    assert (Health.OK, Health.OK) == (whole.verdict, written.verdict)
    assert "a storage block" in written.says
