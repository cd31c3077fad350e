"""What `etrade-session status` tells of each session. `judgement` brings it together."""
