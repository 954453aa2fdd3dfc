"""One row for each request to a provider: what it used, what it cost, how it went."""

from sqlalchemy import (
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
)

_metadata = MetaData()

_conversations = Table("conversations", _metadata, Column("session_id", String(64), primary_key=True))

_requests = Table(
    "requests",
    _metadata,
    Column(
        "session_id",
        String(64),
        ForeignKey(_conversations.c.session_id, ondelete="CASCADE"),
        primary_key=True,
    ),
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
    Column("counted", Boolean, nullable=False, default=False),
    Column("price", Float, nullable=False, default=0.0),
    Column("speculative", Boolean, nullable=False, default=False),
    Column("outcome", String(16), nullable=False, default=""),
    Column("error", String(32), nullable=False, default=""),
    Column("first_ms", Float),
    Index("requests_by_time", "time"),
)


def apply(connection: Connection) -> None:
    _requests.create(connection, checkfirst=False)
