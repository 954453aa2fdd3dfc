"""Requests to providers outside of any talk: files that were transcribed, texts that were spoken."""

from sqlalchemy import Boolean, Column, Connection, Float, ForeignKey, Index, Integer, MetaData, String, Table

_metadata = MetaData()
Table("users", _metadata, Column("id", String(32), primary_key=True))  # only so that it can be referred to

_errands = Table(
    "errands",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", String(32), ForeignKey("users.id", ondelete="SET NULL")),
    Column("time", String(32), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("provider", String(200), nullable=False),
    Column("model", String(200), nullable=False, default=""),
    Column("units", Float, nullable=False, default=0.0),
    Column("unit", String(16), nullable=False, default=""),
    Column("input_tokens", Integer, nullable=False, default=0),
    Column("output_tokens", Integer, nullable=False, default=0),
    Column("counted", Boolean, nullable=False, default=False),
    Column("price", Float, nullable=False, default=0.0),
    Column("outcome", String(16), nullable=False, default=""),
    Column("error", String(32), nullable=False, default=""),
    Column("first_ms", Float),
    Index("errands_by_time", "time"),
    Index("errands_of_user", "user_id", "time"),
)


def apply(connection: Connection) -> None:
    _errands.create(connection)
