"""Which guest became which user: for the worker that has the guest's talk while another one signs him up."""

from sqlalchemy import Column, Connection, ForeignKey, MetaData, String, Table

_metadata = MetaData()

# What the other table's key looks like is all that the reference needs to know of it.
Table("users", _metadata, Column("id", String(32), primary_key=True))
_adoptions = Table(
    "adoptions",
    _metadata,
    Column("guest", String(200), primary_key=True),
    Column("user_id", String(32), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", String(32), nullable=False),
)


def apply(connection: Connection) -> None:
    _adoptions.create(connection)
