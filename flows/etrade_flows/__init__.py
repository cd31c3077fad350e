"""The flows that keep an E*TRADE access token alive, and the tools for pipelines that use them."""

from etrade_flows.access.clients import etrade_async_client, etrade_client
from etrade_flows.access.renewal import active_session
from etrade_flows.renew_access_token import renew_access_token
from etrade_flows.renew_fleet import renew_fleet
from etrade_flows.runs.once_a_day import end_without_sign_in
from etrade_flows.sign_in import sign_in
from etrade_flows.sign_out import sign_out

__all__ = [
    "active_session",
    "end_without_sign_in",
    "etrade_async_client",
    "etrade_client",
    "renew_access_token",
    "renew_fleet",
    "sign_in",
    "sign_out",
]
