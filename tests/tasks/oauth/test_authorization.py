"""E*TRADE's sign-in and sign-out calls, against the simulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from etrade_simulator import Fault, Simulator
from etrade_tasks import ConfigurationRefused, ETradeCredentials, ETradeError, SignInRequired
from etrade_tasks.clock import use_clock
from etrade_tasks.errors import AuthorizationFailed, VerifierRefused
from etrade_tasks.oauth.authorization import (
    ConsumerKeys,
    RequestToken,
    access_token,
    authorize_url,
    granted,
    request_token,
    revoke,
    try_request_token,
    verifier_in,
)
from etrade_tasks.oauth.call import ATTEMPTS

pytestmark = pytest.mark.usefixtures("quick_retries")

REQUEST, ACCESS, REVOKE = "/request_token", "/access_token", "/revoke_access_token"
FORM = "application/x-www-form-urlencoded"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def consumer(simulator: Simulator) -> ConsumerKeys:
    """The key pair of the simulator's live consumer."""
    made = simulator.consumer("live")
    return ConsumerKeys(made.key, made.secret)


@pytest.fixture
def begun(simulator: Simulator, consumer: ConsumerKeys) -> RequestToken:
    """A sign-in that waits for a person."""
    return request_token(consumer, simulator.oauth_url)


def statuses(simulator: Simulator, path: str) -> list[int | None]:
    return [call.status for call in simulator.calls(path)]


class TestTryRequestToken:
    """`try_request_token` and `granted`."""

    LIMIT = timedelta(seconds=5)

    def test_good_key_is_granted_a_token(self, simulator: Simulator, consumer: ConsumerKeys) -> None:
        """If E*TRADE accepts the key, one call gets a token."""
        assert granted(try_request_token(consumer, simulator.oauth_url, self.LIMIT))
        assert [200] == statuses(simulator, REQUEST)

    @pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=200, body="<html>Maintenance</html>")])
    def test_failure_is_tried_once_and_returned(
        self, simulator: Simulator, consumer: ConsumerKeys, fault: Fault
    ) -> None:
        """A failed call is returned as it is, without the further attempts of a sign-in."""
        simulator.plant(fault, path=REQUEST)
        reply = try_request_token(consumer, simulator.oauth_url, self.LIMIT)
        assert (fault.status, False) == (reply.status_code, granted(reply))
        assert [fault.status] == statuses(simulator, REQUEST)


class TestRequestToken:
    """`request_token` and `authorize_url`."""

    def test_person_finds_the_page_that_asks(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken
    ) -> None:
        """The address opens the page that asks for consent, so key and token have arrived whole."""
        page = httpx.get(authorize_url(consumer, begun, simulator.oauth_url))
        assert (200, True) == (page.status_code, 'id="accept"' in page.text)

    @pytest.mark.parametrize("host", ["api", "apisb"])
    def test_etrade_asks_on_its_own_pages(self, host: str) -> None:
        """For both of E*TRADE's OAuth hosts the page is on us.etrade.com, with the token encoded once."""
        token = RequestToken("a/b+c=", "fake-secret", datetime(2027, 6, 15, tzinfo=UTC))
        address = authorize_url(ConsumerKeys("fake&key", "fake"), token, f"https://{host}.etrade.com/oauth")
        assert "https://us.etrade.com/e/t/etws/authorize?key=fake%26key&token=a%2Fb%2Bc%3D" == address

    def test_unknown_consumer_key_is_a_configuration(self, simulator: Simulator) -> None:
        """A key that E*TRADE does not know is refused once, with the likely causes."""
        with pytest.raises(ConfigurationRefused, match=r"consumer_key_rejected.*sandbox key used as live"):
            request_token(ConsumerKeys("fake-key", "fake-secret"), simulator.oauth_url)
        assert 1 == len(simulator.calls(REQUEST))

    def test_wrong_consumer_secret_is_a_configuration(
        self, simulator: Simulator, consumer: ConsumerKeys
    ) -> None:
        """The error for a wrong signature names a mistyped consumer secret as a likely cause."""
        with pytest.raises(ConfigurationRefused, match=r"signature_invalid.*consumer secret"):
            request_token(ConsumerKeys(consumer.key, "fake-secret"), simulator.oauth_url)

    def test_bare_refusal_is_about_the_consumer(self, simulator: Simulator, consumer: ConsumerKeys) -> None:
        """A 401 that has no reason twice is about the consumer key, since the call carries no token."""
        simulator.plant(Fault(status=401), path=REQUEST, times=2)
        with pytest.raises(ConfigurationRefused):
            request_token(consumer, simulator.oauth_url)


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
    def test_passing_trouble_is_tried_again(
        self, simulator: Simulator, consumer: ConsumerKeys, fault: Fault
    ) -> None:
        """A failure that may pass is tried again, signed again, and the second attempt succeeds."""
        simulator.plant(fault, path=REQUEST)
        begun = request_token(consumer, simulator.oauth_url)
        assert 2 == len(simulator.calls(REQUEST))
        assert simulator.approve(begun.token)

    def test_lasting_trouble_is_given_up(self, simulator: Simulator, consumer: ConsumerKeys) -> None:
        """After the last attempt the error shows status and text, and says that trying later may help."""
        simulator.plant(Fault(status=500, body="out of order"), path=REQUEST, times=9)
        with pytest.raises(AuthorizationFailed, match="status 500, text/html: 'out of order'") as failed:
            request_token(consumer, simulator.oauth_url)
        assert (ATTEMPTS, True) == (len(simulator.calls(REQUEST)), failed.value.retryable)

    def test_long_pause_is_not_waited_for(self, simulator: Simulator, consumer: ConsumerKeys) -> None:
        """If E*TRADE asks for a wait of a minute, the call fails at once."""
        simulator.plant(Fault(status=503, headers={"Retry-After": "60"}), path=REQUEST)
        with pytest.raises(AuthorizationFailed):
            request_token(consumer, simulator.oauth_url)
        assert 1 == len(simulator.calls(REQUEST))

    def test_unreachable_host_says_so(self, consumer: ConsumerKeys) -> None:
        """If nobody listens, the error says what the network did."""
        with pytest.raises(AuthorizationFailed, match="Connection refused"):
            request_token(consumer, "http://127.0.0.1:9/oauth")

    @pytest.mark.parametrize("behind", [timedelta(minutes=3), timedelta(minutes=-3), timedelta(hours=5)])
    def test_sign_in_after_midnight_is_of_the_new_day(
        self, simulator: Simulator, consumer: ConsumerKeys, behind: timedelta
    ) -> None:
        """The token has E*TRADE's date, even if this machine's clock is off by less than E*TRADE refuses."""
        simulator.advance(timedelta(hours=12, minutes=1))
        with use_clock(lambda: simulator.now() - behind):
            begun = request_token(consumer, simulator.oauth_url)
            bought = access_token(consumer, begun, simulator.approve(begun.token), simulator.oauth_url)
        for found in (begun, bought):
            assert abs(simulator.now() - found.issued_at) < timedelta(seconds=10)
            assert abs(behind - found.clock_offset) < timedelta(seconds=10)

    def test_date_of_another_clock_is_not_believed(
        self, simulator: Simulator, consumer: ConsumerKeys
    ) -> None:
        """If E*TRADE accepted the timestamp, a `Date` of another day is ignored."""
        body = "oauth_token=fake&oauth_token_secret=fake"
        headers = {"Date": "Fri, 15 Jan 1999 12:00:00 GMT"}
        simulator.plant(Fault(status=200, body=body, content_type=FORM, headers=headers), path=REQUEST)
        begun = request_token(consumer, simulator.oauth_url)
        assert timedelta(0) == begun.clock_offset
        assert abs(simulator.now() - begun.issued_at) < MINUTE

    def test_wrong_clock_is_healed_once_for_both_calls(
        self, simulator: Simulator, consumer: ConsumerKeys
    ) -> None:
        """The first call learns how far the clock is off, and the exchange needs no extra attempt."""
        with use_clock(lambda: simulator.now() - timedelta(hours=1)):
            begun = request_token(consumer, simulator.oauth_url)
            bought = access_token(consumer, begun, simulator.approve(begun.token), simulator.oauth_url)
        assert ([401, 200], [200]) == (statuses(simulator, REQUEST), statuses(simulator, ACCESS))
        assert abs(simulator.now() - bought.issued_at) < MINUTE


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

    def test_token_works_as_it_was_decoded(
        self,
        simulator: Simulator,
        consumer: ConsumerKeys,
        begun: RequestToken,
        credentials: ETradeCredentials,
    ) -> None:
        """Token and secret are decoded exactly once: E*TRADE accepts a call that they sign."""
        bought = access_token(consumer, begun, simulator.approve(begun.token), simulator.oauth_url)
        changes = {"access_token": bought.token, "access_token_secret": bought.secret}
        signer = ETradeCredentials.model_validate(
            {
                "consumer_key": consumer.key,
                "consumer_secret": consumer.secret,
                "api_url": simulator.api_url("live"),
                **changes,
            }
        )
        with signer.get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code

    def test_unencoded_plus_stays_a_plus(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken
    ) -> None:
        """An unencoded plus is not read as a blank, and an encoded percent sign is decoded only once."""
        body = "oauth_token=a+b%2B%253D&oauth_token_secret=c%2Fd%3D\n"
        simulator.plant(Fault(status=200, body=body, content_type=FORM), path=ACCESS)
        bought = access_token(consumer, begun, "ABC12", simulator.oauth_url)
        assert ("a+b+%3D", "c/d=") == (bought.token, bought.secret)

    def test_one_call_takes_it_as_a_person_enters_it(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken
    ) -> None:
        """A verifier in small letters in a callback address gets the token in one call."""
        verifier = simulator.approve(begun.token).lower()
        entered = f" https://fake.example/?oauth_token=x&oauth_verifier={verifier}\n"
        assert access_token(consumer, begun, entered, simulator.oauth_url).token
        assert [200] == statuses(simulator, ACCESS)

    @pytest.mark.parametrize("entered", [" ", "https://us.etrade.com/e/t/etws/authorize?key=a&token=b"])
    def test_no_verifier_makes_no_call(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken, entered: str
    ) -> None:
        """An empty entry, or an address without a verifier, is refused without asking E*TRADE."""
        with pytest.raises(VerifierRefused, match="No verifier"):
            access_token(consumer, begun, entered, simulator.oauth_url)
        assert [] == simulator.calls(ACCESS)

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
    def test_refusals_are_told_apart(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken, problem: str, told: str
    ) -> None:
        """Each reason of E*TRADE has its own sentence; without a reason the error names all likely ones."""
        body = f"oauth_problem={problem}" if problem else ""
        simulator.plant(Fault(status=401, body=body), path=ACCESS, times=2)
        with pytest.raises(VerifierRefused, match=told):
            access_token(consumer, begun, "ABC12", simulator.oauth_url)
        assert (1 if problem else 2) == len(simulator.calls(ACCESS))  # a bare status is doubted once

    def test_late_is_known_by_the_clock_too(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken
    ) -> None:
        """After five minutes a refusal without a reason is explained by the delay."""
        simulator.advance(5 * MINUTE)
        simulator.plant(Fault(status=401), path=ACCESS)
        with pytest.raises(VerifierRefused, match="too late"):
            access_token(consumer, begun, "ABC12", simulator.oauth_url)

    def test_consumer_key_that_lapses_is_no_fault_of_the_verifier(
        self, simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken
    ) -> None:
        """A refused consumer key is reported as that, even in the exchange of a verifier."""
        simulator.plant(Fault(status=401, body="oauth_problem=consumer_key_rejected"), path=ACCESS)
        with pytest.raises(ConfigurationRefused):
            access_token(consumer, begun, "ABC12", simulator.oauth_url)


class TestRevoke:
    """`revoke`."""

    def test_revoked_token_is_dead(self, simulator: Simulator, credentials: ETradeCredentials) -> None:
        """After a revocation, E*TRADE no longer accepts the token."""
        revoke(credentials.signing_keys, credentials.oauth_base_url)
        with credentials.get_client() as client:
            assert 401 == client.get("/v1/accounts/list.json").status_code

    @pytest.mark.parametrize("body", ["Revoked\nAccess Token ", "oauth_token=a&oauth_token_secret=b"])
    def test_either_answer_counts(
        self, simulator: Simulator, credentials: ETradeCredentials, body: str
    ) -> None:
        """Both E*TRADE's newer sentence and its older token pair count as success."""
        simulator.plant(Fault(status=200, body=body), path=REVOKE)
        revoke(credentials.signing_keys, credentials.oauth_base_url)
        assert [200] == statuses(simulator, REVOKE)

    def test_dead_token_is_named_as_such(self, simulator: Simulator, credentials: ETradeCredentials) -> None:
        """Revoking a token that is already dead raises an error of its own."""
        revoke(credentials.signing_keys, credentials.oauth_base_url)
        with pytest.raises(SignInRequired, match="token_rejected"):
            revoke(credentials.signing_keys, credentials.oauth_base_url)

    @pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=500), Fault(status=200, body="busy")])
    def test_doubt_is_a_failure(
        self, simulator: Simulator, credentials: ETradeCredentials, fault: Fault
    ) -> None:
        """An answer that does not confirm that the token is dead is a failure."""
        simulator.plant(fault, path=REVOKE, times=ATTEMPTS)
        with pytest.raises(AuthorizationFailed):
            revoke(credentials.signing_keys, credentials.oauth_base_url)

    def test_wrong_address_is_a_configuration(
        self, simulator: Simulator, credentials: ETradeCredentials
    ) -> None:
        """An address without such a call is a configuration error."""
        simulator.plant(Fault(status=404), path=REVOKE, times=2)
        with pytest.raises(ConfigurationRefused):
            revoke(credentials.signing_keys, credentials.oauth_base_url)


def test_bare_status_is_asked_once_more(
    simulator: Simulator, consumer: ConsumerKeys, credentials: ETradeCredentials
) -> None:
    """A page that says nothing but its status ends no step: each call is made once more."""
    for path in (REQUEST, ACCESS, REVOKE):
        simulator.plant(Fault(status=404), path=path)
    begun = request_token(consumer, simulator.oauth_url)
    access_token(consumer, begun, simulator.approve(begun.token), simulator.oauth_url)
    revoke(credentials.signing_keys, credentials.oauth_base_url)
    assert [[404, 200]] * 3 == [statuses(simulator, path) for path in (REQUEST, ACCESS, REVOKE)]


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_errors_hold_no_secret(
    simulator: Simulator,
    consumer: ConsumerKeys,
    begun: RequestToken,
    status: int,
) -> None:
    """Whatever E*TRADE echoes, the error holds no key, token, secret or verifier."""
    known = (consumer.key, consumer.secret, begun.token, begun.secret, "XY7Q9")
    spellings = [spelling for secret in known for spelling in (secret, quote(secret, safe=""))]
    simulator.plant(Fault(status=status, body=" ".join(["echo:", *spellings])), path=ACCESS, times=ATTEMPTS)
    with pytest.raises(ETradeError) as failed:
        access_token(consumer, begun, "XY7Q9", simulator.oauth_url)
    told = repr(failed.value) + repr(failed.value.__cause__) + repr(failed.value.__context__)
    assert [] == [spelling for spelling in spellings if spelling in told]


def test_nothing_printable_holds_a_secret(
    simulator: Simulator, consumer: ConsumerKeys, begun: RequestToken
) -> None:
    """Printing keys and tokens in Python shows none of them."""
    bought = access_token(consumer, begun, simulator.approve(begun.token), simulator.oauth_url)
    known = (consumer.key, consumer.secret, begun.token, begun.secret, bought.token, bought.secret)
    assert [] == [secret for secret in known if secret in f"{consumer!r} {begun!r} {bought!r}"]
