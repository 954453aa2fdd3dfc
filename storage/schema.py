"""The tables, in SQLAlchemy Core. What the database looks like now; how it came to is in `migrations`.

Times are ISO 8601 UTC text of fixed width (see `storage.times`), so they sort, and read the same everywhere.
"""

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

settings = Table(
    "settings",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
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

messages = Table(
    "messages",
    metadata,
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
    Column("more", JSON, nullable=False),  # whatever else the message says: a tool's name, arguments, result
)

turns = Table(
    "turns",
    metadata,
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

requests = Table(
    "requests",
    metadata,
    Column("session_id", String(64), ForeignKey(_session, ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("time", String(32)),
    Column("turn", Integer),
    Column("stage", String(16), nullable=False),
    Column("provider", String(200), nullable=False),
    Column("model", String(200), nullable=False, default=""),
    Column("units", Float, nullable=False, default=0.0),
    Column("unit", String(16), nullable=False, default=""),
    Column("input_tokens", Integer, nullable=False, default=0),
    Column("output_tokens", Integer, nullable=False, default=0),
    Column("counted", Boolean, nullable=False, default=False),  # by the provider; else it is our estimate
    Column("price", Float, nullable=False, default=0.0),
    Column("speculative", Boolean, nullable=False, default=False),
    Column("outcome", String(16), nullable=False, default=""),
    Column("error", String(32), nullable=False, default=""),
    Column("first_ms", Float),
    Index("requests_by_time", "time"),
)
