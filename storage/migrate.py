"""Brings a database to this program's version: all missing steps in one transaction, or none.

Several processes may start at once: the transaction takes the write lock before it looks, so one migrates and
the others find nothing left to do.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, inspect, select, text

from storage import migrations

ADVISORY_LOCK = 0x7061726C6579  # PostgreSQL wants a number that nobody else uses: "parley"

_version = Table(
    "schema_version",
    MetaData(),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("title", String(200), nullable=False),
)


class DatabaseTooNew(RuntimeError):
    """A later version of the program has been at this database. The text is for whoever starts the server."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration."""

    version: int
    title: str
    apply: Callable[[Connection], None]


def steps() -> list[Step]:
    """All steps there are, in order. Their numbers have no gaps."""
    names = sorted(
        module.name for module in pkgutil.iter_modules(migrations.__path__) if module.name[0] == "m"
    )
    found = []
    for name in names:
        module = importlib.import_module(f"{migrations.__name__}.{name}")
        found.append(Step(int(name[1:5]), name[6:], module.apply))
    if [step.version for step in found] != list(range(1, len(found) + 1)):
        raise AssertionError(f"migrations must be numbered without gaps: {names}")
    return found


def migrate(connection: Connection, wanted: Sequence[Step] | None = None) -> int:
    """Apply what is missing, inside the caller's (writing) transaction. Answers how many steps that were.

    Raises `DatabaseTooNew`.
    """
    wanted = steps() if wanted is None else wanted
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    if not inspect(connection).has_table(_version.name):
        _version.create(connection)
    done = set(connection.scalars(select(_version.c.version)))
    if done and max(done) > len(wanted):
        raise DatabaseTooNew(
            f"The database is at version {max(done)}, this program knows {len(wanted)}: "
            "start the newer Parley that it belongs to, or give this one another [storage] url."
        )
    missing = [step for step in wanted if step.version not in done]
    for step in missing:
        step.apply(connection)
        connection.execute(insert(_version).values(version=step.version, title=step.title))
    return len(missing)
