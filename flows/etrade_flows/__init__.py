"""The flow that keeps an E*TRADE access token alive, and what pipelines build on it."""

from etrade_flows.active_session import active_session
from etrade_flows.clients import etrade_async_client, etrade_client
from etrade_flows.renew_access_token import renew_access_token

__all__ = ["active_session", "etrade_async_client", "etrade_client", "renew_access_token"]
