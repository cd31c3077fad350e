"""Checks of what people set and paste. An error names the value that is wrong, and never shows it.

If a key or a token still has a shell's quotes or the web's encoding, E*TRADE refuses it without saying why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode

from etrade_tasks.errors import CredentialsInvalid

Settings = TypeVar("Settings", bound=BaseSettings)

_QUOTES = "\"'"

_ESCAPED = re.compile("%2[BF]|%3D", re.IGNORECASE)
"""The percent-encoded forms of `+`, `/` and `=`, the only characters of E*TRADE's tokens that are encoded."""

STILL_ENCODED = "is still percent-encoded: decode it, with = for %3D, / for %2F and + for %2B"


def refuse_quotes(value: object) -> object:
    """The same value, unless it is a text in quotation marks. A pydantic validator, to run first.

    Nothing that E*TRADE issues contains one, and no setting begins or ends with one.

    Raises:
        ValueError: It is in quotation marks. The message does not show it.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and (bare := text.strip()) and bare[0] in _QUOTES and bare[-1] in _QUOTES:
        raise ValueError("is in quotes: remove them (`docker run --env-file` keeps them in the value)")
    return value


def is_percent_encoded(secret: SecretStr | None) -> bool:
    """Whether a key or a token was copied from an address or a form and not decoded.

    E*TRADE's are hexadecimal or base64, so they never contain a percent sign themselves.
    """
    return secret is not None and _ESCAPED.search(secret.get_secret_value()) is not None


def _seconds_if_number(value: object) -> object:
    # pydantic reads a number as seconds, but refuses the same number as text, as a variable holds it.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Span = Annotated[timedelta, BeforeValidator(_seconds_if_number)]
"""A length of time, in seconds or as an ISO 8601 duration (`PT50M`)."""


InHome = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path in which `~` is the user's home."""

EVERY_DAY = frozenset(range(7))
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _days(value: object) -> object:
    if not isinstance(value, str):
        return value
    found: set[int] = set()
    for part in value.lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError("is not a list of days, such as mon-fri or mon,wed,sun")
        start = _DAYS.index(first)
        found.update((start + i) % 7 for i in range((_DAYS.index(last or first) - start) % 7 + 1))
    return frozenset(found)


Days = Annotated[frozenset[int], NoDecode, BeforeValidator(_days)]
"""Days of the week, Monday being 0; written as `mon-fri` or `mon,wed,sun`."""


def read_variables(kind: type[Settings], *defaults: Hashable) -> Settings:
    """The settings as the `ETRADE_*` variables set them now.

    Args:
        kind: The settings' class. It is frozen, and read only once for the same variables.
        defaults: What else the fields' defaults depend on.

    Raises:
        CredentialsInvalid: A variable is malformed; names it and not its value.
    """
    names = {f"etrade_{field}" for field in kind.model_fields}  # in any case, as pydantic reads them
    said = tuple((name, value) for name, value in os.environ.items() if name.lower() in names)
    try:
        return cast("Settings", _read_once(kind, said, defaults))
    except ValidationError as error:
        problems = named_problems(error, variable)
    raise CredentialsInvalid(
        f"A setting cannot be used: {problems}.", advice="correct the variable, or unset it."
    )


# Reading them takes a millisecond, and a renewal asks several times.
@lru_cache(maxsize=16)
def _read_once(kind: type[BaseSettings], _: Hashable, __: Hashable) -> BaseSettings:
    return kind()


def variable(field: str) -> str:
    """The name of the environment variable that sets a field."""
    return f"ETRADE_{field.upper()}"


def named_problems(error: ValidationError, spell: Callable[[str], str] = str) -> str:
    """All problems as one text, each as `field: what is wrong`, never with the value.

    Args:
        error: What pydantic found.
        spell: How to write a field's name.
    """
    return "; ".join(
        f"{spell(str(problem['loc'][0])) if problem['loc'] else 'the whole'}: "
        f"{problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    )
