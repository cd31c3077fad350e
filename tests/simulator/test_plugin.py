"""The pytest plug-in, as a user's own test run sees it."""

import subprocess
import sys
from pathlib import Path

USERS_TESTS = """
import os

from etrade_simulator import AccessToken, Simulator


def test_the_simulator_runs(etrade_simulator):
    assert isinstance(etrade_simulator, Simulator)
    assert etrade_simulator.url.startswith("http://127.0.0.1:")


def test_the_session_is_live_and_of_this_simulator(etrade_simulator, etrade_session):
    assert isinstance(etrade_session, AccessToken)
    assert etrade_session.consumer_key == etrade_simulator.consumer("live").key


def test_the_variables_lead_to_both(etrade_simulator, etrade_session, etrade_environment):
    assert etrade_environment is etrade_session
    assert os.environ["ETRADE_ACCESS_TOKEN"] == etrade_session.token
    assert os.environ["ETRADE_OAUTH_URL"] == etrade_simulator.oauth_url


def test_each_test_has_a_simulator_of_its_own(etrade_simulator):
    assert etrade_simulator.calls() == []
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a directory of its own."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_users_test_gets_the_fixtures_by_name(tmp_path: Path) -> None:
    """Installed is enough: no import, no configuration, and not a warning."""
    (tmp_path / "test_users.py").write_text(USERS_TESTS)
    done = run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert 0 == done.returncode


def test_pytest_lists_the_fixtures_with_what_they_give(tmp_path: Path) -> None:
    """``pytest --fixtures`` explains them all."""
    listed = run("-m", "pytest", "--fixtures", "-p", "no:cacheprovider", cwd=tmp_path).stdout
    assert "A running E*TRADE simulator of the test's own" in listed
    assert "A live access token, just signed in" in listed
    assert "variables of ``etrade_session``" in listed


def test_a_run_without_a_simulator_does_not_pay_for_one(tmp_path: Path) -> None:
    """Importing the plug-in imports neither Starlette nor uvicorn nor oauthlib."""
    program = (
        "import sys, etrade_simulator.testing;"
        "print(sorted({'starlette', 'uvicorn', 'oauthlib'} & set(sys.modules)))"
    )
    assert "[]" == run("-c", program, cwd=tmp_path).stdout.strip()


def test_the_package_lists_what_it_offers(tmp_path: Path) -> None:
    """The public names are all there, and a mistyped one is an AttributeError."""
    program = (
        "import etrade_simulator as package;"
        "print(all(hasattr(package, name) and name in dir(package) for name in package.__all__));"
        "print(hasattr(package, 'Simulater'))"
    )
    assert ["True", "False"] == run("-c", program, cwd=tmp_path).stdout.split()
