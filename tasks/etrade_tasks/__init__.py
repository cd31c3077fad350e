"""The parts of one renewal of an E*TRADE access token: credentials, signing, calling, judging."""

from etrade_tasks.call_renew import call_renew
from etrade_tasks.classify_response import classify_response
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import (
    AddressRefused,
    AuthorizationFailed,
    ConfigurationRefused,
    CredentialsInvalid,
    CredentialsNotFound,
    ETradeError,
    RenewalFailed,
    SessionTooShort,
    SignInRequired,
    TokensNotRenewed,
    VerifierRefused,
)
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.oauth.replies import Outcome, RenewalReply, Verdict
from etrade_tasks.oauth.signature import ETradeAuth, SignedRequest
from etrade_tasks.renew_session import renew_session
from etrade_tasks.session import SessionState, TokenSession
from etrade_tasks.sign_request import sign_request

__all__ = [
    "AddressRefused",
    "AuthorizationFailed",
    "ConfigurationRefused",
    "CredentialsInvalid",
    "CredentialsNotFound",
    "ETradeAuth",
    "ETradeCredentials",
    "ETradeError",
    "Outcome",
    "RenewalFailed",
    "RenewalReply",
    "SessionState",
    "SessionTooShort",
    "SignInRequired",
    "SignedRequest",
    "TokenSession",
    "TokensNotRenewed",
    "Verdict",
    "VerifierRefused",
    "call_renew",
    "classify_response",
    "load_credentials",
    "renew_session",
    "sign_request",
]
