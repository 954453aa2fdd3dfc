"""Whose talks are: given away when they are over, deleted with their user; administrators and logins."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from storage.accounts import Accounts, LastAdmin
from storage.conversations import Conversations
from storage.credentials import LOGINS, Credentials, id_of
from storage.database import Database
from storage.journal import Reading, fold, read
from storage.schema import adoptions
from tests.storage.conftest import HEADER, SESSION, files_below, one_turn, running, until

OTHER = "20261226_100900_aaaaaaaaaaaaaaaaaaaa"
GIVEN = {"owner": "user:7", "user_id": "7"}


@pytest.mark.parametrize("journal_enabled", [True, False])
async def test_a_talk_that_is_over_is_given_to_a_user(
    tmp_path: Path, database: Database, journal_enabled: bool
) -> None:
    async with running(tmp_path, database=database, journal_enabled=journal_enabled) as archive:
        recorder = archive.open(SESSION, HEADER, print)
        one_turn(recorder, 1, 0)
        assert not await archive.give(SESSION, **GIVEN)  # it goes on
        await recorder.close()
        before = await archive.conversation(SESSION)
        assert before is not None
        sounds = await archive.audio_files(SESSION)
        assert await archive.give(SESSION, **GIVEN)
        assert await archive.conversation(SESSION) == {**before, "user_id": "7"}
        assert await archive.audio_files(SESSION) == sounds
        row = await Conversations(database).get(SESSION)
        assert row is not None
        assert (row["owner"], row["user_id"]) == ("user:7", "7")
        assert not await archive.give(OTHER, **GIVEN)
        if journal_enabled:
            told = fold(read(archive.journal_path(SESSION), Reading()))
            assert told["user_id"] == "7"
            assert told["end_time"] == before["end_time"]


async def test_a_given_talk_is_not_unfinished_for_the_next_start(tmp_path: Path, database: Database) -> None:
    async with running(tmp_path, database=database) as archive:
        recorder = archive.open(SESSION, HEADER, print)
        one_turn(recorder, 1, 0)
        await recorder.close()
        assert await archive.give(SESSION, **GIVEN)
    async with running(tmp_path, database=database) as archive:
        assert await archive.recover(60, datetime.now(UTC)) == []
        assert (await archive.conversation(SESSION) or {})["user_id"] == "7"


async def test_all_of_an_owner_is_deleted_and_nothing_else(tmp_path: Path, database: Database) -> None:
    async with running(tmp_path, database=database) as archive:
        for session_id, owner in ((SESSION, "user:1"), (OTHER, "user:2")):
            recorder = archive.open(session_id, {**HEADER, "owner": owner}, print)
            one_turn(recorder, 1, 0)
            await recorder.close()
        assert await archive.delete_of("user:1") == 1
        assert await archive.delete_of("user:1") == 0
        left = files_below(tmp_path / "conversations") + files_below(tmp_path / "audio_files")
        assert not any(SESSION in name for name in left)
        assert f"{OTHER}.json" in left


async def test_a_session_of_another_living_process_is_known_as_such(tmp_path: Path) -> None:
    async with running(tmp_path) as ours:
        recorder = ours.open(SESSION, HEADER, print)
        recorder.sync()
        marker = tmp_path / "conversations" / f"{SESSION}.open"
        await until(marker.exists)
        assert not await ours.is_open_elsewhere(SESSION)
        assert not await ours.is_open_elsewhere(OTHER)
        code = (
            "import sys, pathlib; from storage.locks import WriterLock;"
            "print(WriterLock(pathlib.Path(sys.argv[1])).name, flush=True); sys.stdin.read()"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            str(tmp_path / "conversations"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        name = (await process.stdout.readline()).decode().strip()
        (tmp_path / "conversations" / f"{OTHER}.open").write_text(name)
        assert await ours.is_open_elsewhere(OTHER)
        process.kill()
        await process.wait()
        assert not await ours.is_open_elsewhere(OTHER)
        await recorder.close()


async def test_two_administrators_who_leave_at_once_do_not_both(database: Database) -> None:
    accounts = Accounts(database)
    first = await accounts.create(email="a@example.org")
    second = await accounts.create(email="b@example.org", is_admin=True)
    await accounts.create(email="c@example.org")
    left = await asyncio.gather(
        *(accounts.leave(user.id, may_be_last=True) for user in (first, second)), return_exceptions=True
    )
    assert [type(result) for result in left if result is not True] == [LastAdmin]
    assert (await accounts.list())[1] == 2


async def test_the_last_user_leaves_only_where_others_may_come(database: Database) -> None:
    accounts = Accounts(database)
    user = await accounts.create(email="a@example.org")
    with pytest.raises(LastAdmin):
        await accounts.leave(user.id, may_be_last=False)
    assert await accounts.leave(user.id, may_be_last=True)
    assert not await accounts.leave(user.id, may_be_last=True)
    assert await accounts.disabled([user.id]) == {}


async def test_a_login_is_revoked_by_its_id_and_kind(database: Database) -> None:
    accounts, credentials = Accounts(database), Credentials(database)
    user, other = await accounts.create(email="a@example.org"), await accounts.create(email="b@example.org")
    login = await credentials.create(user.id, "cookie", timedelta(days=1))
    key = await credentials.create(user.id, "api_key", None, "radio")
    await credentials.create(user.id, "bearer", timedelta(seconds=-1))  # expired: in no list
    assert await credentials.login(key) == (user.id, "api_key")
    assert [found.kind for found in await credentials.list(user.id)] == ["cookie", "api_key"]
    assert not await credentials.revoke_id(other.id, id_of(login), LOGINS)
    assert not await credentials.revoke_id(user.id, id_of(key), LOGINS)
    assert not await credentials.revoke_id(user.id, "", LOGINS)
    assert not await credentials.revoke_id(user.id, "%\0", LOGINS)
    assert await credentials.revoke_id(user.id, id_of(login), LOGINS)
    await credentials.revoke_all(user.id, kinds=LOGINS)
    assert await credentials.user_of(key) == user.id
    await credentials.revoke_all(user.id)
    assert await credentials.user_of(key) is None


async def test_who_became_whom_is_known_for_a_day_and_while_the_user_is(database: Database) -> None:
    accounts = Accounts(database)
    user, other = await accounts.create(email="a@example.org"), await accounts.create(email="b@example.org")
    await accounts.adopt("guest:1", user.id)
    await accounts.adopt("guest:1", other.id)
    await accounts.adopt("guest:2", user.id)
    assert await accounts.adopted(["guest:1", "guest:2", "guest:3"]) == {
        "guest:1": other.id,
        "guest:2": user.id,
    }
    await accounts.delete(user.id)
    assert await accounts.adopted(["guest:1", "guest:2"]) == {"guest:1": other.id}
    async with database.write() as connection:
        await connection.execute(update(adoptions).values(created_at="2020-01-01T00:00:00.000Z"))
    await accounts.adopt("guest:4", other.id)
    assert await accounts.adopted(["guest:1", "guest:4"]) == {"guest:4": other.id}
