"""Making a stranger's text fit to be seen: no secret in it, and nothing that acts on who reads it.

Pure. Two lines of defence for secrets: `scrub` removes values that are known, in every spelling an answer may
echo them in; `excerpt` removes whatever merely looks like a token, a key or a signature. What an excerpt
holds becomes no link, mention, markup or terminal command wherever a message ends up: a log, a terminal, a
notification in whichever chat. Every pattern runs in time linear in the text, since the text comes from the
network.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

EXCERPT_LENGTH = 200
"""The most characters of an answer that are ever shown."""

REDACTED = "[redacted]"

# Style sheets and scripts fill the first screen of a Tomcat error page and say nothing.
# The end always matches, be it the text's, so that no second try begins inside the first.
_NOT_TEXT = re.compile(r"<(style|script)\b(?:[^<]++|<(?!/\1))*+(?:</\1[^>]*+>?|\Z)", re.IGNORECASE)
_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_TAG = re.compile(r"<[^<>]*>")
_LONG_RUN = re.compile(r"[\w+/%~\\-]{16,}=*")
_HARMLESS = re.compile(r"[a-z_]+=*|[0-9]{9,11}-[0-9]{9,11}")  # plain words; a range of timestamps
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,}+;?")
_SECRET_PAIR = re.compile(
    r"""\b(?=\w*?(?:token|secret|key|signature\b|nonce|verifier))(\w++)"""  # a name that says it is one
    r"""(["'\\]*+\s*+(?:=|:|>|%3D)\s*+["'\\]*+)"""  # what stands between it and its value
    r"""[^\s"'&<,;]++""",
    re.IGNORECASE,
)

# A type, and a subtype of words that are too short for a token (RFC 6838, section 4.2).
_MEDIA_TYPE = re.compile(r"[a-z]{1,15}/[a-z0-9]{1,15}(?:[.+-][a-z0-9]{1,15}){0,4}")
_MARKUP = re.compile(r"[<>*`~|]|(?<!\w)_++|_++(?!\w)")
# Within an address, before a link's target, between a sign and what it calls, and before a domain's ending.
_ACTING = re.compile(r"(?<=:)(?=//)|(?<=\])(?=[(\[:])|(?<=#)(?=\w)|(?<=\w)(?=[.\u3002\uff0e\uff61][^\W\d_])")


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text without any of `secrets`: plain, percent-encoded once or twice, HTML- or JSON-escaped."""
    return scrubber(secrets)(text)


def scrubber(secrets: Iterable[str]) -> Callable[[str], str]:
    """What scrubs many texts of the same secrets."""
    spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}

    def scrub_of_these(text: str) -> str:
        # An answer seldom holds one, and a pattern of all would take as long to make as the call itself.
        found = sorted((spelling for spelling in spellings if spelling in text), key=len, reverse=True)
        return re.sub("|".join(map(re.escape, found)), REDACTED, text) if found else text

    return scrub_of_these


def _spellings(secret: str) -> set[str]:
    once = {secret, quote(secret, safe=""), quote(secret, safe="/"), quote_plus(secret)}
    percent = once | {quote(spelling, safe="") for spelling in once}
    percent |= {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), spelling) for spelling in percent}
    percent |= {quote(spelling, safe="") for spelling in percent & once}
    escapes = ("&#x{:X};", "&#x{:x};", "&#{};", "\\u{:04x}", "\\u{:04X}")
    markup = {_escape_symbols(secret, escape) for escape in escapes}
    return percent | markup | {html.escape(secret), secret.replace("/", "\\/")}


def _escape_symbols(secret: str, escape: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", lambda match: escape.format(ord(match[0])), secret)


def excerpt(text: str) -> str:
    """The first `EXCERPT_LENGTH` readable characters of an answer, on one line, with no secret and no effect.

    Markup is dropped, and so is the value of anything named like a token, key, secret, signature, nonce or
    verifier, and any unbroken run of sixteen or more characters that is not made of plain words. Addresses
    and mentions are taken apart, visibly, so that no viewer makes a link or a call of them.
    """
    text = undo_html_escapes(undo_json_escapes(_NOT_TEXT.sub(" ", text)))
    text = _SECRET_PAIR.sub(rf"\1\2{REDACTED}", text)
    text = _TAG.sub(" ", text)
    return inert(_LONG_RUN.sub(_hide_run, visible(text)))[:EXCERPT_LENGTH]


def visible(text: str) -> str:
    """The text on one line, with a space for what cannot be seen: a terminal obeys such characters."""
    seen = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(seen.split())


def inert(text: str) -> str:
    """The text on one line, without what a chat, a mail program or markdown would act on.

    It stays readable and holds no invisible character: `https: //etrade .example`, `(at)channel`.
    """
    return " ".join(_ACTING.sub(" ", _MARKUP.sub(" ", text).replace("@", "(at)")).split())


def describe_answer(status: int, content_type: str, body: str, secrets: Iterable[str] = ()) -> str:
    """What answered, in one sentence that can be shown to anybody.

    Args:
        status: The HTTP status.
        content_type: The header of that name; empty if there is none.
        body: The answer's text.
        secrets: What must be removed besides what looks like a secret.
    """
    secrets = list(secrets)
    kind = scrub(content_type.partition(";")[0], secrets).strip().lower()
    kind = inert(kind) if _MEDIA_TYPE.fullmatch(kind) else excerpt(kind)
    # Before the text is cut, and once more for what was written in a way that the excerpt undoes.
    said = scrub(excerpt(scrub(body, secrets)), secrets)
    return f"It answered: status {status}, {kind or 'no content type'}{f': {said!r}' if said else ', empty'}."


def undo_json_escapes(text: str) -> str:
    r"""The text with each JSON escape of the form `\uXXXX` replaced by its character."""
    return _JSON_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def undo_html_escapes(text: str) -> str:
    """The text with HTML's character references resolved, also where they were escaped once more."""
    # Python refuses to read a number of thousands of digits; no character has more than seven.
    return html.unescape(_LONG_REFERENCE.sub(" ", html.unescape(_LONG_REFERENCE.sub(" ", text))))


def _hide_run(match: re.Match[str]) -> str:
    return match[0] if _HARMLESS.fullmatch(match[0]) else REDACTED
