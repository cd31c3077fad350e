"""Keep an E*TRADE access token alive, so that a pipeline can count on it before it calls E*TRADE.

Everything public is here. `etrade_flows` and `etrade_tasks` are internal: their names may change in any
version.
"""

from importlib.metadata import version

from etrade_flows.access.clients import etrade_async_client, etrade_client, judge_answer
from etrade_flows.access.renewal import active_session
from etrade_flows.person.login import SignIn, begin_sign_in, complete_sign_in
from etrade_flows.person.waiting_runs import pause_key
from etrade_flows.renew_access_token import renew_access_token
from etrade_flows.renew_fleet import renew_fleet
from etrade_flows.runs.once_a_day import end_without_sign_in
from etrade_flows.sign_in import sign_in
from etrade_flows.sign_out import sign_out
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
    PrefectUnavailable,
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

__version__ = version("prefect-etrade")

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
    "PrefectUnavailable",
    "RenewalFailed",
    "RenewalReply",
    "SessionState",
    "SessionTooShort",
    "SignIn",
    "SignInRequired",
    "SignedRequest",
    "TokenSession",
    "TokensNotRenewed",
    "Verdict",
    "VerifierRefused",
    "__version__",
    "active_session",
    "begin_sign_in",
    "call_renew",
    "classify_response",
    "complete_sign_in",
    "end_without_sign_in",
    "etrade_async_client",
    "etrade_client",
    "judge_answer",
    "load_credentials",
    "pause_key",
    "renew_access_token",
    "renew_fleet",
    "renew_session",
    "sign_in",
    "sign_out",
    "sign_request",
]
