"""How sessions stand and what renewals need, for `etrade-session status` and `doctor`."""
