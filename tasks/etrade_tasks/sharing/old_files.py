"""Removes old files, at a cost in proportion to the number of new ones."""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

KEPT = timedelta(days=2)
"""How long an unused file is kept: no token is used after its day."""

_counts: dict[tuple[Path, str], tuple[int, int]] = {}  # files made since the last look, and those it found


def remove_old(folder: Path, pattern: str) -> None:
    """Remove files that nobody has used for longer than `KEPT`. Call this before you create a file.

    A look takes time for each existing file. So this process looks before its first file, and again when it
    has made as many as it found last time. With thousands of tokens, each costs no more than with a few.

    Args:
        folder: Where the files are.
        pattern: A glob pattern for their names.
    """
    made, found = _counts.get((folder, pattern), (0, 0))
    if made < found:
        _counts[folder, pattern] = made + 1, found
        return
    oldest, found = time.time() - KEPT.total_seconds(), 0
    for path in folder.glob(pattern):
        found += 1
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
    _counts[folder, pattern] = 1, found
