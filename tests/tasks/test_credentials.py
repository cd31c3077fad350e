"""The credentials block: what it masks, what it refuses, and the clients it makes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product

import httpx
import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from etrade_simulator import Fault, Simulator
from etrade_tasks import AddressRefused, CredentialsInvalid, ETradeCredentials, SignInRequired
from etrade_tasks.credentials import ENVIRONMENT_VARIABLES, credentials_from_environment

SECRETS = {
    "consumer_key": "fake-consumer-key-111",
    "consumer_secret": "fake-consumer-secret-222",
    "access_token": "fake-access-token-333=",
    "access_token_secret": "fake-token-secret-444=",
}


def make(**changes: object) -> ETradeCredentials:
    return ETradeCredentials.model_validate(SECRETS | changes)


@pytest.mark.parametrize("form", [str, repr, lambda c: c.model_dump_json(), lambda c: str(c.model_dump())])
def test_secrets_are_masked_in_every_printed_form(form: object) -> None:
    """No key, token or secret shows in any form that Python or pydantic prints."""
    printed = form(make())
    assert [] == [secret for secret in SECRETS.values() if secret in printed]


def test_json_schema_marks_every_secret() -> None:
    """The UI's form hides what is typed into each secret field."""
    properties = ETradeCredentials.model_json_schema()["properties"]
    assert set(SECRETS) == {name for name, field in properties.items() if field.get("format") == "password"}


def test_prefect_masks_every_secret() -> None:
    """The server masks each secret field."""
    assert sorted(SECRETS) == sorted(ETradeCredentials.model_json_schema()["secret_fields"])


def test_every_field_has_a_title_and_a_description() -> None:
    """The UI's form explains each of its fields."""
    properties = ETradeCredentials.model_json_schema()["properties"]
    assert [] == [n for n, f in properties.items() if not (f.get("title") and f.get("description"))]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *product(SECRETS, ["   ", "canary one", "canary\none", "canary\x00one"]),
        *product(["consumer_key", "consumer_secret"], ["", None]),
    ],
)
def test_unusable_secret_is_refused_without_being_shown(field: str, value: str) -> None:
    """The error for a blank or broken secret names the field and not the value."""
    with pytest.raises(ValidationError) as refused:
        make(**{field: value})
    assert field in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("nothing", [None, "", SecretStr("")])
def test_token_may_be_missing_as_a_whole(nothing: object) -> None:
    """While nobody is signed in there is no token, however the form or the code leaves it out."""
    signed_out = make(access_token=nothing, access_token_secret=nothing)
    assert (None, None) == (signed_out.access_token, signed_out.access_token_secret)


@pytest.mark.parametrize("field", ["access_token", "access_token_secret"])
def test_half_a_token_is_refused(field: str) -> None:
    """The error for a token without its secret, or the reverse, names both."""
    with pytest.raises(
        ValidationError, match="access_token and access_token_secret come together"
    ) as refused:
        make(**{field: None})
    assert [] == [secret for secret in SECRETS.values() if secret in str(refused.value)]


@pytest.mark.parametrize("use", [lambda c: c.signing_keys, lambda c: c.fingerprint, lambda c: c.get_client()])
def test_nothing_is_signed_without_a_token(use: Callable[[ETradeCredentials], object]) -> None:
    """Signing anything without a token raises an error that asks a person to sign in."""
    with pytest.raises(SignInRequired, match="Nobody is signed in"):
        use(make(access_token=None, access_token_secret=None))


def test_missing_field_does_not_show_the_others() -> None:
    """When one field is missing, the error does not print those that were given."""
    with pytest.raises(ValidationError) as refused:
        ETradeCredentials.model_validate({"consumer_key": "canary-key"})
    assert "consumer_secret" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_mistyped_field_is_refused() -> None:
    """An unknown field is refused, because a secret in it would not be masked."""
    with pytest.raises(ValidationError, match="acess_token") as refused:
        ETradeCredentials(**SECRETS, acess_token="canary")
    assert "canary" not in str(refused.value)


def test_stored_field_of_a_later_version_is_passed_over() -> None:
    """A stored field that this version does not know is ignored and never shown."""
    read = ETradeCredentials.model_validate(SECRETS | {"later_secret": "canary"})
    shown = f"{read!r} {read.model_dump(context={'include_secrets': True})}"
    assert ("fake-consumer-key-111", False) == (
        read.consumer_key.get_secret_value(),
        "later_secret" in shown or "canary" in shown,
    )


def test_block_within_a_block_is_read_alike() -> None:
    """A user's block that contains credentials of a later version can be read too."""

    class Holder(Block):
        credentials: ETradeCredentials

    held = Holder.model_validate({"credentials": SECRETS | {"later_secret": "canary"}})
    assert "fake-consumer-key-111" == held.credentials.consumer_key.get_secret_value()


def test_pasted_blanks_are_trimmed() -> None:
    """Blanks and newlines around a pasted secret are removed."""
    assert "abc=" == make(access_token=" abc=\n").access_token.get_secret_value()


@pytest.mark.parametrize("field", ["oauth_url", "api_url"])
@pytest.mark.parametrize(
    "address",
    ["http://api.etrade.com", "ftp://localhost", "https://user:canary@host", "host/path", "https://"],
)
def test_unsafe_address_is_refused(field: str, address: str) -> None:
    """An address must use https, or be on this machine, and must have a host and no user."""
    with pytest.raises(ValidationError, match=field):
        make(**{field: address})


@pytest.mark.parametrize("address", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"])
def test_plain_http_to_this_machine_is_accepted(address: str) -> None:
    """A simulator on a loopback address may use plain http."""
    assert address == make(oauth_url=address + "/").oauth_base_url


@pytest.mark.parametrize(
    ("environment", "api"), [("live", "https://api.etrade.com"), ("sandbox", "https://apisb.etrade.com")]
)
def test_addresses_default_to_those_of_the_environment(environment: str, api: str) -> None:
    """Data calls go to the environment's host, OAuth calls to the same host for both."""
    credentials = make(environment=environment)
    assert ("https://api.etrade.com/oauth", api) == (credentials.oauth_base_url, credentials.api_base_url)


def test_naive_time_of_sign_in_is_refused() -> None:
    """A time of sign-in without a time zone is refused, because its midnight is unknown."""
    with pytest.raises(ValidationError, match="signed_in_at"):
        make(signed_in_at="2027-06-15T09:00:00")


def test_cleared_time_of_sign_in_is_unknown() -> None:
    """An empty date field in the form means that the time is unknown."""
    assert make(signed_in_at="").signed_in_at is None


def test_expiry_follows_the_sign_in() -> None:
    """The session ends at the midnight US Eastern after the sign-in, whatever time it is now."""
    credentials = make(signed_in_at="2027-06-15T09:00:00-04:00")
    assert datetime(2027, 6, 16, 4, tzinfo=UTC) == credentials.expires_at(datetime(2027, 6, 20, tzinfo=UTC))


def test_expiry_is_never_later_than_today() -> None:
    """A token with a sign-in in the future ends today, because no token outlives a midnight."""
    credentials = make(signed_in_at="2027-06-17T09:00:00-04:00")
    assert datetime(2027, 6, 16, 4, tzinfo=UTC) == credentials.expires_at(
        datetime(2027, 6, 15, 12, tzinfo=UTC)
    )


def test_expiry_without_a_known_sign_in_is_the_next_midnight() -> None:
    """A token without a known sign-in can only be of today, so its session ends at the next midnight."""
    assert datetime(2027, 6, 20, 4, tzinfo=UTC) == make().expires_at(datetime(2027, 6, 20, tzinfo=UTC))


@pytest.mark.parametrize("field", SECRETS)
def test_fingerprint_changes_with_each_secret(field: str) -> None:
    """Two tokens never share a fingerprint, so neither can reuse the other's renewal."""
    assert make().fingerprint != make(**{field: "another"}).fingerprint


def test_fingerprint_is_stable_and_reveals_nothing() -> None:
    """The fingerprint is sixteen hexadecimal digits, and does not depend on the time of sign-in."""
    fingerprint = make().fingerprint
    assert make(signed_in_at="2027-06-15T09:00:00Z").fingerprint == fingerprint
    assert 16 == len(fingerprint)
    assert int(fingerprint, 16) >= 0


def test_block_survives_pickling() -> None:
    """Credentials can be pickled, because Dask and Ray send them to other processes."""
    assert make().fingerprint == pickle.loads(pickle.dumps(make())).fingerprint  # noqa: S301


def test_client_is_signed_bounded_and_does_not_follow(
    simulator: object, credentials: ETradeCredentials
) -> None:
    """The client signs each call, knows the API's address, has time-outs and follows no redirect."""
    with credentials.get_client() as client:
        assert 200 == client.get("/v1/accounts/list.json").status_code
        assert client.follow_redirects is False
        assert client.timeout == httpx.Timeout(10, connect=5)


@pytest.mark.parametrize("environment", ["live", "sandbox"])
def test_client_reaches_the_environments_api(
    simulator: object, credentials_for: object, environment: str
) -> None:
    """Each environment's key works at that environment's address."""
    with credentials_for(simulator.sign_in(environment)).get_client() as client:
        assert 200 == client.get("/v1/accounts/list.json").status_code


async def _status(credentials: ETradeCredentials) -> int:
    async with credentials.get_async_client() as client:
        return (await client.get("/v1/market/quote/IBM.json", params={"detailFlag": "ALL"})).status_code


def test_async_client_is_signed_too(credentials: ETradeCredentials) -> None:
    """The async client also signs each call."""
    import asyncio

    assert 200 == asyncio.run(_status(credentials))


STRANGERS = [
    "https://example.com/v1/accounts/list.json",
    "http://api.etrade.com/v1/accounts/list.json",
    "https://api.etrade.com./v1/accounts/list.json",
    "https://someone:canary@api.etrade.com/v1/accounts/list.json",
]


@pytest.fixture
def sends_nothing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A network that answers nothing; returns the list of requests that reached it."""
    sent: list[str] = []

    def refuse(_: object, request: httpx.Request) -> httpx.Response:
        sent.append(str(request.url))
        raise httpx.ConnectError("there is no network")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", refuse)
    return sent


@pytest.mark.parametrize("stranger", STRANGERS)
def test_client_refuses_a_stranger_s_address(stranger: str, sends_nothing: list[str]) -> None:
    """A call to a stranger's absolute address raises before anything is sent, without quoting it."""
    with make().get_client() as client, pytest.raises(AddressRefused) as refused:
        client.get(stranger, params={"q": "canary"})
    assert [] == sends_nothing
    assert "canary" not in str(refused.value)


def test_async_client_refuses_a_stranger_s_address(sends_nothing: list[str]) -> None:
    """The async client refuses it too."""
    import asyncio

    async def ask() -> None:
        async with make().get_async_client() as client:
            await client.post(STRANGERS[0])

    with pytest.raises(AddressRefused):
        asyncio.run(ask())
    assert [] == sends_nothing


@pytest.mark.parametrize("host", ["api.etrade.com", "apisb.etrade.com", "API.etrade.com:443"])
def test_client_signs_for_either_of_e_trade_s_hosts(host: str, sends_nothing: list[str]) -> None:
    """An absolute address of E*TRADE's is called, whichever environment the key is of."""
    with make().get_client() as client, pytest.raises(httpx.ConnectError):
        client.get(f"https://{host}/v1/accounts/list.json")
    assert 1 == len(sends_nothing)


def test_client_calls_a_stranger_unsigned_where_it_is_told_to(sends_nothing: list[str]) -> None:
    """A call without a signature may go anywhere."""
    with make().get_client() as client, pytest.raises(httpx.ConnectError):
        client.get(STRANGERS[0], auth=None)
    assert [STRANGERS[0]] == sends_nothing


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/accounts/list.json"), ("POST", "/v1/accounts/any/orders/place.json")],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_handed_on_though_the_caller_would_follow(
    simulator: Simulator, credentials: ETradeCredentials, method: str, path: str, status: int
) -> None:
    """A redirect is never followed: no signature and no order goes out a second time."""
    elsewhere = {"Location": f"{simulator.oauth_url}/renew_access_token"}
    simulator.plant(Fault(status=status, headers=elsewhere), path=path)
    with credentials.get_client() as client:
        client.follow_redirects = True
        answer = client.request(method, path, follow_redirects=True)
    assert (status, [path]) == (answer.status_code, [call.path for call in simulator.calls()])


ENVIRONMENT = {f"ETRADE_{name.upper()}": value for name, value in SECRETS.items()}


def test_environment_gives_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four variables are enough; the others have defaults."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert make().fingerprint == credentials_from_environment().fingerprint


def test_whole_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment, addresses and time of sign-in come from their variables too."""
    others = {
        "ETRADE_ENVIRONMENT": "sandbox",
        "ETRADE_OAUTH_URL": "https://apisb.etrade.com/oauth",
        "ETRADE_API_URL": "https://apisb.etrade.com",
        "ETRADE_SIGNED_IN_AT": "2027-06-15T13:00:00Z",
    }
    for name, value in (ENVIRONMENT | others).items():
        monkeypatch.setenv(name, value)
    read = credentials_from_environment()
    assert ("sandbox", datetime(2027, 6, 15, 13, tzinfo=UTC)) == (read.environment, read.signed_in_at)
    assert ("https://apisb.etrade.com/oauth", "https://apisb.etrade.com") == (
        read.oauth_base_url,
        read.api_base_url,
    )


def test_production_is_taken_for_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """`production`, another client's word in `ETRADE_ENVIRONMENT`, means the live environment here too."""
    for name, value in (ENVIRONMENT | {"ETRADE_ENVIRONMENT": "production"}).items():
        monkeypatch.setenv(name, value)
    read = credentials_from_environment()
    assert ("live", "https://api.etrade.com") == (read.environment, read.api_base_url)


def test_form_offers_live_and_sandbox_alone() -> None:
    """The block's form in the Prefect UI offers exactly the package's two environments."""
    assert ["live", "sandbox"] == ETradeCredentials.model_json_schema()["properties"]["environment"]["enum"]


def test_empty_environment_gives_none() -> None:
    """Without any of the variables there are no credentials, and that is no error."""
    assert credentials_from_environment() is None


def test_half_set_environment_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If only some variables are set, the error names the missing ones."""
    monkeypatch.setenv("ETRADE_CONSUMER_KEY", "canary")
    with pytest.raises(CredentialsInvalid) as refused:
        credentials_from_environment()
    assert "ETRADE_ACCESS_TOKEN_SECRET" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_malformed_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed variable is named, and no variable's value is shown."""
    for name, value in (ENVIRONMENT | {"ETRADE_ENVIRONMENT": "canary"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CredentialsInvalid) as refused:
        credentials_from_environment()
    assert "ETRADE_ENVIRONMENT" in str(refused.value)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("name", ENVIRONMENT_VARIABLES)
def test_variable_in_quotes_is_told_of(monkeypatch: pytest.MonkeyPatch, name: str, quote: str) -> None:
    """A variable that is still in quotes is refused for that, by its name and without its value."""
    for each, value in ENVIRONMENT.items():
        monkeypatch.setenv(each, value)
    monkeypatch.setenv(name, f"{quote}canary{quote}")
    with pytest.raises(CredentialsInvalid, match=f"{name}: is in quotes: remove them") as refused:
        credentials_from_environment()
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("escape", ["%2F", "%2f", "%2B", "%3D"])
@pytest.mark.parametrize("name", ENVIRONMENT)
def test_encoded_variable_is_told_of(monkeypatch: pytest.MonkeyPatch, name: str, escape: str) -> None:
    """A key or token that is still percent-encoded is refused for that, even with a time of sign-in."""
    for each, value in ENVIRONMENT.items():
        monkeypatch.setenv(each, value)
    monkeypatch.setenv(name, f"canary{escape}")
    monkeypatch.setenv("ETRADE_SIGNED_IN_AT", "2027-06-15T13:00:00Z")
    with pytest.raises(CredentialsInvalid, match=f"{name}:? is still percent-encoded") as refused:
        credentials_from_environment()
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("spoiled", "told"), [("'canary'", "in quotes"), ("canary%3D", "percent-encoded")])
@pytest.mark.parametrize("field", SECRETS)
def test_pasted_secret_is_told_of(field: str, spoiled: str, told: str) -> None:
    """If a person pastes a secret in quotes or encoded, the error names the field without its value."""
    with pytest.raises(ValidationError, match=told) as refused:
        make(**{field: spoiled})
    assert field in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("token", ["a+b+%3D", "50%", "a%41b"])
def test_token_of_a_sign_in_is_good_as_it_is(token: str) -> None:
    """A stored token loads whatever E*TRADE put into it, and a lone percent sign is allowed."""
    stored = make(access_token=token, signed_in_at="2027-06-15T09:00:00Z")
    assert token == stored.access_token.get_secret_value()


class TestBlockStandard(BlockStandardTestSuite):
    """What Prefect asks of every block: descriptions, a documentation link, and an example to copy."""

    test_has_a_valid_image = None  # it fetches the logo from the internet

    @pytest.fixture
    def block(self) -> type[ETradeCredentials]:
        """The block to check."""
        return ETradeCredentials
