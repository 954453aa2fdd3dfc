"""Appointments, who called for them, and what has been done already in case it is asked for again."""

from sqlalchemy import JSON, Column, Connection, Index, MetaData, String, Table, text

_metadata = MetaData()
_appointments = Table(
    "appointments",
    _metadata,
    Column("id", String(8), primary_key=True),
    Column("phone", String(32), nullable=False),
    Column("name", String(200), nullable=False, default=""),
    Column("date", String(10), nullable=False),
    Column("time", String(5), nullable=False),
    Column("status", String(16), nullable=False, default="booked"),
    Column("user_id", String(32)),
    Column("session_id", String(64)),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Index(
        "appointments_one_a_slot",
        "date",
        "time",
        unique=True,
        sqlite_where=text("status = 'booked'"),
        postgresql_where=text("status = 'booked'"),
    ),
    Index("appointments_of_phone", "phone", "date", "time"),
    Index("appointments_of_user", "user_id", "date", "time"),
    Index("appointments_by_time", "date", "time"),
)

_effects = Table(
    "appointment_effects",
    _metadata,
    Column("session_id", String(64), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("appointment", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("appointment_effects_by_time", "created_at"),
)

_callers = Table(
    "callers",
    _metadata,
    Column("phone", String(32), primary_key=True),
    Column("name", String(200), nullable=False, default=""),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
)


def apply(connection: Connection) -> None:
    for table in (_appointments, _effects, _callers):
        table.create(connection)
