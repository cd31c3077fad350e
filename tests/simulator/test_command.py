"""The simulator as a command."""

import re
import signal
import subprocess
import sys

import pytest
import requests

pytestmark = pytest.mark.starts_programs

COMMAND = [sys.executable, "-m", "etrade_flows.cli.app", "simulator", "--port", "0"]


@pytest.mark.parametrize(
    ("arguments", "clock_status", "end"), [([], 404, signal.SIGINT), (["--control"], 200, signal.SIGTERM)]
)
def test_the_command_serves_until_it_is_told_to_end(
    arguments: list[str], clock_status: int, end: signal.Signals
) -> None:
    """It prints its address and two worthless consumers, has control routes if asked to, and ends cleanly."""
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            printed = "".join(process.stdout.readline() for _ in range(9))
            url = re.search(r"http://127\.0\.0\.1:\d+", printed)[0]
            assert (True, True) == (f"{url}/oauth\n" in printed, f"{url}/sandbox\n" in printed)
            assert "worthless elsewhere" in printed
            assert [2, 2] == [len(re.findall(rf"\b[0-9a-f]{{{size}}}\b", printed)) for size in (32, 64)]
            with requests.get(f"{url}/_control/clock", timeout=5) as answer:
                assert clock_status == answer.status_code
            process.send_signal(end)
            _, complaint = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (0, "") == (process.returncode, complaint)
