"""A stranger's answer has no effect on those who read about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from etrade_flows.cli import app as cli
from etrade_flows.cli.output import report_error, report_session
from etrade_tasks import AuthorizationFailed, ETradeCredentials, RenewalFailed, TokenSession
from etrade_tasks.errors import ETradeError
from etrade_tasks.oauth.authorization import request_token
from etrade_tasks.renew_session import renew_shared
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.turn import Shared

EVIL = "\x1b]0;owned\x07 <!channel> @here [sign in](https://evil.example) www.evil.example **now** " * 40
ACTS = re.compile(r"[\x00-\x1f\x7f-\x9f]|<!|@|://evil|\]\(|www\.|\*\*")
HEADERS = ("Content-Type", "Retry-After", "WWW-Authenticate", "Location", "Date", "Server", "X-Any")

pytestmark = [pytest.mark.usefixtures("quick_retries"), pytest.mark.starts_programs]


@pytest.fixture
def stranger(serve: Callable[..., Any]) -> str:
    """The address of a server that sends something evil in each header and in the body."""
    evil = EVIL.replace("\x07", "")  # no client accepts this in a header
    return serve(status=403, body=EVIL.encode(), headers=dict.fromkeys(HEADERS, evil)).url


def renewal(credentials: ETradeCredentials) -> None:
    renew_shared(Shared(credentials, Effort("main")))


def sign_in(credentials: ETradeCredentials) -> None:
    request_token(credentials.consumer_keys, credentials.oauth_base_url)


@pytest.mark.usefixtures("quick_flows")
@pytest.mark.parametrize(("fail", "error"), [(renewal, RenewalFailed), (sign_in, AuthorizationFailed)])
def test_a_failure_quotes_it_without_effect(
    stranger: str,
    keys_for: Callable[[str], ETradeCredentials],
    fail: Callable[[ETradeCredentials], None],
    error: type[ETradeError],
) -> None:
    """The error of a renewal or a sign-in, which logs, states, events and chats show, is short and inert."""
    with pytest.raises(error) as failed:
        fail(keys_for(stranger))
    assert "status 403" in failed.value.message
    assert None is ACTS.search(str(failed.value))
    assert len(str(failed.value)) < 900


# The terminal -------------------------------------------------------------------------------------------

NAMES = ("[/red]", "[bold]x", "[link=https://evil.example]x", ":x:", "a\x1b[31mb")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(
    name: str, noon: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name like markup is shown letter for letter, in a session's line and in an error, without effect."""
    monkeypatch.setenv("COLUMNS", "200")
    clean = name.replace("\x1b", " ")
    session = TokenSession(
        environment="live", fingerprint="0" * 16, renewed_at=noon, idle_at=noon, expires_at=noon, attempts=1
    )
    report_session(name, session)
    shown = capsys.readouterr().out
    assert (True, False) == (f"{clean} (live)" in shown, "\x1b" in shown)
    report_error(ETradeError(f"about {name}.", advice=f"see {name}."))
    assert f"ETradeError: about {clean}.\nNext: see {clean}.\n" == capsys.readouterr().err


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("command", ["renew", "status", "doctor"])
def test_no_command_takes_a_name_for_markup(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials with square brackets in their name do not end a command in a traceback."""
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--credentials", "[/red]"])
    shown = capsys.readouterr()
    assert ended.value.code in (1, 2, 4)
    assert "MarkupError" not in shown.out + shown.err


@pytest.mark.parametrize("arguments", [["[/red]"], ["renew", "--[/red]"], ["renew", "--required-for", "[/]"]])
def test_a_usage_error_is_shown_as_it_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument with square brackets is a usage error, which shows it."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert 2 == ended.value.code
    assert "[/" in capsys.readouterr().err
