"""Full-text search in what was said, and the snippets that show it."""

import pytest
from sqlalchemy import text

from storage.conversations import Conversations, row_change
from storage.database import Database
from storage.journal import Entry, Fold
from storage.search import snippet

OWNER = "user:1"


def talk(number: int, *said: str) -> Fold:
    state = Fold()
    state.add(Entry(0, "open", {"owner": OWNER, "start_time": f"2026-12-{number:02d}T10:00:00.000Z"}))
    for n, content in enumerate(said, 1):
        state.add(Entry(n, "message", {"n": n, "role": "user", "content": content}))
    return state


@pytest.fixture
async def rows(database: Database) -> Conversations:
    found = Conversations(database)
    await found.save(row_change("s1", talk(1, "I need a dentist", "tomorrow at ten o'clock, please")))
    await found.save(row_change("s2", talk(2, "the DENTISTRY next door", 'he said "100%" and left')))
    await found.save(row_change("s3", talk(3, "mañana por la mañana", "我想预约牙医")))
    return found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("dentist", ["s2", "s1"]),
        ("DENT", ["s2", "s1"]),
        ("need dentist", ["s1"]),
        ("dentist tomorrow", []),  # in one message, both
        ("o'clock", ["s1"]),
        ('"100%"', ["s2"]),
        ("100% said", ["s2"]),
        ("mañana", ["s3"]),
        ("预约", ["s3"]),
        ("entist", []),  # words, from their beginning
        ("-", []),
        ("%", ["s2"]),
        ("NEAR(dentist) OR *", []),
        ("\\ ' & | ! :* \"", []),
        ("a\0b", []),
    ],
)
async def test_a_talk_is_found_by_its_words(rows: Conversations, wanted: str, found: list[str]) -> None:
    items, total = await rows.list(OWNER, text=wanted)
    assert [item["session_id"] for item in items] == found
    assert total == len(found)


async def test_a_message_that_changes_is_found_by_its_new_words_alone(rows: Conversations) -> None:
    await rows.save(row_change("s1", talk(1, "I need a plumber", "tomorrow at ten o'clock, please")))
    assert (await rows.list(OWNER, text="dentist"))[1] == 1
    assert (await rows.list(OWNER, text="plumber"))[1] == 1
    await rows.delete("s1")
    assert (await rows.list(OWNER, text="plumber"))[1] == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL keeps its index itself
async def test_nothing_of_a_deleted_talk_stays_in_the_index(rows: Conversations, database: Database) -> None:
    for session_id in ("s1", "s2", "s3"):
        await rows.delete(session_id)
    async with database.write() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM said")) == 0
        # Raises if the index and the texts do not agree.
        await connection.execute(text("INSERT INTO said_words (said_words) VALUES ('integrity-check')"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_index_agrees_with_the_texts(rows: Conversations, database: Database) -> None:
    await rows.save(row_change("s2", talk(2, "quite another thing")))
    async with database.write() as connection:
        check = "INSERT INTO said_words (said_words, rank) VALUES ('integrity-check', 1)"
        await connection.execute(text(check))


async def test_the_first_message_that_was_found_is_told(rows: Conversations) -> None:
    found = await rows.found(["s1", "s2", "s3"], "dentist")
    assert found == {"s1": "I need a dentist", "s2": "the DENTISTRY next door"}


async def test_an_owners_talks_are_told_by_their_ids(rows: Conversations) -> None:
    assert await rows.of_owner(OWNER) == ["s1", "s2", "s3"]
    assert await rows.of_owner(OWNER, ended=True) == []
    assert await rows.of_owner("user:2") == []


async def test_talks_whose_user_is_gone_are_told(rows: Conversations) -> None:
    assert await rows.without_user() == []
    state = talk(4, "hello")
    state.add(Entry(9, "owner", {"user_id": "nobody", "owner": "user:nobody"}))
    await rows.save(row_change("s4", state))
    assert await rows.without_user() == ["s4"]


def shown(content: str, wanted: str) -> str:
    return "".join(f"[{p.text}]" if p.hit else p.text for p in snippet(content, wanted))


def test_a_snippet_marks_what_was_found() -> None:
    assert shown("I need a dentist, a good dentist", "dent need") == (
        "I [need] a [dentist], a good [dentist]"
    )
    assert shown("¿Mañana? MANANA.", "mañana") == "¿[Mañana]? [MANANA]."
    assert shown("我想预约牙医", "预约") == "我想[预约]牙医"
    assert shown("Straße 1", "strasse") == "[Straße] 1"
    assert shown("nothing here", "dentist") == "nothing here"
    assert shown("", "x") == ""
    assert shown("a.b", ".") == "a.b"


def test_a_snippet_of_a_long_text_is_cut_at_words() -> None:
    content = "word " * 100 + "dentist " + "word " * 100
    found = shown(content, "dentist")
    assert found.startswith("…word ")
    assert "[dentist]" in found
    assert found.endswith("word…")
    assert len(found) < 250
