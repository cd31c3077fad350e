"""Takes away the files of days ago, in time that stays in proportion to how many are made."""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

_counts: dict[tuple[Path, str], tuple[int, int]] = {}  # files made since the last look, and found by it


def remove_old(folder: Path, pattern: str, kept: timedelta) -> None:
    """Remove what nobody has used for longer than `kept`; call it before a file is made.

    A look takes time for each file that is there. So this process looks before its first file, and again
    each time it has made as many as it found: thousands of tokens cost each no more than a few.

    Args:
        folder: Where the files are.
        pattern: What their names look like.
        kept: How long they are kept.
    """
    made, found = _counts.get((folder, pattern), (0, 0))
    if made < found:
        _counts[folder, pattern] = made + 1, found
        return
    oldest, found = time.time() - kept.total_seconds(), 0
    for path in folder.glob(pattern):
        found += 1
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
    _counts[folder, pattern] = 1, found
