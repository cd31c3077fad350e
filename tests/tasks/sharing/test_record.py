"""The record of a renewal: when it is reused, and what happens if the storage fails."""

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.filesystems import WritableFileSystem
from pydantic import Field

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials, TokenSession
from etrade_tasks.errors import ERRORS, ConfigurationRefused, RenewalFailed
from etrade_tasks.sharing import record as record_module
from etrade_tasks.sharing.old_files import KEPT
from etrade_tasks.sharing.record import NOTHING, Block, Folder, Record, Records, record_key

NOON = datetime(2027, 6, 15, 16, tzinfo=UTC)
WINDOW = timedelta(minutes=50)

Act = Callable[[], None]


@pytest.fixture
def answers(session: TokenSession, credentials: ETradeCredentials) -> Callable[..., bool]:
    """Tells whether the record of this session, with these changes, answers a caller at this moment."""

    def ask(
        at: datetime, window: timedelta = WINDOW, recorded_at: datetime = NOON, **changes: object
    ) -> bool:
        record = Record(session=session.model_copy(update=changes), recorded_at=recorded_at)
        return record.answer(credentials, at, window) is not None

    return ask


@pytest.mark.parametrize(
    ("minutes", "window", "expected"),
    [(-1, 50, False), (0, 50, True), (49, 50, True), (50, 50, False), (720, 50, False), (49, 30, False)],
)
def test_answers_within_the_reuse_window(
    answers: Callable[..., bool], minutes: int, window: int, expected: bool
) -> None:
    """A renewal is reused until the window of who asks ends, and never before the moment it was made."""
    assert expected is answers(NOON + timedelta(minutes=minutes), timedelta(minutes=window))


@pytest.mark.parametrize("ahead", [timedelta(minutes=75), timedelta(minutes=-75), timedelta(hours=5)])
def test_clock_that_is_set_right_makes_no_renewal_younger(
    answers: Callable[..., bool], ahead: timedelta
) -> None:
    """A renewal made under a wrong clock is not reused once the clock is right and the window is over."""
    for age in (timedelta(minutes=51), timedelta(hours=2), timedelta(hours=5, minutes=10)):
        assert not answers(NOON + age, recorded_at=NOON + ahead)


def test_answers_on_a_clock_that_stays_behind(answers: Callable[..., bool]) -> None:
    """A machine whose clock is a little behind E*TRADE's still reuses what it has just renewed."""
    assert answers(NOON - timedelta(seconds=89), recorded_at=NOON - timedelta(seconds=90))


def test_midnight_ends_a_record(answers: Callable[..., bool], session: TokenSession) -> None:
    """From midnight on a renewal is not reused, however recent it is."""
    midnight, late = session.expires_at, session.expires_at - timedelta(minutes=5)
    moments = midnight - timedelta(seconds=1), midnight
    assert [True, False] == [answers(at, recorded_at=late, renewed_at=late) for at in moments]


@pytest.mark.parametrize("change", [{"environment": "sandbox"}, {"fingerprint": "0" * 16}])
def test_record_of_another_token_answers_nothing(
    answers: Callable[..., bool], change: dict[str, str]
) -> None:
    """A record of another token under this token's name counts as none."""
    assert (True, False) == (answers(NOON), answers(NOON, **change))


def test_name_tells_tokens_apart(
    simulator: Simulator, credentials_for: Callable[..., ETradeCredentials]
) -> None:
    """Each token, environment and OAuth address has its own record, whose name reveals none of them."""
    token = simulator.sign_in("live")
    base = credentials_for(token)
    others = [
        credentials_for(simulator.sign_in("live")),
        credentials_for(token, environment="sandbox"),
        credentials_for(token, oauth_url="https://oauth.invalid"),
    ]
    keys = {record_key(each) for each in (base, *others)}
    assert 4 == len(keys)
    assert [] == [key for key in keys if token.token in key or token.consumer_key in key]


def test_ended_record_answers_nobody(
    folder: Path, credentials: ETradeCredentials, session: TokenSession, renewed: Act
) -> None:
    """After a record was ended, it is not reused, and the next renewal is."""
    renewed()
    Records().end(credentials)
    assert Records().read(credentials).session is None
    renewed()
    assert session == Records().read(credentials).session


def test_later_version_s_fields_are_ignored(
    folder: Path, credentials: ETradeCredentials, session: TokenSession, renewed: Act
) -> None:
    """A record with a field that this version does not know is still read."""
    renewed()
    path = folder / record_key(credentials)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_later": 1}))
    assert session == Records().read(credentials).session


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "no JSON at all", '{"session": {"idle_at": 0}}'])
def test_damaged_record_counts_as_none(folder: Path, credentials: ETradeCredentials, content: str) -> None:
    """A record that cannot be read counts as none, and does not raise."""
    (folder / record_key(credentials)).write_text(content)
    records = Records()
    assert (None, None) == (records.read(credentials).session, records.trouble)


def test_old_records_are_removed(folder: Path, credentials: ETradeCredentials, renewed: Act) -> None:
    """A new record removes records of days ago, and nothing else in the folder."""
    names = {"etrade-session-live-old.json": True, "etrade-session-live-new.json": False, "a-result": True}
    for name, old in names.items():
        (folder / name).touch()
        if old:
            os.utime(folder / name, (time.time() - KEPT.total_seconds() - 60,) * 2)
    renewed()
    left = {path.name for path in folder.iterdir()}
    assert {record_key(credentials), "etrade-session-live-new.json", "a-result"} == left


def test_reader_never_meets_half_a_record(
    folder: Path, credentials: ETradeCredentials, session: TokenSession, renewed: Act
) -> None:
    """A reader sees the old record or the new one, and never half of one."""
    renewed()
    done = threading.Event()

    def write() -> None:
        for _ in range(200):
            renewed()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    found = []
    while not done.is_set():
        found.append(Records().read(credentials).session)
    writer.join()
    assert {session.renewed_at} == {each.renewed_at if each else None for each in found}


class _Hanging(WritableFileSystem):
    """A storage block that never answers."""

    def read_path(self, path: str, content: bytes = b"") -> None:
        threading.Event().wait(60)

    write_path = read_path


class _Async(WritableFileSystem):
    """A storage block with async methods only, as a user's own may be."""

    kept: dict[str, bytes] = Field(default_factory=dict)

    async def read_path(self, path: str) -> bytes:
        return self.kept[path]

    async def write_path(self, path: str, content: bytes) -> None:
        self.kept[path] = content


def test_storage_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, credentials: ETradeCredentials
) -> None:
    """Reading a storage that hangs ends at the limit, with a message, and the storage is not asked again."""
    monkeypatch.setattr(record_module, "open_storage", lambda: Block(_Hanging()))
    records = Records(limit=0.2)
    assert NOTHING == records.read(credentials)
    assert "no answer within 0.2 s" in records.trouble
    monkeypatch.setattr(record_module, "open_storage", lambda: pytest.fail("was asked again"))
    records.end(credentials)


def test_any_kind_of_block_keeps_records(
    monkeypatch: pytest.MonkeyPatch, credentials: ETradeCredentials, session: TokenSession, renewed: Act
) -> None:
    """A block with async methods only keeps records too, and is empty at first."""
    block = Block(_Async())
    monkeypatch.setattr(record_module, "open_storage", lambda: block)
    assert NOTHING == Records().read(credentials)
    renewed()
    assert session == Records().read(credentials).session


def test_storage_that_cannot_be_opened_costs_the_record_alone(
    monkeypatch: pytest.MonkeyPatch, credentials: ETradeCredentials
) -> None:
    """If the storage block does not exist, the record counts as none, and the message says why."""

    def missing() -> Folder:
        raise ValueError("Unable to find block document")

    monkeypatch.setattr(record_module, "open_storage", missing)
    records = Records()
    assert NOTHING == records.read(credentials)
    assert "could not be read (ValueError)" in records.trouble


@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_failure_comes_back_as_the_error_it_was(kind: str) -> None:
    """A caller that waited gets the same error as the one that renewed, with message and advice."""
    failed = ERRORS[kind]("It failed.", advice="do something")
    again = Record.model_validate_json(NOTHING.failed(failed, None).model_dump_json()).failure.error()
    assert (type(failed), failed.message, failed.advice) == (type(again), again.message, again.advice)


def test_failure_leaves_the_last_renewal(session: TokenSession) -> None:
    """A failed attempt leaves the last renewal in the record."""
    record = Record(session=session, recorded_at=NOON, renewal="one")
    failed = record.failed(RenewalFailed("E*TRADE is down."), 2.0)
    assert (session, "one", NOON) == (failed.session, failed.renewal, failed.recorded_at)
    assert record.mark != failed.mark


def test_failure_of_an_unknown_kind_is_still_one_of_ours() -> None:
    """An error that a later version adds is raised as one of ours, with its message."""
    failure = NOTHING.failed(ConfigurationRefused("It failed."), None).failure
    assert "It failed." == failure.model_copy(update={"kind": "AddedLater"}).error().message
