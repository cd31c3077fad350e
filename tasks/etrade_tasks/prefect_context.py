"""Changes for a moment what Prefect's context holds: one of its settings, and the tags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.context import SettingsContext, TagsContext, get_settings_context
from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)


@contextmanager
def changed_setting(path: str, value: object) -> Iterator[None]:
    """Give one setting another value inside the `with` block.

    Prefect's own `temporary_settings` reads all settings again. That takes 75 ms, longer than a renewal's
    call.

    Args:
        path: The setting's field names, such as `flows.heartbeat_frequency`.
        value: The value; it is not validated.
    """
    context = get_settings_context()
    with SettingsContext(profile=context.profile, settings=_changed(context.settings, path, value)):
        yield


def untagged() -> TagsContext:
    """Give tasks none of the caller's tags inside the `with` block.

    Prefect gives a task every tag of the code that calls it. If a tag has a concurrency limit, a task waits
    until fewer tasks with that tag run. A task that calls another one would then wait for itself, forever.
    """
    return TagsContext(current_tags=set())


def _changed(model: Model, path: str, value: object) -> Model:
    field, _, below = path.partition(".")
    return model.model_copy(update={field: _changed(getattr(model, field), below, value) if below else value})
