"""The pages that a person sees while signing in: one file each, no script, nothing loaded from elsewhere.

Every element that a browser test looks for has an ``id``: ``application``, ``accept``, ``decline``,
``verifier``, ``declined`` and ``problem``.
"""

from __future__ import annotations

from html import escape

from etrade_simulator.parties import Consumer
from etrade_simulator.tokens import REQUEST_TOKEN_LIFETIME

_MINUTES = int(REQUEST_TOKEN_LIFETIME.total_seconds() // 60)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5b6676; --paper: #f3f5f9; --card: #ffffff;
  --line: #d9dfe8; --strong: #4b2fc4; --on-strong: #ffffff; --note: #fff4d6; --on-note: #6b4e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf3; --soft: #a3aebd; --paper: #12161d;
  --card: #1b212b; --line: #323b49; --strong: #a996ff; --on-strong: #14101f; --note: #3a2f10;
  --on-note: #ffdf8c; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 system-ui, sans-serif; }
main { width: 100%; max-width: 29rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 1rem; padding: 1.75rem; box-shadow: 0 .5rem 2rem rgb(0 0 0 / .08); }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 1.1rem 0 .6rem; }
p { margin: .6rem 0; } .soft { color: var(--soft); font-size: .9375rem; }
.note { margin: 0; padding: .5rem .8rem; border-radius: .6rem; background: var(--note);
  color: var(--on-note); font-size: .875rem; }
dl { margin: 1rem 0; display: grid; grid-template-columns: auto 1fr; gap: .3rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-weight: 600; }
form { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.4rem; }
button { flex: 1 1 9rem; min-height: 3rem; border-radius: .7rem; border: 1px solid var(--line);
  background: transparent; color: inherit; font: inherit; font-weight: 600; cursor: pointer; }
button.strong { background: var(--strong); border-color: var(--strong); color: var(--on-strong); }
button:focus-visible { outline: 3px solid var(--strong); outline-offset: 2px; }
#verifier { display: block; margin: 1.2rem 0; padding: 1rem .5rem 1rem .85rem; text-align: center;
  font: 700 2.6rem/1 ui-monospace, monospace; letter-spacing: .35em; border: 2px dashed var(--strong);
  border-radius: .8rem; user-select: all; -webkit-user-select: all; }
"""

_NOTE = (
    '<p class="note" id="simulator-note"><strong>This is a simulator on your own machine.</strong> '
    "It is not E*TRADE. It never asks for a password, and its codes and tokens work nowhere else.</p>"
)


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)} - E*TRADE simulator</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{_NOTE}\n{content}\n</main>\n</body>\n</html>\n"
    )


def consent_page(consumer: Consumer, request_token: str) -> str:
    """Return the page that asks whether the application may act for the person."""
    key, token = escape(consumer.key), escape(request_token)
    return _page(
        "Allow access?",
        '<h1>Let <span id="application">the sample application</span> use your sample accounts?</h1>\n'
        "<p>It asks to read accounts, balances, positions and quotes until midnight, US Eastern time.</p>\n"
        f'<dl><dt>Environment</dt><dd id="environment">{escape(consumer.environment)}</dd>'
        f'<dt>Consumer key</dt><dd id="consumer-key">{key[:6]}&hellip;{key[-4:]}</dd></dl>\n'
        '<form method="post" action="">'
        f'<input type="hidden" name="key" value="{key}"><input type="hidden" name="token" value="{token}">'
        '<button class="strong" id="accept" name="decision" value="accept">Accept</button>'
        '<button id="decline" name="decision" value="decline">Decline</button></form>\n'
        f'<p class="soft">You can answer within {_MINUTES} minutes of the application\'s request.</p>',
    )


def verifier_page(verifier: str) -> str:
    """Return the page that shows the five-character verifier; one tap or click selects it."""
    return _page(
        "Your verification code",
        "<h1>Almost there: here is your verification code</h1>\n"
        "<p>Go back to the application and type it in. You can then close this page.</p>\n"
        f'<output id="verifier" aria-label="Verification code">{escape(verifier)}</output>\n'
        f'<p class="soft">It works once, within {_MINUTES} minutes of the application\'s request.</p>',
    )


def declined_page() -> str:
    """Return the page that confirms that the person declined."""
    return _page(
        "Access declined",
        '<h1 id="declined">Access declined</h1>\n'
        "<p>The application got nothing. To allow it after all, start a new sign-in there.</p>",
    )


def problem_page(problem: str) -> str:
    """Return the page that says why there is nothing to accept, and what to do about it."""
    return _page(
        "This sign-in cannot go on",
        "<h1>This sign-in cannot go on</h1>\n"
        f"<p>{escape(_ADVICE.get(problem, _ADVICE['token_rejected']))}</p>\n"
        f'<p class="soft">Reason: <code id="problem">{escape(problem)}</code></p>',
    )


_ADVICE = {
    "consumer_key_rejected": "The link names a consumer key that this simulator does not know, or that has "
    "lapsed. A simulator makes new keys each time it starts: use the ones it shows.",
    "token_rejected": "The link names a sign-in that this simulator does not know. Start a new one.",
    "token_expired": f"More than {_MINUTES} minutes have passed. Start a new sign-in.",
    "token_used": "This sign-in is already complete. There is nothing left to do here.",
    "permission_denied": "This sign-in was declined. Start a new one to allow it after all.",
}
