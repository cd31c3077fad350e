"""Checks whether E*TRADE answers and accepts the key and the token, and how far the two clocks differ.

One request-token call shows most of this. It is signed only with the consumer key, and changes nothing. OAuth
calls do not show which environment the key belongs to, because E*TRADE accepts both kinds of key at one
address. Only a data call shows that, and it needs a token. So it is made if somebody is signed in, and it
uses the token as any other call does.
"""

from __future__ import annotations

from datetime import timedelta

import httpx

from etrade_flows.access.clients import judge_answer
from etrade_flows.health.facts import Exchange, Facts
from etrade_flows.health.findings import Finding, SkipCheck, ok, problem, warning
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.key_age import KEY_ADVICE, key_warning, lapses_on
from etrade_tasks.oauth.addresses import API_URLS, OAUTH_URL
from etrade_tasks.oauth.authorization import granted
from etrade_tasks.oauth.replies import SKEW_REFUSED, SKEW_WARNED, Outcome, classify, clock_advice, http_date
from etrade_tasks.oauth.tls import tls_failure

DATA_PATH = "/v1/accounts/list.json"
"""The data call; only the status and the problem of its answer are read."""

_DATE_RESOLUTION = timedelta(seconds=1)  # the HTTP header has whole seconds
_SANDBOX_OAUTH = f"{API_URLS['sandbox']}/oauth"
_SECRET_ADVICE = "The consumer secret is mistyped, still percent-encoded, or another key's."  # noqa: S105
_LATER = "run `etrade-session doctor` again in a few minutes; if nothing changes, check E*TRADE's status."
_SET_CLOCK = "set this machine's clock by NTP: `timedatectl set-ntp true`."


def check_etrade(facts: Facts) -> Finding:
    """Whether E*TRADE answers a signed call."""
    reply = facts.exchange.reply
    if reply.transport_error is not None:
        return problem(
            f"E*TRADE gives no answer: {reply.transport_error}.",
            reply.remedy or _network("OAuth"),
        )
    if granted(reply) or _refuses(facts.exchange):
        return ok(f"E*TRADE answers (status {reply.status_code}).")
    return warning(f"E*TRADE answers, but not as expected (status {reply.status_code}).", _LATER)


def check_consumer_key(facts: Facts) -> Finding:
    """Whether E*TRADE accepts the consumer key and its secret."""
    environment, reply = facts.credentials.environment, facts.exchange.reply
    if granted(reply):
        return ok("E*TRADE accepts the consumer key and its secret.")
    if not _refuses(facts.exchange):
        raise SkipCheck("E*TRADE did not serve the call.", first="etrade")
    verdict = classify(reply)
    if verdict.outcome is Outcome.CLOCK_SKEWED:
        raise SkipCheck("E*TRADE refused this machine's clock before it checked the key.", first="clock")
    # The verdict's other advice is about a renewal's token.
    advice = verdict.advice if verdict.outcome is Outcome.MISCONFIGURED else "It does not say why."
    advice = _SECRET_ADVICE if verdict.problem == "signature_invalid" else advice
    return problem(
        f"E*TRADE refuses the consumer key ({verdict.problem or f'status {reply.status_code}'}). {advice}",
        f"compare key, secret and environment ({environment}) with what E*TRADE issued, and correct them "
        f"({_edit(facts.name, 'the ETRADE_* variables')}).",
    )


def check_key_age(facts: Facts) -> Finding:
    """Whether the consumer key lapses soon, by the date of issue in the credentials."""
    issued_on = facts.credentials.consumer_key_issued_on
    if said := key_warning(issued_on, now()):
        return warning(said, KEY_ADVICE)
    if issued_on is None:
        return ok(
            "The consumer key's date of issue is not known "
            f"(`etrade-session login --credentials {facts.name} --key-issued-on DATE`)."
        )
    return ok(f"The consumer key works until about {lapses_on(issued_on)}.")


def check_data_call(facts: Facts) -> Finding:
    """Whether a data call is served."""
    credentials = facts.credentials
    if credentials.access_token is None:
        raise SkipCheck(
            "Nobody is signed in, so no data call can be tried.",
            first=f"etrade-session login --credentials {facts.name}",
        )
    api = f"E*TRADE's {credentials.environment} API"
    try:
        with credentials.get_client() as client:
            response = client.get(DATA_PATH)
    except httpx.TransportError as error:
        tls = tls_failure(error)
        why = f"TLS: {tls.reason}" if tls else type(error).__name__
        return problem(
            f"{api} gives no answer ({why}).",
            (tls and tls.remedy) or _network("API"),
        )
    if response.is_success:
        return ok(f"{api} serves the key and the token.")
    return _not_served(facts.name, api, response)


def check_addresses(facts: Facts) -> Finding:
    """Whether the addresses are those of the key's environment."""
    credentials = facts.credentials
    environment = credentials.environment
    where = f"({_edit(facts.name, 'ETRADE_OAUTH_URL and ETRADE_API_URL')})"
    if mismatched := _mismatched(credentials):
        return problem(
            f"The credentials say {environment}, but {mismatched} belongs to the other environment.",
            f"empty the address, or correct the environment {where}.",
        )
    known = {OAUTH_URL, _SANDBOX_OAUTH, *API_URLS.values()}
    others = {credentials.oauth_base_url, credentials.api_base_url} - known
    if others:
        return warning(
            "Calls go to an address that is not E*TRADE's own, such as a simulator's.",
            f"if that is not meant, empty the addresses {where}.",
        )
    return ok(f"The addresses are E*TRADE's own for {environment} keys.")


def check_clock(facts: Facts) -> Finding:
    """How far this machine's clock is from E*TRADE's."""
    offset = _clock_offset(facts.exchange)
    if offset is None:
        raise SkipCheck("E*TRADE's answer carries no date.", first="etrade")
    if abs(offset) < SKEW_WARNED:
        return ok(f"This machine's clock is within {SKEW_WARNED.seconds} s of E*TRADE's.")
    says = clock_advice(offset).removesuffix(" Set it by NTP.")
    if abs(offset) < SKEW_REFUSED:
        return warning(f"{says} E*TRADE refuses it beyond {SKEW_REFUSED.seconds} s.", _SET_CLOCK)
    return problem(f"{says} E*TRADE refuses it.", _SET_CLOCK)


def _clock_offset(exchange: Exchange) -> timedelta | None:
    """What to add to this machine's clock to get E*TRADE's, give or take half the round trip and a second.

    None if no answer came, or it has no readable `Date`.
    """
    date = http_date(exchange.reply.header("Date"))
    if date is None:
        return None
    middle = exchange.sent_at + (exchange.reply.received_at - exchange.sent_at) / 2
    return date + _DATE_RESOLUTION / 2 - middle


def _refuses(exchange: Exchange) -> bool:
    """Whether E*TRADE itself refused the call, not some page in between."""
    # The call uses no token, so a verdict that means a sign-in for a renewal is about the key here.
    refusals = (Outcome.MISCONFIGURED, Outcome.SIGN_IN_REQUIRED, Outcome.CLOCK_SKEWED)
    return classify(exchange.reply).outcome in refusals


def _mismatched(credentials: ETradeCredentials) -> str | None:
    """The address that belongs to the other environment."""
    other = API_URLS["sandbox" if credentials.environment == "live" else "live"]
    if credentials.api_base_url == other:
        return "the API address"
    # The reverse is no mistake: E*TRADE's live OAuth address serves both kinds of key.
    if credentials.environment == "live" and credentials.oauth_base_url == _SANDBOX_OAUTH:
        return "the OAuth address"
    return None


def _not_served(name: str, api: str, response: httpx.Response) -> Finding:
    """What a failed data call says about the key and the token."""
    verdict = judge_answer(response)
    if (verdict.problem or "").startswith("consumer_key"):
        return problem(
            f"{api} refuses the consumer key ({verdict.problem}): it is of the other environment, or it has "
            "lapsed.",
            f"correct the environment of the credentials ({_edit(name, 'ETRADE_ENVIRONMENT')}), "
            "or get a new key from E*TRADE.",
        )
    if verdict.problem == "signature_invalid":
        return problem(
            f"{api} refuses the signature: a secret is mistyped, still percent-encoded, or another token's.",
            f"run `etrade-session login --credentials {name}`, which stores a token with its own secret; fix "
            "`consumer-key` first if that is also a problem.",
        )
    if verdict.outcome is Outcome.SIGN_IN_REQUIRED:
        return warning(
            f"{api} does not serve the token now ({verdict.problem or f'status {response.status_code}'}).",
            f"run `etrade-session renew --credentials {name}`, which says whether a sign-in is due.",
        )
    return warning(f"{api} did not serve the call (status {response.status_code}).", _LATER)


def _network(address: str) -> str:
    return f"check this machine's network and proxy, and the {address} address of the credentials."


def _edit(name: str, variables: str) -> str:
    """Where to correct a field of the credentials."""
    return f"Prefect UI > Blocks > {name} > Edit, or {variables}"
