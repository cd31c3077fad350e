#!/usr/bin/env python
"""Serve the flows of the package from one process, without a worker; as `etrade-session serve` does."""

from etrade_flows.cli.serving import serve

if __name__ == "__main__":
    serve()
