"""What an operator sees while a fleet is renewed: a table with a row for each token, and the run's progress.

Both artifacts are created when the run begins, and updated at each twentieth of the way (but not within a few
seconds of the last update) and at the end. Whether there are 20 tokens or 100,000, there are about 20
updates, so the cost stays in proportion to the number of tokens.

The table's metadata holds the alerts of this Eastern day, with an entry for each token: Prefect cuts a value
after 500 characters, but accepts any number of values (3.8). Prefect's own functions for artifacts open a
client for each call and close none of them, so this module uses its own.

Nothing here may stop a renewal: if the server does not accept an artifact, a warning says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactCollectionFilter

from etrade_flows.fleet.tally import Tally
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.tags import current_run

TABLE = "etrade-fleet"
"""The key of the table."""

PROGRESS = "etrade-fleet-progress"
"""The key of the artifact that shows how far the run is."""

STEP = 5.0
"""How many percent of the way lie between two updates."""

SECONDS = 3.0
"""The shortest time between two updates."""

_LOSS = "The table of the fleet could not be written"


class Board:
    """The two artifacts of the current run.

    Args:
        tally: The results so far; read again for each update.
        monotonic: Seconds by a clock that never goes back.

    Attributes:
        alerted: The alerts that earlier runs have sent, from the last table.
    """

    def __init__(self, tally: Tally, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tally, self._monotonic = tally, monotonic
        self._ids: tuple[UUID, UUID] | None = None
        self.alerted: dict[str, str] = {}
        with best_effort(_LOSS), get_client(sync_client=True) as client:
            self.alerted = _alerted(client)
            self._ids = self._create(client, TABLE, "table"), self._create(client, PROGRESS, "progress")
        self._shown, self._next = 0.0, monotonic() + SECONDS

    def look(self) -> None:
        """Update the artifacts, if it is time to."""
        if self._tally.progress >= self._shown + STEP and self._monotonic() >= self._next:
            self.update(self.alerted)

    def _create(self, client: SyncPrefectClient, key: str, kind: str) -> UUID:
        run = current_run()
        made = ArtifactCreate(key=key, type=kind, flow_run_id=run.id if run else None, **self._shows(kind))
        # Until the run has ended, the alerts of earlier runs count.
        return client.create_artifact(made.model_copy(update={"metadata_": self.alerted})).id

    def update(self, alerted: Mapping[str, str]) -> None:
        """Update the artifacts now, and keep these alerts in the table's metadata."""
        if self._ids is not None:
            with best_effort(_LOSS), get_client(sync_client=True) as client:
                table, progress = self._ids
                shows = ArtifactUpdate(metadata_=dict(alerted), **self._shows("table"))
                client.update_artifact(table, shows)
                client.update_artifact(progress, ArtifactUpdate(**self._shows("progress")))
        self._shown, self._next = self._tally.progress, self._monotonic() + SECONDS

    def _shows(self, kind: str) -> dict[str, Any]:
        data = json.dumps(self._tally.rows()) if kind == "table" else self._tally.progress
        return {"description": self._tally.headline(), "data": data}


def _alerted(client: SyncPrefectClient) -> dict[str, str]:
    wanted = ArtifactCollectionFilter.model_validate({"key": {"any_": [TABLE]}})
    found = client.read_latest_artifacts(artifact_filter=wanted)
    return dict(found[0].metadata_ or {}) if found else {}
