"""Says what a check should find, for the tests of the doctor."""

from __future__ import annotations

from etrade_flows.health.findings import Finding, Health


def expect(finding: Finding, verdict: Health, *, says: str = "", remedy: str = "") -> None:
    """Fail unless the finding has this verdict, and contains these words."""
    fits = verdict is finding.verdict and says in finding.says and remedy in finding.remedy
    assert fits, f"expected {verdict}: {says!r}, remedy {remedy!r}; found {finding}"
