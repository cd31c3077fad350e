"""E*TRADE's sign-in and sign-out calls, against the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from etrade_simulator import Fault, Simulator
from etrade_tasks import ConfigurationRefused, ETradeCredentials, ETradeError, SignInRequired
from etrade_tasks.clock import use_clock
from etrade_tasks.errors import AuthorizationFailed, VerifierRefused
from etrade_tasks.oauth.authorization import (
    IssuedToken,
    access_token,
    authorize_url,
    granted,
    request_token,
    revoke,
    try_request_token,
    verifier_in,
)
from etrade_tasks.oauth.call import ATTEMPTS
from etrade_tasks.oauth.signature import SigningKeys

pytestmark = pytest.mark.usefixtures("quick_retries")

REQUEST, ACCESS, REVOKE = "/request_token", "/access_token", "/revoke_access_token"
FORM = "application/x-www-form-urlencoded"
MINUTE = timedelta(minutes=1)

Act = Callable[[], None]


@dataclass
class Application:
    """An application that signs in to the simulator.

    Attributes:
        simulator: The simulator.
        consumer: The key pair of its live consumer.
    """

    simulator: Simulator
    consumer: SigningKeys

    @property
    def secrets(self) -> tuple[str, str]:
        """Its key and its secret."""
        return self.consumer.consumer_key, self.consumer.consumer_secret

    def begin(self) -> IssuedToken:
        """Begin a sign-in."""
        return request_token(self.consumer, self.simulator.oauth_url)

    def exchange(self, begun: IssuedToken, verifier: str) -> IssuedToken:
        """Complete the sign-in with what a person entered."""
        return access_token(self.consumer, begun, verifier, self.simulator.oauth_url)

    def sign_in(self) -> tuple[IssuedToken, IssuedToken]:
        """Begin a sign-in, accept it as a person would, and complete it."""
        begun = self.begin()
        return begun, self.exchange(begun, self.simulator.approve(begun.token))

    def statuses(self, path: str) -> list[int | None]:
        """What the calls to this path were answered."""
        return [call.status for call in self.simulator.calls(path)]


@pytest.fixture
def app(simulator: Simulator) -> Application:
    """The simulator's live application."""
    made = simulator.consumer("live")
    return Application(simulator, SigningKeys(made.key, made.secret))


class TestTryRequestToken:
    """`try_request_token` and `granted`."""

    LIMIT = timedelta(seconds=5)

    def test_good_key_is_granted_a_token(self, app: Application) -> None:
        """If E*TRADE accepts the key, one call gets a token."""
        assert granted(try_request_token(app.consumer, app.simulator.oauth_url, self.LIMIT))
        assert [200] == app.statuses(REQUEST)

    @pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=200, body="<html>Maintenance</html>")])
    def test_failure_is_tried_once_and_returned(self, app: Application, fault: Fault) -> None:
        """A failed call is returned as it is, without the further attempts of a sign-in."""
        app.simulator.plant(fault, path=REQUEST)
        reply = try_request_token(app.consumer, app.simulator.oauth_url, self.LIMIT)
        assert (fault.status, False) == (reply.status_code, granted(reply))
        assert [fault.status] == app.statuses(REQUEST)


class TestRequestToken:
    """`request_token` and `authorize_url`."""

    def test_person_finds_the_page_that_asks(self, app: Application) -> None:
        """The address opens the page that asks for consent, so key and token have arrived whole."""
        page = httpx.get(authorize_url(app.consumer, app.begin(), app.simulator.oauth_url))
        assert (200, True) == (page.status_code, 'id="accept"' in page.text)

    @pytest.mark.parametrize("host", ["api", "apisb"])
    def test_etrade_asks_on_its_own_pages(self, host: str) -> None:
        """For both of E*TRADE's OAuth hosts the page is on us.etrade.com, with the token encoded once."""
        token = IssuedToken("a/b+c=", "fake-secret", datetime(2027, 6, 15, tzinfo=UTC))
        address = authorize_url(SigningKeys("fake&key", "fake"), token, f"https://{host}.etrade.com/oauth")
        assert "https://us.etrade.com/e/t/etws/authorize?key=fake%26key&token=a%2Fb%2Bc%3D" == address

    def test_unknown_consumer_key_is_a_configuration(self, simulator: Simulator) -> None:
        """A key that E*TRADE does not know is refused once, with the likely causes."""
        with pytest.raises(ConfigurationRefused, match=r"consumer_key_rejected.*sandbox key used as live"):
            request_token(SigningKeys("fake-key", "fake-secret"), simulator.oauth_url)
        assert 1 == len(simulator.calls(REQUEST))

    def test_wrong_consumer_secret_is_a_configuration(self, app: Application) -> None:
        """The error for a wrong signature names a mistyped consumer secret as a likely cause."""
        with pytest.raises(ConfigurationRefused, match=r"signature_invalid.*consumer secret"):
            request_token(SigningKeys(app.consumer.consumer_key, "fake-secret"), app.simulator.oauth_url)

    def test_bare_refusal_is_about_the_consumer(self, app: Application) -> None:
        """A 401 that has no reason twice is about the consumer key, since the call carries no token."""
        app.simulator.plant(Fault(status=401), path=REQUEST, times=2)
        with pytest.raises(ConfigurationRefused):
            app.begin()


class TestAttempts:
    """What every call does if E*TRADE, the network or the clock fails."""

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(status=503),
            Fault(status=400, body="Number of requests exceeded the rate limit set"),
            Fault(status=200, body="<h1>We are down for maintenance</h1>"),
            Fault(status=200, body="oauth_token=only-half", content_type=FORM),
            Fault(status=302, headers={"Location": "http://127.0.0.1:9/"}),
            Fault(status=401, body="oauth_problem=nonce_used"),
            Fault(drop="before-answer"),
        ],
        ids=lambda fault: f"{fault.status or fault.drop}-{fault.body[:8]}",
    )
    def test_passing_trouble_is_tried_again(self, app: Application, fault: Fault) -> None:
        """A failure that may pass is tried again, signed again, and the second attempt succeeds."""
        app.simulator.plant(fault, path=REQUEST)
        begun = app.begin()
        assert 2 == len(app.simulator.calls(REQUEST))
        assert app.simulator.approve(begun.token)

    def test_lasting_trouble_is_given_up(self, app: Application) -> None:
        """After the last attempt the error shows status and text, and says that trying later may help."""
        app.simulator.plant(Fault(status=500, body="out of order"), path=REQUEST, times=9)
        with pytest.raises(AuthorizationFailed, match="status 500, text/html: 'out of order'") as failed:
            app.begin()
        assert (ATTEMPTS, True) == (len(app.simulator.calls(REQUEST)), failed.value.retryable)

    def test_long_pause_is_not_waited_for(self, app: Application) -> None:
        """If E*TRADE asks for a wait of a minute, the call fails at once."""
        app.simulator.plant(Fault(status=503, headers={"Retry-After": "60"}), path=REQUEST)
        with pytest.raises(AuthorizationFailed):
            app.begin()
        assert 1 == len(app.simulator.calls(REQUEST))

    def test_unreachable_host_says_so(self, app: Application) -> None:
        """If nobody listens, the error says what the network did."""
        with pytest.raises(AuthorizationFailed, match="Connection refused"):
            request_token(app.consumer, "http://127.0.0.1:9/oauth")

    @pytest.mark.parametrize("behind", [timedelta(minutes=3), timedelta(minutes=-3), timedelta(hours=5)])
    def test_sign_in_after_midnight_is_of_the_new_day(self, app: Application, behind: timedelta) -> None:
        """The token has E*TRADE's date, even if this machine's clock is off by less than E*TRADE refuses."""
        app.simulator.advance(timedelta(hours=12, minutes=1))
        with use_clock(lambda: app.simulator.now() - behind):
            begun, bought = app.sign_in()
        for found in (begun, bought):
            assert abs(app.simulator.now() - found.issued_at) < timedelta(seconds=10)
            assert abs(behind - found.clock_offset) < timedelta(seconds=10)

    def test_date_of_another_clock_is_not_believed(self, app: Application) -> None:
        """If E*TRADE accepted the timestamp, a `Date` of another day is ignored."""
        body = "oauth_token=fake&oauth_token_secret=fake"
        headers = {"Date": "Fri, 15 Jan 1999 12:00:00 GMT"}
        app.simulator.plant(Fault(status=200, body=body, content_type=FORM, headers=headers), path=REQUEST)
        begun = app.begin()
        assert timedelta(0) == begun.clock_offset
        assert abs(app.simulator.now() - begun.issued_at) < MINUTE

    def test_wrong_clock_is_healed_once_for_both_calls(self, app: Application) -> None:
        """The first call learns how far the clock is off, and the exchange needs no extra attempt."""
        with use_clock(lambda: app.simulator.now() - timedelta(hours=1)):
            _, bought = app.sign_in()
        assert ([401, 200], [200]) == (app.statuses(REQUEST), app.statuses(ACCESS))
        assert abs(app.simulator.now() - bought.issued_at) < MINUTE


@pytest.mark.parametrize(
    ("entered", "verifier"),
    [
        (" AB12C\n", "AB12C"),
        ("ab12c", "AB12C"),
        ("oauth_verifier=ab12c", "AB12C"),
        ("oauth_token=x&oauth_verifier=AB12C", "AB12C"),
        ("https://fake.example/back?oauth_verifier=AB12C&oauth_token=x", "AB12C"),
        ("https://fake.example/back#oauth_token=x&oauth_verifier=AB12C", "AB12C"),
        ("?oauth_verifier=a%2Fb", "a/b"),
        ("not_oauth_verifier=AB12C", "not_oauth_verifier=AB12C"),
        ("Ab12Cd", "Ab12Cd"),
        ("a/b+c", "a/b+c"),
        ("https://fake.example/back?oauth_verifier=", ""),
        ("https://fake.example/", ""),
        ("", ""),
    ],
)
def test_verifier_is_found_in_what_was_entered(entered: str, verifier: str) -> None:
    """An address is searched for its verifier, and anything that does not look like one stays as typed."""
    assert verifier == verifier_in(entered)


class TestAccessToken:
    """`access_token`."""

    def test_token_works_as_it_was_decoded(self, app: Application, credentials: ETradeCredentials) -> None:
        """Token and secret are decoded exactly once: E*TRADE accepts a call that they sign."""
        _, bought = app.sign_in()
        fields = credentials.model_dump(context={"include_secrets": True}) | {
            "access_token": bought.token,
            "access_token_secret": bought.secret,
        }
        with ETradeCredentials.model_validate(fields).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code

    def test_unencoded_plus_stays_a_plus(self, app: Application) -> None:
        """An unencoded plus is not read as a blank, and an encoded percent sign is decoded only once."""
        body = "oauth_token=a+b%2B%253D&oauth_token_secret=c%2Fd%3D\n"
        app.simulator.plant(Fault(status=200, body=body, content_type=FORM), path=ACCESS)
        bought = app.exchange(app.begin(), "ABC12")
        assert ("a+b+%3D", "c/d=") == (bought.token, bought.secret)

    def test_one_call_takes_it_as_a_person_enters_it(self, app: Application) -> None:
        """A verifier in small letters in a callback address gets the token in one call."""
        begun = app.begin()
        verifier = app.simulator.approve(begun.token).lower()
        assert app.exchange(begun, f" https://fake.example/?oauth_token=x&oauth_verifier={verifier}\n").token
        assert [200] == app.statuses(ACCESS)

    @pytest.mark.parametrize("entered", [" ", "https://us.etrade.com/e/t/etws/authorize?key=a&token=b"])
    def test_no_verifier_makes_no_call(self, app: Application, entered: str) -> None:
        """An empty entry, or an address without a verifier, is refused without asking E*TRADE."""
        with pytest.raises(VerifierRefused, match="No verifier"):
            app.exchange(app.begin(), entered)
        assert [] == app.statuses(ACCESS)

    @pytest.mark.parametrize(
        ("problem", "told"),
        [
            ("verifier_invalid", "not the one"),
            ("token_expired", "too late"),
            ("token_used", "already used; it works only once"),
            ("permission_denied", "declined"),
            ("permission_unknown", "Nobody has accepted"),
            ("token_rejected", "mistyped, already used or late"),
            ("", "mistyped, already used or late"),
        ],
    )
    def test_refusals_are_told_apart(self, app: Application, problem: str, told: str) -> None:
        """Each reason of E*TRADE has its own sentence; without a reason the error names all likely ones."""
        body = f"oauth_problem={problem}" if problem else ""
        app.simulator.plant(Fault(status=401, body=body), path=ACCESS, times=2)
        with pytest.raises(VerifierRefused, match=told):
            app.exchange(app.begin(), "ABC12")
        assert (1 if problem else 2) == len(app.statuses(ACCESS))  # a bare status is doubted once

    def test_late_is_known_by_the_clock_too(self, app: Application) -> None:
        """After five minutes a refusal without a reason is explained by the delay."""
        begun = app.begin()
        app.simulator.advance(5 * MINUTE)
        app.simulator.plant(Fault(status=401), path=ACCESS)
        with pytest.raises(VerifierRefused, match="too late"):
            app.exchange(begun, "ABC12")

    def test_consumer_key_that_lapses_is_no_fault_of_the_verifier(self, app: Application) -> None:
        """A refused consumer key is reported as that, even in the exchange of a verifier."""
        app.simulator.plant(Fault(status=401, body="oauth_problem=consumer_key_rejected"), path=ACCESS)
        with pytest.raises(ConfigurationRefused):
            app.exchange(app.begin(), "ABC12")


@pytest.fixture
def revoking(credentials: ETradeCredentials) -> Act:
    """Revokes the token of the credentials."""
    return lambda: revoke(credentials.signing_keys, credentials.oauth_base_url)


class TestRevoke:
    """`revoke`."""

    def test_revoked_token_is_dead(self, revoking: Act, credentials: ETradeCredentials) -> None:
        """After a revocation E*TRADE no longer accepts the token, and a second one raises its own error."""
        revoking()
        with credentials.get_client() as client:
            assert 401 == client.get("/v1/accounts/list.json").status_code
        with pytest.raises(SignInRequired, match="token_rejected"):
            revoking()

    @pytest.mark.parametrize("body", ["Revoked\nAccess Token ", "oauth_token=a&oauth_token_secret=b"])
    def test_either_answer_counts(self, simulator: Simulator, revoking: Act, body: str) -> None:
        """Both E*TRADE's newer sentence and its older token pair count as success."""
        simulator.plant(Fault(status=200, body=body), path=REVOKE)
        revoking()
        assert 1 == len(simulator.calls(REVOKE))

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault(status=401), AuthorizationFailed),
            (Fault(status=500), AuthorizationFailed),
            (Fault(status=200, body="busy"), AuthorizationFailed),
            (Fault(status=404), ConfigurationRefused),
        ],
    )
    def test_doubt_is_a_failure(
        self, simulator: Simulator, revoking: Act, fault: Fault, error: type[ETradeError]
    ) -> None:
        """An answer that does not confirm that the token is dead is a failure, or a wrong address."""
        simulator.plant(fault, path=REVOKE, times=ATTEMPTS)
        with pytest.raises(error):
            revoking()


def test_bare_status_is_asked_once_more(app: Application, revoking: Act) -> None:
    """A page that says nothing but its status ends no step: each call is made once more."""
    for path in (REQUEST, ACCESS, REVOKE):
        app.simulator.plant(Fault(status=404), path=path)
    app.sign_in()
    revoking()
    assert [[404, 200]] * 3 == [app.statuses(path) for path in (REQUEST, ACCESS, REVOKE)]


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_errors_hold_no_secret(app: Application, status: int) -> None:
    """Whatever E*TRADE echoes, the error holds no key, token, secret or verifier."""
    begun = app.begin()
    known = (*app.secrets, begun.token, begun.secret, "XY7Q9")
    spellings = [spelling for secret in known for spelling in (secret, quote(secret, safe=""))]
    body = " ".join(["echo:", *spellings])
    app.simulator.plant(Fault(status=status, body=body), path=ACCESS, times=ATTEMPTS)
    with pytest.raises(ETradeError) as failed:
        app.exchange(begun, "XY7Q9")
    told = repr(failed.value) + repr(failed.value.__cause__) + repr(failed.value.__context__)
    assert [] == [spelling for spelling in spellings if spelling in told]


def test_nothing_printable_holds_a_secret(app: Application) -> None:
    """Printing keys and tokens in Python shows none of them."""
    begun, bought = app.sign_in()
    known = (*app.secrets, begun.token, begun.secret, bought.token, bought.secret)
    assert [] == [secret for secret in known if secret in f"{app.consumer!r} {begun!r} {bought!r}"]
