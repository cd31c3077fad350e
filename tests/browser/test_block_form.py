"""The form in which a person enters the credentials."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from etrade_tasks import ETradeCredentials
from etrade_tasks.session import EASTERN

FIELDS = ETradeCredentials.model_fields
SECRETS = ("Consumer key", "Consumer secret", "Access token", "Access token secret")


@pytest.fixture
def form(stage: Any, signed_in: ETradeCredentials, page: Page) -> Page:
    """The empty form for new credentials; saving `signed_in` has registered the block type."""
    page.goto(f"{stage.url}/v2/blocks/catalog/etrade-credentials/create")
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_be_visible()
    return page


def secret_field(form: Page, title: str) -> Locator:
    """The field of a secret; the form marks some of them as optional."""
    return form.get_by_role("textbox", name=re.compile(rf"^{title}( \(Optional\))?$"))


def fill(form: Page, name: str, credentials: ETradeCredentials) -> None:
    """Type in the credentials, except the time of sign-in."""
    form.get_by_role("textbox", name="Name", exact=True).fill(name)
    form.get_by_role("button", name="Select Environment").click()
    form.get_by_role("option", name=credentials.environment).click()
    for title, value in zip(SECRETS, secrets(credentials), strict=True):
        secret_field(form, title).fill(value)
    form.get_by_role("textbox", name="OAuth address").fill(credentials.oauth_url)
    form.get_by_role("textbox", name="API address").fill(credentials.api_url)


def pick_june_15_2027_at_nine(form: Page) -> None:
    """Pick a time of sign-in. The form reads it in the browser's own time zone."""
    form.get_by_role("tab", name="date-time").click()
    form.get_by_role("tabpanel", name="date-time").get_by_role("button").first.click()
    picker = form.get_by_role("dialog")
    picker.get_by_role("combobox", name="Choose the Month").select_option("Jun")
    picker.get_by_role("combobox", name="Choose the Year").select_option("2027")
    picker.get_by_role("button", name="June 15th").click()
    picker.get_by_role("button", name="9", exact=True).click()
    form.keyboard.press("Escape")
    expect(form.get_by_text("06/15/2027 09:00 AM")).to_be_visible()


def save(form: Page) -> None:
    """Save the form."""
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_text("Block created successfully")).to_be_visible()
    expect(form.get_by_text("Paste this snippet")).to_be_visible()


def held(credentials: ETradeCredentials) -> dict[str, Any]:
    """The value of each field."""
    return {name: getattr(credentials, name) for name in FIELDS}


def secrets(credentials: ETradeCredentials) -> list[str]:
    """The four secrets in plain text, in the order of the form."""
    keys = credentials.signing_keys
    return [keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret]


def test_catalog_offers_the_credentials(stage: Any, signed_in: ETradeCredentials, page: Page) -> None:
    """The catalog lists `E*TRADE Credentials`, with a link to their form."""
    page.goto(f"{stage.url}/v2/blocks/catalog")
    title = page.get_by_role("heading", name="E*TRADE Credentials", exact=True)
    title.scroll_into_view_if_needed()
    expect(title).to_be_visible()
    expect(page.locator('a[href$="/blocks/catalog/etrade-credentials/create"]')).to_be_visible()


def test_form_explains_each_field_and_hides_secrets(form: Page) -> None:
    """Each field has a title and a sentence that says what to enter, and secrets are hidden while typed."""
    for field in FIELDS.values():
        expect(form.get_by_text(re.compile(rf"^{field.title}( \(Optional\))?$"))).to_be_visible()
        expect(form.get_by_text(field.description, exact=True)).to_be_visible()
    kinds = [secret_field(form, title).get_attribute("type") for title in SECRETS]
    assert ["password"] * 4 == kinds


def test_saved_form_is_the_block(stage: Any, form: Page) -> None:
    """The block that the form saves loads with exactly the values that were typed in."""
    credentials = stage.credentials("sandbox")
    fill(form, "from-the-form", credentials)
    pick_june_15_2027_at_nine(form)
    save(form)
    loaded = stage.act(ETradeCredentials.load, "from-the-form")
    picked = datetime(2027, 6, 15, 9, tzinfo=EASTERN)
    assert held(credentials) | {"signed_in_at": picked} == held(loaded)


def test_consumer_keys_alone_are_a_block(stage: Any, form: Page) -> None:
    """The form saves consumer keys without a token, for a person who has not signed in yet."""
    credentials = stage.credentials()
    form.get_by_role("textbox", name="Name", exact=True).fill("keys-alone")
    for title, value in zip(SECRETS[:2], secrets(credentials), strict=False):
        secret_field(form, title).fill(value)
    save(form)
    loaded = stage.act(ETradeCredentials.load, "keys-alone")
    assert (credentials.consumer_key, None, None) == (
        loaded.consumer_key,
        loaded.access_token,
        loaded.access_token_secret,
    )


def test_edit_form_shows_no_secret_and_changes_only_what_is_typed(stage: Any, form: Page) -> None:
    """The edit form hides the secrets, and saving it keeps them and all else that was not typed."""
    credentials = stage.credentials("sandbox")
    fill(form, "moved", credentials)
    save(form)
    form.get_by_role("button", name="Open menu").click()
    form.get_by_role("menuitem", name="Edit").click()
    expect(form.get_by_role("button", name="Save")).to_be_visible()
    for title in SECRETS:
        expect(secret_field(form, title)).to_have_value("********")
    shown = form.content()
    assert [] == [secret for secret in secrets(credentials) if secret in shown]
    form.get_by_role("textbox", name="API address").fill("https://api.example.com")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_text("Block updated successfully")).to_be_visible()
    loaded = stage.act(ETradeCredentials.load, "moved")
    expected = {"api_url": "https://api.example.com", "signed_in_at": None}
    assert held(credentials) | expected == held(loaded)
