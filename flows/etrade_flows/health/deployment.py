"""Checks what renews on a schedule and what a sign-in needs: deployments, workers, schedules, alerts.

No renewal depends on the sign-in in the UI or on the alerts, so a fault in those is only a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import DeploymentSchedule, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, Health, SkipCheck, ok, problem, warning
from etrade_flows.health.schedule import days_to_look_at, judge_gap, worst_gap
from etrade_flows.news.automations import NOTIFIERS
from etrade_flows.runs.names import RENEWAL, SIGN_IN, meant
from etrade_tasks.clock import now

_INSTALL = (
    "create a notification block (Prefect UI > Blocks), and run `etrade-session alerts --notify TYPE/NAME`."
)


def _ways_to_deploy(credentials: str) -> str:
    """Both ways to deploy for the credentials of that name, as the end of the sentence "run ..."."""
    return f"`prefect --no-prompt deploy --all` in the checkout, or {_serve(credentials)}"


def _serve(credentials: str) -> str:
    return f"`etrade-session serve --credentials {credentials}`"


def check_deployment(facts: Facts) -> Finding:
    """Whether a deployment renews these credentials on a schedule."""
    facts.require_lasting_server()
    if not facts.deployments:
        return problem(f"The flow {RENEWAL} is not deployed.", f"run {_ways_to_deploy(facts.name)}.")
    theirs = [each for each in facts.deployments if _schedules(each, facts.name)]
    if not theirs:
        return problem(
            f"No deployment of {RENEWAL} has a schedule for {facts.name!r}.",
            f"run {_serve(facts.name)}, which does not change other accounts; or give {facts.name!r} its own "
            "`hourly` in prefect.yaml, and run `prefect --no-prompt deploy --all`.",
        )
    if active := _active_deployments(facts):
        return ok(f"Renewed on a schedule: {', '.join(map(_label, active))}.")
    label = _label(theirs[0])
    what = "The deployment" if theirs[0].paused else "Every schedule of"
    return problem(
        f"{what} {label} is paused.", f"switch it on in the Prefect UI (Deployments > {label} > Schedules)."
    )


def check_worker(facts: Facts) -> Finding:
    """Whether a live worker or process runs each deployment that renews on a schedule."""
    deployments = _require_active(facts)
    with facts.client() as client:
        for deployment in deployments:
            if lacking := _lack(client, deployment, RENEWAL):
                return lacking
    return ok(f"A live worker or process runs {', '.join(map(_label, deployments))}.")


def check_schedule(facts: Facts) -> Finding:
    """Whether each run comes before the token of the previous run goes idle."""
    deployments = _require_active(facts)
    schedules = [each for deployment in deployments for each in _active_schedules(deployment, facts.name)]
    return judge_gap(worst_gap(schedules, days_to_look_at(now())), facts.settings.reuse_window)


def check_alerts(facts: Facts) -> Finding:
    """Whether the automations that notify people exist and are switched on."""
    facts.require_lasting_server()
    with facts.client() as client:
        found = {name: client.read_automations_by_name(name) for name in NOTIFIERS}
    if not any(found.values()):
        return warning(
            "Nobody is notified when a sign-in is due or a renewal fails, unless your own automations do it.",
            _INSTALL,
        )
    if missing := [f"`{name}`" for name, automations in found.items() if not automations]:
        return warning(f"Not all alerts are installed; missing: {', '.join(missing)}.", _INSTALL)
    on = {name for name, automations in found.items() if any(each.enabled for each in automations)}
    if off := [f"`{name}`" for name in found if name not in on]:
        says = f"Switched off: {', '.join(off)}."
        return warning(says, "switch it on in the Prefect UI (Automations), if you need it.")
    return ok("The automations that notify people are installed and on.")


def check_sign_in(facts: Facts) -> Finding:
    """Whether a person can sign in in the Prefect UI: the flow is deployed, and something alive runs it."""
    if not facts.sign_ins:
        return warning(
            f"The flow {SIGN_IN} is not deployed: only `etrade-session login` can sign in.",
            f"run {_ways_to_deploy(facts.name)}.",
        )
    with facts.client() as client:
        lacks = {f"{SIGN_IN}/{each.name}": _lack(client, each, SIGN_IN) for each in facts.sign_ins}
    if alive := [label for label, lacking in lacks.items() if lacking is None]:
        return ok(f"A person can sign in in the Prefect UI: {', '.join(alive)}.")
    first = next(lacking for lacking in lacks.values() if lacking is not None)
    return replace(first, verdict=Health.WARNING)


def _active_deployments(facts: Facts) -> list[DeploymentResponse]:
    """The deployments that are switched on and have an active schedule for these credentials."""
    return [
        deployment
        for deployment in facts.deployments
        if not deployment.paused and any(_active_schedules(deployment, facts.name))
    ]


def _require_active(facts: Facts) -> list[DeploymentResponse]:
    """Those deployments; a check that needs one is skipped if there is none."""
    facts.require_lasting_server()
    if found := _active_deployments(facts):
        return found
    raise SkipCheck(f"Nothing renews {facts.name!r} on a schedule.", first="deployment")


def _active_schedules(deployment: DeploymentResponse, name: str) -> Iterator[DeploymentSchedule]:
    """The schedules of a deployment that are on and renew these credentials."""
    return (schedule for schedule in _schedules(deployment, name) if schedule.active)


def _schedules(deployment: DeploymentResponse, name: str) -> list[DeploymentSchedule]:
    """The schedules that renew these credentials; a schedule's own parameters override the deployment's."""
    return [each for each in deployment.schedules if meant(deployment.parameters, each.parameters) == name]


def _lack(client: SyncPrefectClient, deployment: DeploymentResponse, flow: str) -> Finding | None:
    """What keeps a deployment's runs from starting; None if nothing does."""
    label, pool_name = f"{flow}/{deployment.name}", deployment.work_pool_name
    if pool_name is None:
        return _lack_of_process(deployment, label)
    try:
        pool = client.read_work_pool(pool_name)
    except ObjectNotFound:
        return problem(
            f"{label} waits in the work pool {pool_name!r}, which does not exist.",
            f"prefect work-pool create {pool_name} --type process",
        )
    if pool.is_paused:
        return problem(f"The work pool {pool_name!r} is paused.", f"prefect work-pool resume {pool_name}")
    if pool.is_push_pool or pool.is_managed_pool:
        return None
    workers = client.read_workers_for_work_pool(pool_name)
    if any(worker.status is WorkerStatus.ONLINE for worker in workers):
        return None
    return problem(
        f"The work pool {pool_name!r} has no live worker, so {label} does not run.",
        f"prefect worker start --pool {pool_name}",
    )


def _lack_of_process(deployment: DeploymentResponse, label: str) -> Finding | None:
    # The server counts a served deployment as ready for a minute after its process last asked for runs.
    if deployment.status is not None and deployment.status.value == "READY":
        return None
    served = meant(deployment.parameters)
    return problem(f"The process that serves {label} is not running.", f"run {_serve(served)}.")


def _label(deployment: DeploymentResponse) -> str:
    return f"{RENEWAL}/{deployment.name}"
