"""Makes text from the network safe to show: without secrets, and without effect on its reader.

Pure. Secrets have two lines of defence: `scrub` removes known values, in every spelling that an answer may
echo; `excerpt` removes everything that looks like a token, a key or a signature. An excerpt never turns into
a link, a mention, markup or a terminal command, in a log, a terminal or any chat. Every pattern runs in
linear time, because the text comes from the network.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

EXCERPT_LENGTH = 200
"""The most characters of an answer that are ever shown."""

REDACTED = "[redacted]"

# Style sheets and scripts fill the first screen of a Tomcat error page and say nothing.
# The end always matches, if only at the end of the text, so no match is tried again from inside it.
_NOT_TEXT = re.compile(r"<(style|script)\b(?:[^<]++|<(?!/\1))*+(?:</\1[^>]*+>?|\Z)", re.IGNORECASE)
_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_TAG = re.compile(r"<[^<>]*>")
_LONG_RUN = re.compile(r"[\w+/%~\\-]{16,}=*")
_HARMLESS = re.compile(r"[a-z_]+=*|[0-9]{9,11}-[0-9]{9,11}")  # plain words, or a range of timestamps
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,}+;?")
_SECRET_PAIR = re.compile(
    r"""\b(?=\w*?(?:token|secret|key|signature\b|nonce|verifier))(\w++)"""  # a name that says it is one
    r"""(["'\\]*+\s*+(?:=|:|>|%3D)\s*+["'\\]*+)"""  # what separates it from its value
    r"""[^\s"'&<,;]++""",
    re.IGNORECASE,
)

# A type and a subtype, whose words are too short for a token (RFC 6838, section 4.2).
_MEDIA_TYPE = re.compile(r"[a-z]{1,15}/[a-z0-9]{1,15}(?:[.+-][a-z0-9]{1,15}){0,4}")
_MARKUP = re.compile(r"[<>*`~|]|(?<!\w)_++|_++(?!\w)")
# Within an address, before a link's target, between a sign and what it calls, and before a domain's ending.
_ACTING = re.compile(r"(?<=:)(?=//)|(?<=\])(?=[(\[:])|(?<=#)(?=\w)|(?<=\w)(?=[.\u3002\uff0e\uff61][^\W\d_])")


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text without any of `secrets`: plain, percent-encoded once or twice, HTML- or JSON-escaped."""
    # An answer seldom contains one, and spelling them all takes a good part of the call's time.
    near = [secret for secret in secrets if secret and _core(secret) in text]
    spellings = {spelling for secret in near for spelling in _spellings(secret) if spelling in text}
    found = sorted(spellings, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, found)), REDACTED, text) if found else text


def _core(secret: str) -> str:
    """A part of the secret that is the same in every spelling; empty if there may be none."""
    runs = [] if "%" in secret else re.findall(r"[A-Za-z0-9]+", secret)
    return max(runs, key=len, default="")


def _spellings(secret: str) -> set[str]:
    once = {secret, quote(secret, safe=""), quote(secret, safe="/"), quote_plus(secret)}
    percent = once | {quote(spelling, safe="") for spelling in once}
    percent |= {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), spelling) for spelling in percent}
    percent |= {quote(spelling, safe="") for spelling in percent & once}
    escapes = ("&#x{:X};", "&#x{:x};", "&#{};", "\\u{:04x}", "\\u{:04X}")
    symbols = {ord(each) for each in secret if not (each.isascii() and each.isalnum())}
    markup = {secret.translate({each: escape.format(each) for each in symbols}) for escape in escapes}
    return percent | markup | {html.escape(secret), secret.replace("/", "\\/")}


def excerpt(text: str) -> str:
    """The first `EXCERPT_LENGTH` readable characters of an answer, on one line, with no secret and no effect.

    It drops markup, the value of anything named like a token, key, secret, signature, nonce or verifier, and
    any unbroken run of sixteen or more characters that is not made of plain words. It splits addresses and
    mentions visibly, so that no viewer turns them into links or mentions.
    """
    text = undo_html_escapes(undo_json_escapes(_NOT_TEXT.sub(" ", text)))
    text = _SECRET_PAIR.sub(rf"\1\2{REDACTED}", text)
    text = _TAG.sub(" ", text)
    shown = _LONG_RUN.sub(lambda run: run[0] if _HARMLESS.fullmatch(run[0]) else REDACTED, visible(text))
    return inert(shown)[:EXCERPT_LENGTH]


def visible(text: str) -> str:
    """The text on one line, with spaces instead of invisible characters, which a terminal would obey."""
    seen = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(seen.split())


def inert(text: str) -> str:
    """The text on one line, without what a chat, a mail program or markdown would act on.

    It stays readable and contains no invisible character: `https: //etrade .example`, `(at)channel`.
    """
    return " ".join(_ACTING.sub(" ", _MARKUP.sub(" ", text).replace("@", "(at)")).split())


def describe_answer(status: int, content_type: str, body: str, secrets: Iterable[str] = ()) -> str:
    """The answer in one sentence that is safe to show to anybody.

    Args:
        status: The HTTP status.
        content_type: The header of that name; empty if there is none.
        body: The answer's text.
        secrets: Known secrets to remove, besides what looks like a secret.
    """
    secrets = list(secrets)
    kind = scrub(content_type.partition(";")[0], secrets).strip().lower()
    kind = inert(kind) if _MEDIA_TYPE.fullmatch(kind) else excerpt(kind)
    # Scrub before the text is cut, and once more after the excerpt has undone its escapes.
    said = scrub(excerpt(scrub(body, secrets)), secrets)
    return f"It answered: status {status}, {kind or 'no content type'}{f': {said!r}' if said else ', empty'}."


def undo_json_escapes(text: str) -> str:
    r"""The text with each JSON escape of the form `\uXXXX` replaced by its character."""
    return _JSON_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def undo_html_escapes(text: str) -> str:
    """The text with HTML's character references resolved, even if they were escaped twice."""
    # Python refuses to read numbers of thousands of digits; no character has more than seven.
    return html.unescape(_LONG_REFERENCE.sub(" ", html.unescape(_LONG_REFERENCE.sub(" ", text))))
