"""What other servers are to be told, and which of them want to hear no more."""

from sqlalchemy import Column, Connection, Index, Integer, MetaData, String, Table, Text

_metadata = MetaData()

_deliveries = Table(
    "deliveries",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("receiver", String(100), nullable=False),
    Column("event", String(64), nullable=False),
    Column("session_id", String(64)),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", String(32), nullable=False),
    Column("due_at", String(32), nullable=False),
    Column("claimed_until", String(32)),
    Column("ended_at", String(32)),
    Column("status", Integer),
    Column("error", Text, nullable=False, default=""),
    Index("deliveries_due", "receiver", "state", "due_at"),
    Index("deliveries_of_session", "session_id"),
    Index("deliveries_by_time", "created_at"),
)
_receivers = Table(
    "receivers",
    _metadata,
    Column("name", String(100), primary_key=True),
    Column("address", String(64), nullable=False),
    Column("off_since", String(32), nullable=False),
)


def apply(connection: Connection) -> None:
    _metadata.create_all(connection, checkfirst=False)
