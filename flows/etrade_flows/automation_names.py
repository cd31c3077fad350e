"""The names of the automations that tell people of a session, for who installs and who looks for them."""

from __future__ import annotations

from etrade_flows.session_news import SessionEvent

NAMES = {
    SessionEvent.SIGN_IN_REQUIRED: "E*TRADE: tell that a sign-in is due",
    SessionEvent.EXPIRING: "E*TRADE: tell that a session is about to end",
    SessionEvent.FAILING: "E*TRADE: tell that a renewal has failed",
    SessionEvent.KEY_LAPSING: "E*TRADE: tell that a consumer key is about to lapse",
}
"""The automation that notifies of each alert."""
