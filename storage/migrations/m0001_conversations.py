"""Conversations with their messages and turns, and the settings that the program keeps for itself."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

_metadata = MetaData()

Table(
    "settings",
    _metadata,
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

Table(
    "conversations",
    _metadata,
    Column("session_id", String(64), primary_key=True),
    Column("owner", String(200)),
    Column("user_id", String(64)),
    Column("agent_id", String(64)),
    Column("start_time", String(32), nullable=False),
    Column("end_time", String(32)),
    Column("duration_s", Float, nullable=False, default=0.0),
    Column("mode", String(32)),
    Column("language", String(32)),
    Column("config", JSON, nullable=False),
    Column("turns", Integer, nullable=False, default=0),
    Column("summary", Text, nullable=False, default=""),
    Column("total_cost", Float, nullable=False, default=0.0),
    Column("end_reason", Text),
    Index("conversations_of_owner", "owner", "start_time"),
    Index("conversations_by_time", "start_time"),
)

_session = "conversations.session_id"

Table(
    "messages",
    _metadata,
    Column("session_id", String(64), ForeignKey(_session, ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("role", String(32), nullable=False),
    Column("content", Text, nullable=False, default=""),
    Column("type", String(64)),
    Column("time", String(32)),
    Column("turn", Integer),
    Column("start_ms", Integer),
    Column("end_ms", Integer),
    Column("audio", String(32)),
    Column("interrupted", Boolean, nullable=False, default=False),
    Column("heard", Text),
    Column("more", JSON, nullable=False),
)

Table(
    "turns",
    _metadata,
    Column("session_id", String(64), ForeignKey(_session, ondelete="CASCADE"), primary_key=True),
    Column("turn", Integer, primary_key=True, autoincrement=False),
    Column("time", String(32)),
    Column("endpoint_ms", Float),
    Column("stt_ms", Float),
    Column("llm_ttft_ms", Float),
    Column("tts_ttfb_ms", Float),
    Column("voice_to_voice_ms", Float),
    Column("reason", Text),
    Column("speculated", Boolean, nullable=False, default=False),
    Column("interrupted", Boolean, nullable=False, default=False),
    Column("cost", JSON, nullable=False),
    Column("more", JSON, nullable=False),
    Index("turns_by_time", "time"),
)


def apply(connection: Connection) -> None:
    _metadata.create_all(connection, checkfirst=False)
