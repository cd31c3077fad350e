"""The first minute of somebody who has installed the package and has no Prefect server yet."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

pytestmark = pytest.mark.starts_programs

COMMAND = Path(sys.executable).with_name("etrade-session")
START = ("prefect server start", "prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api")

Run = Callable[..., int]


@pytest.fixture
def no_server() -> object:
    """Settings without a Prefect server."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


def shell_of_a_newcomer(home: Path) -> dict[str, str]:
    """The variables of somebody who has set nothing and is not in continuous integration."""
    left_out = ("PREFECT_", "ETRADE_", "CI", "GITHUB_", "DO_NOT_TRACK", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "COLUMNS": "80"}


def test_missing_server_is_reported_first(prefect_server: None, migrated: Path, tmp_path: Path) -> None:
    """Without a server a command says so first, then reports its own error, without a traceback."""
    (tmp_path / "prefect").mkdir()
    shutil.copy(migrated, tmp_path / "prefect" / "prefect.db")  # making the tables takes most of the time
    done = subprocess.run(
        [COMMAND, "status"],
        env=shell_of_a_newcomer(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = " ".join(done.stderr.split())
    assert (1, "") == (done.returncode, done.stdout)
    assert said.startswith("No Prefect server is set")
    assert said.index(START[0]) < said.index(START[1]) < said.index("CredentialsNotFound: ")
    assert "Traceback" not in said
    # The server's telemetry would leave a row, the client's a file.
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        assert [] == database.execute("select key from configuration where key like 'TELEMETRY%'").fetchall()
    assert [] == list((tmp_path / "prefect").glob(".sdk_telemetry*"))


@pytest.mark.usefixtures("no_server")
def test_serving_needs_a_server_that_stays(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """`serve` starts no temporary server, which would run nothing, and says how to start a lasting one."""
    assert 1 == run("serve")
    said = " ".join(capsys.readouterr().err.split())
    assert "PrefectUnavailable: No Prefect server is set" in said
    assert [] == [words for words in START if words not in said]
