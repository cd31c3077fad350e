"""OAuth 1.0a as E*TRADE speaks it. Knows nothing of Prefect."""
