#!/usr/bin/env python
"""Installs the automations that tell people of a session; as `etrade-session alerts` does."""

import sys

from etrade_flows.cli.app import main

if __name__ == "__main__":
    main(["alerts", *sys.argv[1:]])
