"""The pipeline that the cluster's workers run: it renews the session, then calls E*TRADE."""

from __future__ import annotations

from prefect import flow

from prefect_etrade import etrade_client, renew_access_token


@flow(persist_result=False)
def pipeline() -> None:
    """Renews as a subflow, and reads the accounts."""
    renew_access_token("etrade")
    with etrade_client("etrade") as client:
        client.get("/v1/accounts/list.json").raise_for_status()
