"""How sessions stand and what renewals rest on: one reading, for `etrade-session status` and `doctor`."""
