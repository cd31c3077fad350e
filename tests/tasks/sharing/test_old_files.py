"""Files of days ago are removed, and looking for them stays cheap."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from etrade_tasks.sharing.old_files import remove_old

DAY = timedelta(days=1)


def test_looking_takes_no_more_for_each_of_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that makes many files looks at each only a few times."""
    seen, glob = [0], Path.glob

    def counted(self: Path, pattern: str) -> Iterator[Path]:
        for path in glob(self, pattern):
            seen[0] += 1
            yield path

    monkeypatch.setattr(Path, "glob", counted)
    for number in range(1_000):
        remove_old(tmp_path, "*.lock", DAY)
        (tmp_path / f"{number}.lock").touch()
    assert 0 < seen[0] <= 3_000


def test_what_others_left_goes_at_the_first_look(tmp_path: Path) -> None:
    """A process removes the old files of this kind at its first look, and nothing else."""
    for name, age in (("old.lock", 2), ("young.lock", 0), ("old.txt", 2)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age * DAY.total_seconds(),) * 2)
    remove_old(tmp_path, "*.lock", DAY)
    assert {"young.lock", "old.txt"} == {path.name for path in tmp_path.iterdir()}
