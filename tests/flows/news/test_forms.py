"""What an alert looks like in a mail and in Slack, as a loopback mail server and a webhook receive it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from typing import Any
from uuid import uuid4

import jinja2
import pytest
from prefect.blocks.notifications import AppriseNotificationBlock, SlackWebhook
from pydantic import SecretStr

from etrade_flows.news.automations import notifications

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # which Apprise imports

RUN = "http://127.0.0.1:4200/runs/flow-run/0190"
ADVICE = f"sign in now: {RUN} (press Resume in the menu of the waiting run)."
LINES = [
    f"Sign in now: {RUN} (press Resume in the menu of the waiting run).",
    "The E*TRADE session of 'my_main_account' ended at 2027-06-15 00:00 US Eastern.",
    "Credentials: my_main_account (live)",
    "Session: expired at 2027-06-15 00:00 US Eastern",
    f"Reported by: renew my_main_account {RUN}",
]


class Mail(AppriseNotificationBlock):
    """A block that sends mail through any server, made like Prefect's own blocks."""


class MailServer(socketserver.StreamRequestHandler):
    """Just enough of RFC 5321 to receive a message."""

    received: list[bytes]

    def handle(self) -> None:
        """Take messages until the client quits."""
        self._say("220 ready")
        while line := self.rfile.readline():
            match line[:4].strip().upper():
                case b"DATA":
                    self._say("354 go on")
                    self.received.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                    self._say("250 taken")
                case b"QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 well")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[tuple[int, list[bytes]]]:
    """Run a mail server, and yield its port and what it has received."""
    received: list[bytes] = []
    handler = type("Handler", (MailServer,), {"received": received})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running.server_address[1], received
        running.shutdown()
        thread.join()


def alert(block: str) -> tuple[str, str]:
    """Body and subject of the alert that a sign-in is due, as the server renders them for a block."""
    action: Any = notifications(uuid4(), block)[0].actions[0]
    templates = jinja2.Environment()  # noqa: S701  # as the server's own, which escapes nothing
    templates.filters["ui_url"] = lambda _: RUN
    payload = {
        "credentials": "my_main_account",
        "environment": "live",
        "message": LINES[1],
        "advice": ADVICE,
        "session": "expired at 2027-06-15 00:00 US Eastern",
    }
    facts = {"event": {"payload": payload}, "flow_run": {"name": "renew my_main_account"}, "deployment": {}}
    return tuple(templates.from_string(text).render(facts) for text in (action.body, action.subject))


def lines_of(text: str) -> list[str]:
    """The lines that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_mail_keeps_the_lines_of_an_alert() -> None:
    """A mail shows the alert line by line, as text and as HTML, with the link first."""
    with mail_server() as (port, received):
        query = "from=etrade@example.com&to=operators@example.com&mode=insecure"
        block = Mail(url=SecretStr(f"mailto://127.0.0.1:{port}?{query}"))
        with block.raise_on_failure():
            block.notify(*alert("mail/operators"))
    (mail,) = received
    message: Any = message_from_bytes(mail, policy=policy.default)
    assert "E*TRADE: sign in for my_main_account" == message["Subject"]
    html, plain = (message.get_body((kind,)).get_content() for kind in ("html", "plain"))
    assert LINES == lines_of(html.replace("\n", "").replace("<br>", "\n"))
    assert LINES == lines_of(plain)


def test_slack_shows_an_alert_line_by_line(inbox: Any) -> None:
    """Slack gets the subject as the title and each line unchanged, with nothing that it reads as markup."""
    address = f"https://hooks.slack.com/services/T{'0' * 8}/B{'0' * 8}/{'f' * 24}"
    block = SlackWebhook(url=SecretStr(address))
    plugin: Any = next(iter(block._apprise_client))  # it knows only Slack's address
    plugin.webhook_url = inbox.url.rstrip("/")
    with block.raise_on_failure():
        block.notify(*alert("slack-webhook/operators"))
    (sent,) = inbox.received
    (shown,) = sent["attachments"]
    assert "E*TRADE: sign in for my_main_account" == shown["title"]
    assert LINES == lines_of(shown["text"])
