"""What comes along when a value is pasted or handed on: a shell's quotes, the web's encoding.

Either makes a key or a token that E*TRADE refuses without saying why. Pure.
"""

from __future__ import annotations

import re

from pydantic import SecretStr

_QUOTES = "\"'"

_ESCAPED = re.compile("%2[BF]|%3D", re.IGNORECASE)
"""How `+`, `/` and `=` look when they are percent-encoded. No other sign of E*TRADE's tokens ever is."""

STILL_ENCODED = "is still percent-encoded: give it decoded, with = instead of %3D, / of %2F and + of %2B"


def refuse_quotes(value: object) -> object:
    """The same value, unless it is a text with a quotation mark at both ends. For pydantic, before all else.

    Nothing that E*TRADE issues has one, and no setting begins or ends with one.

    Raises:
        ValueError: It is; does not show it.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and (bare := text.strip()) and bare[0] in _QUOTES and bare[-1] in _QUOTES:
        raise ValueError("is in quotes: give it without (`docker run --env-file` keeps them as a part of it)")
    return value


def is_percent_encoded(secret: SecretStr | None) -> bool:
    """Whether a key or a token was taken from an address or a form and not decoded.

    E*TRADE's are hexadecimal or base64, so a percent escape of one of base64's own signs is none of theirs.
    """
    return secret is not None and _ESCAPED.search(secret.get_secret_value()) is not None
