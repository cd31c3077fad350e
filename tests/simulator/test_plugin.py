"""The pytest plug-in, as a user's own test run sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

import etrade_simulator
from etrade_simulator import AccessToken

pytestmark = pytest.mark.starts_programs

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


TESTS_OF_ONE_NAME = """
from concurrent.futures import ThreadPoolExecutor

import pytest
from etrade_flows import active_session, etrade_client
from etrade_tasks import ETradeCredentials

LIST = "/v1/accounts/list.json"


def call(simulator):
    with etrade_client("etrade") as client:
        assert client.get(LIST).status_code == 200
    assert [200] == [call.status for call in simulator.calls("/oauth/renew_access_token")]


def test_by_the_variables(etrade_environment, etrade_simulator):
    call(etrade_simulator)


def test_by_a_block(etrade_session, etrade_simulator):
    ETradeCredentials(
        consumer_key=etrade_session.consumer_key,
        consumer_secret=etrade_session.consumer_secret,
        access_token=etrade_session.token,
        access_token_secret=etrade_session.token_secret,
        oauth_url=etrade_simulator.oauth_url,
        api_url=etrade_simulator.api_url("live"),
    ).save("etrade", overwrite=True)
    call(etrade_simulator)


def test_by_the_variables_again_and_in_a_thread(etrade_environment, etrade_simulator):
    with ThreadPoolExecutor(1) as threads:
        threads.submit(call, etrade_simulator).result()
    assert not active_session("etrade").attempts
"""


def test_a_run_without_a_simulator_does_not_pay_for_one(run_python: Callable[..., str]) -> None:
    """Importing the plug-in imports neither the server's libraries nor Prefect."""
    program = (
        "import sys, etrade_simulator.testing;"
        "print(sorted({'starlette', 'uvicorn', 'oauthlib', 'prefect', 'etrade_flows'} & set(sys.modules)))"
    )
    assert "[]" == run_python("-c", program).strip()


def test_the_package_lists_what_it_offers() -> None:
    """The package lists all of its public names, and a mistyped one is an AttributeError."""
    assert [] == [name for name in etrade_simulator.__all__ if not hasattr(etrade_simulator, name)]
    assert set(etrade_simulator.__all__) <= set(dir(etrade_simulator))
    assert not hasattr(etrade_simulator, "Simulater")


@pytest.fixture
def developer_s_prefect(
    prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a developer whose real Prefect server has the block ``etrade``."""
    from prefect.settings import get_current_settings

    from etrade_tasks import ETradeCredentials

    real = ETradeCredentials(
        consumer_key="fake-key-of-the-developer",
        consumer_secret="fake-secret-of-the-developer",
        access_token="fake-token-of-the-developer",
        access_token_secret="fake-token-secret-of-the-developer",
        oauth_url="http://127.0.0.1:9",
        api_url="http://127.0.0.1:9",
    )
    real.save("etrade", overwrite=True)
    yield {
        "PREFECT_API_URL": get_current_settings().api.url,
        "PREFECT_HOME": str(tmp_path_factory.mktemp("home")),
        "ETRADE_LOCK_REDIS_URL": "redis://127.0.0.1:9",
    }
    found = ETradeCredentials.load("etrade")
    assert real.fingerprint == found.fingerprint
    ETradeCredentials.delete("etrade")


@pytest.mark.usefixtures("users_conftest")
def test_users_tests_see_no_other_session_and_no_real_block(
    tmp_path: Path,
    developer_s_prefect: dict[str, str],
    database: Callable[[], str],
    run_python: Callable[..., str],
) -> None:
    """With the plug-in, tests pass without a warning, share no session and touch no real server or block."""
    (tmp_path / "test_fixtures.py").write_text(USERS_TESTS)
    (tmp_path / "test_one_name.py").write_text(TESTS_OF_ONE_NAME)
    before = kept(database())
    command = ("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert "7 passed" in run_python(*command, cwd=tmp_path, **developer_s_prefect)
    assert before == kept(database())
    home = Path(developer_s_prefect["PREFECT_HOME"])
    assert [] == [path for path in home.rglob("*") if "etrade" in path.name]


def kept(dump: str) -> list[str]:
    """The server's blocks and runs, without its events, which may arrive late."""
    rows = re.compile(r'INSERT INTO "(block_document|flow|flow_run|task_run|artifact|log|variable)" ')
    return [line for line in dump.splitlines() if rows.match(line)]


def test_a_suite_inside_a_harness_keeps_it(harness_url: str, etrade_environment: AccessToken) -> None:
    """If Prefect's own test harness runs already, as it does here, no second server is started."""
    assert harness_url == PREFECT_API_URL.value()


@pytest.fixture
def harness_url(prefect_server: None) -> str:
    """The address of this test run's own Prefect server."""
    return PREFECT_API_URL.value()
