"""Which turns were spoken by both sides, so that their times can be compared; and indexes of the few messages
that are counted: tools' results, replies that were cut, apologies."""

from sqlalchemy import Connection, text

_PART = {"sqlite": "json_extract(more, '$.plugins.{}')", "postgresql": "more #>> '{{plugins,{}}}'"}
_INDEXES = {
    "messages_of_tools": "role = 'tool'",
    "messages_cut": "interrupted",
    "messages_of_apology": "type = 'apology'",
}


def apply(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE turns ADD COLUMN spoken BOOLEAN NOT NULL DEFAULT FALSE"))
    part = _PART[connection.dialect.name]
    voice = f"coalesce({part.format('tts')}, {part.format('talk')}) IS NOT NULL"
    connection.execute(
        text(f"UPDATE turns SET spoken = TRUE WHERE coalesce(reason, '') <> 'typed' AND {voice}")
    )
    for name, which in _INDEXES.items():
        connection.execute(text(f"CREATE INDEX {name} ON messages (session_id) WHERE {which}"))
