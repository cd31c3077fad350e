"""The report of a session: its state, its limits, a picture of its day, and no secret."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from prefect.artifacts import Artifact

from etrade_flows import renew_access_token
from etrade_flows.report.artifact import artifact_key
from etrade_tasks import ETradeCredentials


@pytest.fixture(scope="module")
def reported(stage: Any) -> ETradeCredentials:
    """The credentials in the block `reported`, which no other test renews."""
    return stage.save("reported", stage.credentials())


@pytest.fixture(scope="module")
def report(stage: Any, reported: ETradeCredentials) -> str:
    """The address of the report after a renewal, a reuse, and another renewal."""
    for force in (True, False, True):
        stage.run(renew_access_token, credentials="reported", force=force)
    return f"{stage.url}/v2/artifacts/artifact/{stage.act(Artifact.get, artifact_key('reported')).id}"


def row(page: Page, first: str) -> Locator:
    """The cells of the row that begins with these words."""
    found = page.get_by_role("row").filter(has=page.get_by_role("cell", name=first, exact=True))
    return found.get_by_role("cell")


def test_report_shows_how_the_session_stands_and_its_tables(report: str, page: Page) -> None:
    """The report begins with the session's state, and shows its limits and the latest attempts as tables."""
    page.goto(report)
    heading = page.get_by_role("heading", name="active: good until midnight US Eastern")
    expect(heading).to_be_visible()
    expect(page.get_by_text(re.compile(r"^reported on .+ at \d\d:\d\d US Eastern$"))).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(2)
    expect(row(page, "expires").nth(1)).to_contain_text("00:00")
    expect(row(page, "expires").last).to_have_text(re.compile(r"^in .+ (min|s)$"))
    expect(row(page, "renewed").last).to_have_text(re.compile(r"(ago|just now)$"))
    attempts = page.get_by_role("table").last.get_by_role("row").get_by_role("cell")
    expect(attempts.filter(has_text=re.compile(r"^.\s(renewed|signed.in)$")).nth(2)).to_be_visible()
    outcomes = [text[2:] for text in attempts.all_inner_texts()[1::4]]
    assert ["renewed", "renewed", "signed in"] == [outcome.replace("\u00a0", " ") for outcome in outcomes[:3]]


def test_report_shows_the_day_as_a_picture(report: str, page: Page) -> None:
    """The picture of the day is drawn, fits its column, and has a description in words."""
    page.goto(report)
    picture = page.get_by_role("img", name=re.compile("US Eastern: active, "))
    expect(picture).to_be_visible()
    # Looked up each time: the page replaces the picture whenever its layout changes.
    page.wait_for_function(
        """() => {
            const image = document.querySelector('img[alt*="US Eastern: active, "]');
            return image?.naturalWidth === 900
                && 0 < image.clientWidth && image.clientWidth <= image.parentElement.clientWidth;
        }"""
    )


def test_report_holds_no_secret(report: str, reported: ETradeCredentials, page: Page) -> None:
    """Neither the report nor its raw text contains a key, a token or a secret."""
    page.goto(report)
    expect(page.get_by_role("table")).to_have_count(2)
    seen = page.content()
    page.get_by_role("tab", name="Raw").click()
    expect(page.get_by_text("## ")).to_be_visible()
    seen += page.content()
    keys = reported.signing_keys
    secrets = (keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret)
    assert [] == [secret for secret in secrets if secret in seen]
