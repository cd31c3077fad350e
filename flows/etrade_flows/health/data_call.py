"""Whether E*TRADE's API serves the key in the environment that it is said to be of.

OAuth calls do not tell: E*TRADE takes both kinds of key at one address there. Only a data call does, and it
needs a token; so it is tried where somebody is signed in. To the token it is a use like any other.
"""

from __future__ import annotations

import httpx

from etrade_flows.access.clients import judge_answer
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, SkipCheck, ok, problem, warning
from etrade_tasks.oauth.replies import Outcome
from etrade_tasks.oauth.tls import tls_failure

PATH = "/v1/accounts/list.json"
"""What is asked for; what comes back is looked at no further than its status and its problem."""


def check_data_call(facts: Facts) -> Finding:
    """Whether a data call is served."""
    credentials = facts.credentials
    if credentials.access_token is None:
        raise SkipCheck(
            "Nobody is signed in, so that no data call can be tried.",
            first=f"etrade-session login --credentials {facts.name}",
        )
    api = f"E*TRADE's {credentials.environment} API"
    try:
        with credentials.get_client() as client:
            response = client.get(PATH)
    except httpx.TransportError as error:
        tls = tls_failure(error)
        why = f"TLS: {tls.reason}" if tls else type(error).__name__
        return problem(
            f"{api} gives no answer ({why}).",
            (tls and tls.remedy)
            or "check this machine's network and proxy, and the API address of the credentials.",
        )
    if response.is_success:
        return ok(f"{api} serves the key and the token.")
    return _refused(facts.name, api, response)


def _refused(name: str, api: str, response: httpx.Response) -> Finding:
    """What a call that was not served says of the key and the token."""
    verdict = judge_answer(response)
    if (verdict.problem or "").startswith("consumer_key"):
        return problem(
            f"{api} refuses the consumer key ({verdict.problem}): it is of the other environment, or it has "
            "lapsed.",
            f"correct the environment of the credentials (Prefect UI > Blocks > {name} > Edit, or "
            "ETRADE_ENVIRONMENT), or get a new key from E*TRADE.",
        )
    if verdict.problem == "signature_invalid":
        return problem(
            f"{api} refuses the signature: a secret is mistyped, still percent-encoded, or another token's.",
            f"run `etrade-session login --credentials {name}`, which stores a token with its own secret; see "
            "to `consumer-key` first if it is a problem too.",
        )
    if verdict.outcome is Outcome.SIGN_IN_REQUIRED:
        return warning(
            f"{api} does not serve the token now ({verdict.problem or f'status {response.status_code}'}).",
            f"run `etrade-session renew --credentials {name}`, which says whether a sign-in is due.",
        )
    return warning(
        f"{api} did not serve the call (status {response.status_code}).",
        "run `etrade-session doctor` again in some minutes; if it stays so, look at E*TRADE's status.",
    )
