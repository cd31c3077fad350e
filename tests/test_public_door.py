"""What users import: `prefect_etrade`, and nothing else."""

from __future__ import annotations

import inspect

from prefect import Flow, Task

import etrade_flows
import etrade_tasks
import prefect_etrade
from etrade_tasks import errors


def test_the_door_is_the_whole_surface() -> None:
    """The public names are all flows, tasks and errors, and what pipelines and sign-ins in code need."""
    public = vars(prefect_etrade).values()
    flows, tasks = ({each.name for each in public if isinstance(each, kind)} for kind in (Flow, Task))
    assert {"renew-access-token", "renew-fleet", "sign-in", "sign-out"} == flows
    assert {"load-credentials", "sign-request", "call-renew", "classify-response", "renew-session"} == tasks
    classes = inspect.getmembers(errors, inspect.isclass)
    kinds = {name for name, kind in classes if "errors" in kind.__module__}
    others = {
        *("ETradeCredentials", "ETradeAuth", "etrade_client", "etrade_async_client", "active_session"),
        *("TokenSession", "SessionState", "Outcome", "Verdict", "RenewalReply", "SignedRequest"),
        *("SignIn", "begin_sign_in", "complete_sign_in", "pause_key", "end_without_sign_in"),
        *("judge_answer", "__version__"),
    }
    of_prefect = {name.replace("-", "_") for name in flows | tasks}
    assert kinds | others | of_prefect == set(prefect_etrade.__all__)


def test_the_packages_behind_it_give_the_same() -> None:
    """Importing from the packages behind `prefect_etrade` gives the same flows, tasks and errors."""
    for package in (etrade_flows, etrade_tasks):
        assert [] == [
            name for name in package.__all__ if getattr(package, name) is not getattr(prefect_etrade, name)
        ]
