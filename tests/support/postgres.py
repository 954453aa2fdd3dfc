"""A real PostgreSQL for tests: one cluster for the whole run, a fresh database for each test.

    def test_something(database_url):   # once with SQLite, once with PostgreSQL

The cluster is made by the machine's own `initdb` (Debian: package `postgresql`), keeps nothing, and is
started by the first test that wants it. Without PostgreSQL on the machine those tests are skipped; with
PARLEY_REQUIRE_POSTGRES=1 (see tests/conftest.py) they fail instead.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql")
START_S = 60
TEMPLATE = "migrated"
"""A database with all tables: copying it takes a tenth of the time that migrating takes."""
SHAPE = """
    SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
        SELECT attrelid::regclass || '.' || attname AS part
        FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT 'version ' || version FROM schema_version
    ) parts
"""
"""Of a database's tables, columns, indexes and version: what a test may not leave changed."""
OPTIONS = {
    "fsync": "off",  # what is lost with the machine is not missed
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "60",
    "timezone": "Pacific/Apia",  # far from UTC, in case a time is left to the server
}


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL's programs."""
    found = [path.parent for path in DEBIAN.glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda folder: float(folder.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def migrate(url: str) -> None:
    """Make all tables, in a process of its own: tests that ask for databases run on event loops."""
    code = (
        "import asyncio, sys\n"
        "from storage.database import open_database\n"
        "async def main():\n"
        "    await (await open_database(sys.argv[1])).aclose()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, url]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=START_S)


class Cluster:
    """A running PostgreSQL that listens on a port of this machine."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="parley-postgres-"))
        self._password = secrets.token_hex(8)
        self._numbers = count(1)
        self._free: list[str] = []
        self._port = 0
        # PostgreSQL refuses to run as root: then it runs as the user that its package made.
        self._user = "postgres" if os.geteuid() == 0 else None
        try:
            self._make()
        except BaseException:
            self.stop()
            raise

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self._password)
        if self._user:
            for path in (self._folder, secret):
                shutil.chown(path, self._user, self._user)
        self._run(
            "initdb",
            *("--pgdata", str(self._data), "--username", "parley", "--pwfile", str(secret)),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        listening = {"port": self._port, "listen_addresses": "127.0.0.1"}
        settings = {**OPTIONS, **listening, "unix_socket_directories": self._folder}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = str(self._folder / "log")
        # By pg_ctl, so that the server is nobody's child: the leak check looks at ours.
        self._run("pg_ctl", "start", "--wait", "-D", str(self._data), "--log", log, "-o", options)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        with (self._folder / "said").open("w+b") as output:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                cwd=self._folder,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                stdin=subprocess.DEVNULL,
                stdout=output,  # not a pipe: the server inherits it, and its end would be waited for
                stderr=subprocess.STDOUT,
                timeout=START_S,
                check=False,
            )
            output.seek(0)
            said = output.read().decode("utf-8", "replace")
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{said}")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser. Returns what psql prints."""
        done = subprocess.run(
            [str(self._programs / "psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, database],
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self._port),
                "PGUSER": "parley",
                "PGPASSWORD": self._password,
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=START_S,
        )
        return done.stdout.strip()

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://parley:{self._password}@127.0.0.1:{self._port}/{database}"

    @cached_property
    def template(self) -> str:
        """A database with today's tables, made by the program's own migrations."""
        self.sql(f"CREATE DATABASE {TEMPLATE}")
        migrate(self.url(TEMPLATE))
        return TEMPLATE

    def create(self, *, empty: bool = False) -> str:
        """A new database with all tables, or with none at all. Returns its name."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}" + ("" if empty else f" TEMPLATE {self.template}"))
        return name

    def lend(self) -> str:
        """The name of an empty database with all tables: one that was given back, or a new one."""
        return self._free.pop() if self._free else self.create()

    def give_back(self, name: str) -> None:
        """Empty it for the next test: less work than making one. Drop one whose tables were changed."""
        try:
            left = self.sql(f"{self._emptying} {SHAPE}", name)
        except subprocess.CalledProcessError:  # somebody still holds a lock, or a table is gone
            left = ""
        if left == self._shape:
            self._free.append(name)
        else:
            self.drop(name)

    @cached_property
    def _shape(self) -> str:
        return self.sql(SHAPE, self.template)

    @cached_property
    def _emptying(self) -> str:
        named = (
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_version'"
        )
        tables = self.sql(named, self.template).splitlines()
        # As a replica, so that the order of the tables does not matter.
        quiet = "SET lock_timeout = '3s'; SET session_replication_role = replica;"
        return quiet + "".join(f'DELETE FROM "{table}";' for table in tables)

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """End the server and delete all it had."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "--wait", "-D", str(self._data), "--mode", "immediate")
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The test run's PostgreSQL."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    cluster = Cluster(programs)
    yield cluster
    cluster.stop()


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """The URL of a database of this test's own."""
    name = postgres.lend()
    yield postgres.url(name)
    postgres.give_back(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "parley.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of this test's own: every test that uses it runs on both kinds."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "parley.db")
        return f"sqlite+aiosqlite:///{tmp_path}/parley.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same, of a database without any table; of SQLite not even the folder is there."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/new/parley.db"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    name = cluster.create(empty=True)
    yield cluster.url(name)
    cluster.drop(name)
