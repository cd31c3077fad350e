"""The credentials block: what it masks, what it refuses, and the clients it makes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def refused(kind: type[Exception], told: str) -> Iterator[pytest.ExceptionInfo]:
    """Expects an error that tells this and does not show the canary that was given."""
    with pytest.raises(kind, match=told) as error:
        yield error
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("form", [str, repr, lambda c: c.model_dump_json(), lambda c: str(c.model_dump())])
def test_secrets_are_masked_in_every_printed_form(form: object) -> None:
    """No key, token or secret shows in any form that Python or pydantic prints."""
    printed = form(make())
    assert [] == [secret for secret in SECRETS.values() if secret in printed]


def test_every_secret_is_hidden() -> None:
    """The UI's form hides what is typed into each secret field, and the server masks it."""
    schema = ETradeCredentials.model_json_schema()
    typed = {name for name, field in schema["properties"].items() if field.get("format") == "password"}
    assert (set(SECRETS), sorted(SECRETS)) == (typed, sorted(schema["secret_fields"]))


def test_form_explains_its_fields() -> None:
    """The UI's form has a title and a description for each field, and offers exactly two environments."""
    properties = ETradeCredentials.model_json_schema()["properties"]
    assert [] == [n for n, f in properties.items() if not (f.get("title") and f.get("description"))]
    assert ["live", "sandbox"] == properties["environment"]["enum"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *product(["consumer_key", "access_token"], ["   ", "canary one", "canary\none", "canary\x00one"]),
        *product(["consumer_key", "consumer_secret"], ["", None]),
    ],
)
def test_unusable_secret_is_refused_without_being_shown(field: str, value: str) -> None:
    """The error for a blank or broken secret names the field and not the value."""
    with refused(ValidationError, field):
        make(**{field: value})


@pytest.mark.parametrize("nothing", [None, "", SecretStr("")])
def test_token_and_dates_may_be_missing(nothing: object) -> None:
    """A token or a date may be missing, however the form or the code leaves it out."""
    fields = {"access_token", "access_token_secret", "signed_in_at", "consumer_key_issued_on"}
    made = make(**dict.fromkeys(fields, nothing))
    assert dict.fromkeys(fields) == {field: getattr(made, field) for field in fields}


@pytest.mark.parametrize("field", ["access_token", "access_token_secret"])
def test_half_a_token_is_refused(field: str) -> None:
    """The error for a token without its secret, or the reverse, names both."""
    with pytest.raises(ValidationError, match="access_token and access_token_secret come") as error:
        make(**{field: None})
    assert [] == [secret for secret in SECRETS.values() if secret in str(error.value)]


@pytest.mark.parametrize("use", [lambda c: c.signing_keys, lambda c: c.fingerprint, lambda c: c.get_client()])
def test_nothing_is_signed_without_a_token(use: Callable[[ETradeCredentials], object]) -> None:
    """Signing anything without a token raises an error that asks a person to sign in."""
    with pytest.raises(SignInRequired, match="Nobody is signed in"):
        use(make(access_token=None, access_token_secret=None))


def test_missing_field_does_not_show_the_others() -> None:
    """When one field is missing, the error does not print those that were given."""
    with refused(ValidationError, "consumer_secret"):
        ETradeCredentials.model_validate({"consumer_key": "canary-key"})


def test_mistyped_field_is_refused() -> None:
    """An unknown field is refused, because a secret in it would not be masked."""
    with refused(ValidationError, "acess_token"):
        ETradeCredentials(**SECRETS, acess_token="canary")


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


@pytest.mark.parametrize(
    ("field", "value"),
    [*product(["oauth_url", "api_url"], ["http://api.etrade.com"]), ("signed_in_at", "2027-06-15T09:00:00")],
)
def test_unsafe_address_and_naive_time_are_refused(field: str, value: str) -> None:
    """An address must be safe to sign for, and a time must have a zone, or its midnight is unknown."""
    with pytest.raises(ValidationError, match=field):
        make(**{field: value})


@pytest.mark.parametrize(
    ("environment", "api"), [("live", "https://api.etrade.com"), ("sandbox", "https://apisb.etrade.com")]
)
def test_addresses_default_to_those_of_the_environment(environment: str, api: str) -> None:
    """Data calls go to the environment's host, OAuth calls to the same host for both."""
    credentials = make(environment=environment)
    assert ("https://api.etrade.com/oauth", api) == (credentials.oauth_base_url, credentials.api_base_url)


def test_version_is_left_off_the_api_address_alone() -> None:
    """An API address loses a `/v1` at its end, because the paths begin with it; an OAuth address does not."""
    credentials = make(api_url="https://example.com/sandbox/v1/", oauth_url="https://example.com/oauth/v1/")
    expected = ("https://example.com/sandbox", "https://example.com/oauth/v1")
    assert expected == (credentials.api_base_url, credentials.oauth_base_url)


@pytest.mark.parametrize(
    ("signed_in_at", "now", "expiry_day"),
    [
        pytest.param("2027-06-15T09:00:00-04:00", datetime(2027, 6, 20, tzinfo=UTC), 16, id="days ago"),
        pytest.param("2027-06-17T09:00:00-04:00", datetime(2027, 6, 15, 12, tzinfo=UTC), 16, id="to come"),
        pytest.param(None, datetime(2027, 6, 20, tzinfo=UTC), 20, id="not known"),
    ],
)
def test_expiry_follows_the_sign_in(signed_in_at: str | None, now: datetime, expiry_day: int) -> None:
    """The session ends at the midnight US Eastern after the sign-in, and never later than today's."""
    assert datetime(2027, 6, expiry_day, 4, tzinfo=UTC) == make(signed_in_at=signed_in_at).expires_at(now)


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


def test_async_client_is_signed_too(credentials: ETradeCredentials) -> None:
    """The async client also signs each call."""

    async def status() -> int:
        async with credentials.get_async_client() as client:
            return (await client.get("/v1/market/quote/IBM.json", params={"detailFlag": "ALL"})).status_code

    assert 200 == asyncio.run(status())


STRANGER = "https://example.com/v1/accounts/list.json"


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


@pytest.mark.parametrize("stranger", [STRANGER, "https://someone:canary@api.etrade.com/v1/accounts"])
def test_clients_refuse_a_stranger_s_address(stranger: str, sends_nothing: list[str]) -> None:
    """A sync or async call to a stranger's address raises before anything is sent, without quoting it."""

    async def ask() -> None:
        async with make().get_async_client() as client:
            await client.post(stranger, params={"q": "canary"})

    with refused(AddressRefused, "Nothing was sent"):
        asyncio.run(ask())
    with make().get_client() as client, refused(AddressRefused, "Nothing was sent"):
        client.get(stranger, params={"q": "canary"})
    assert [] == sends_nothing


def test_client_calls_a_stranger_unsigned_where_it_is_told_to(sends_nothing: list[str]) -> None:
    """A call without a signature may go anywhere."""
    with make().get_client() as client, pytest.raises(httpx.ConnectError):
        client.get(STRANGER, auth=None)
    assert [STRANGER] == sends_nothing


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/accounts/list.json", 302), ("POST", "/v1/accounts/any/orders/place.json", 307)],
)
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


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the four required variables, and these."""

    def set_them(**others: str) -> None:
        for name, value in (ENVIRONMENT | others).items():
            monkeypatch.setenv(name, value)

    return set_them


def test_environment_gives_credentials(variables: Callable[..., None]) -> None:
    """The four variables are enough; the others have defaults."""
    variables()
    assert make().fingerprint == credentials_from_environment().fingerprint


def test_whole_environment_is_read(variables: Callable[..., None]) -> None:
    """Environment, addresses and time of sign-in come from their variables too."""
    oauth_url, api_url = "https://apisb.etrade.com/oauth", "https://apisb.etrade.com/"
    variables(ETRADE_ENVIRONMENT="sandbox", ETRADE_OAUTH_URL=oauth_url, ETRADE_API_URL=api_url)
    variables(ETRADE_SIGNED_IN_AT="2027-06-15T13:00:00Z")
    read = credentials_from_environment()
    assert ("sandbox", datetime(2027, 6, 15, 13, tzinfo=UTC)) == (read.environment, read.signed_in_at)
    assert (oauth_url, api_url.rstrip("/")) == (read.oauth_base_url, read.api_base_url)


def test_production_is_taken_for_live(variables: Callable[..., None]) -> None:
    """`production`, another client's word in `ETRADE_ENVIRONMENT`, means the live environment here too."""
    variables(ETRADE_ENVIRONMENT="production")
    read = credentials_from_environment()
    assert ("live", "https://api.etrade.com") == (read.environment, read.api_base_url)


def test_empty_environment_gives_none() -> None:
    """Without any of the variables there are no credentials, and that is no error."""
    assert credentials_from_environment() is None


def test_half_set_environment_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If only some variables are set, the error names the missing ones."""
    monkeypatch.setenv("ETRADE_CONSUMER_KEY", "canary")
    with refused(CredentialsInvalid, "ETRADE_ACCESS_TOKEN_SECRET"):
        credentials_from_environment()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ETRADE_ENVIRONMENT", "canary", ": Input should be 'live' or 'sandbox'"),
        *product(ENVIRONMENT_VARIABLES, ['"canary"'], [": is in quotes: remove them"]),
        *product(ENVIRONMENT, ["canary%2F", "canary%2f", "canary%2B", "canary%3D"], [":? is still percent"]),
    ],
)
def test_unusable_variable_is_named(variables: Callable[..., None], name: str, value: str, told: str) -> None:
    """A malformed, quoted or encoded variable is refused for that, by its name and without its value."""
    variables(**{"ETRADE_SIGNED_IN_AT": "2027-06-15T13:00:00Z", name: value})
    with refused(CredentialsInvalid, name + told) as error:
        credentials_from_environment()
    assert error.value.__cause__ is None


@pytest.mark.parametrize(("spoiled", "told"), [("'canary'", "in quotes"), ("canary%3D", "percent-encoded")])
@pytest.mark.parametrize("field", SECRETS)
def test_pasted_secret_is_told_of(field: str, spoiled: str, told: str) -> None:
    """If a person pastes a secret in quotes or encoded, the error names the field without its value."""
    with refused(ValidationError, rf"{field}(?s:.*){told}"):
        make(**{field: spoiled})


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
