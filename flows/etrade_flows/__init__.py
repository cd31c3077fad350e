"""The flows that keep an E*TRADE access token alive."""

from etrade_flows.renew_access_token import renew_access_token

__all__ = ["renew_access_token"]
