"""The people's part: whether somebody is told when a sign-in is due, and can do it in the Prefect UI.

No renewal hangs on either, so what is missing is a warning.
"""

from __future__ import annotations

from dataclasses import replace

from etrade_flows.health.deployment import lack, ways_to_deploy
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, Health, ok, warning
from etrade_flows.news.automations import NAMES
from etrade_flows.runs.names import SIGN_IN

_INSTALL = (
    "create a notification block (Prefect UI > Blocks), and run `etrade-session alerts --notify TYPE/NAME`."
)


def check_alerts(facts: Facts) -> Finding:
    """Whether the automations that notify people are there, and switched on."""
    with facts.lasting_client() as client:
        found = {name: client.read_automations_by_name(name) for name in NAMES.values()}
    if not any(found.values()):
        return warning(
            "Nobody is told when a sign-in is due or a renewal fails, unless by an automation of your own.",
            _INSTALL,
        )
    if missing := [name for name, automations in found.items() if not automations]:
        return warning(f"Not all alerts are installed; missing: {_listed(missing)}.", _INSTALL)
    off = [name for name, automations in found.items() if not any(each.enabled for each in automations)]
    if off:
        return warning(
            f"Switched off: {_listed(off)}.", "switch it on in the Prefect UI (Automations), if it is missed."
        )
    return ok("The automations that tell people are installed and on.")


def check_sign_in(facts: Facts) -> Finding:
    """Whether a person can sign in in the Prefect UI: the flow is deployed, and something alive runs it."""
    if not facts.sign_ins:
        return warning(
            f"The flow {SIGN_IN} is not deployed: `etrade-session login` alone can sign in.",
            f"run {ways_to_deploy(facts.name)}.",
        )
    with facts.client() as client:
        lacks = {f"{SIGN_IN}/{each.name}": lack(client, each, SIGN_IN) for each in facts.sign_ins}
    if alive := [label for label, lacking in lacks.items() if lacking is None]:
        return ok(f"A person can sign in in the Prefect UI: {', '.join(alive)}.")
    first = next(lacking for lacking in lacks.values() if lacking is not None)
    return replace(first, verdict=Health.WARNING)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
