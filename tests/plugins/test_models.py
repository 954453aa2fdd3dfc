"""`parley models`: what is here, and fetching from a hub that answers, refuses, or says nothing."""

import http.server
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.stt.whisper_models import ModelError
from server.models import fetch, list_models
from tests.support.tiny_whisper import build

COMMIT = "a" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as a download needs, with one small model."""

    folder: Path

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/some/tiny/tree"):
            entries = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0"}
                for p in sorted(self.folder.iterdir())
            ]
            self._answer(json.dumps(entries).encode())
        elif self.path.startswith("/api/models/some/tiny"):
            files = [{"rfilename": p.name, "size": p.stat().st_size} for p in sorted(self.folder.iterdir())]
            self._answer(json.dumps({"id": "some/tiny", "sha": COMMIT, "siblings": files}).encode())
        elif self.path.startswith("/some/tiny/resolve/"):
            self._answer((self.folder / self.path.rpartition("/")[2].partition("?")[0]).read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    handler = type("OneHub", (Hub,), {"folder": build(tmp_path / "published")})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("cache")
def test_the_models_that_came_with_the_packages_are_listed_as_here() -> None:
    rows = {row.name: row for row in list_models()}
    for name in ("en-us", "silero", "espeak-ng"):
        assert rows[name].installed
        assert Path(rows[name].where).exists()
        assert rows[name].megabytes > 0
    assert not rows["base.en"].installed
    assert rows["base.en"].where == ""
    assert rows["base.en"].megabytes == 148


@pytest.mark.usefixtures("cache")
def test_models_in_a_folder_of_one_s_own_are_listed(tmp_path: Path) -> None:
    own = tmp_path / "models"
    build(own / "base.en")
    build(own / "my-model")
    (own / "not-a-model").mkdir()
    rows = {row.name: row for row in list_models(own)}
    assert rows["base.en"].where == str(own / "base.en")
    assert rows["my-model"].installed
    assert "not-a-model" not in rows


@pytest.mark.usefixtures("_hub")
def test_a_model_is_fetched_once(cache: Path) -> None:
    out = io.StringIO()
    fetch("some/tiny", out)
    assert f"some/tiny is ready: {cache}" in out.getvalue()
    out = io.StringIO()
    fetch("some/tiny", out)
    assert out.getvalue().startswith("some/tiny is already here: ")


@pytest.mark.usefixtures("_hub", "cache")
def test_a_hub_that_does_not_have_it_is_one_sentence() -> None:
    with pytest.raises(
        ModelError, match=r"no/such could not be downloaded \(.*\); check the network"
    ) as told:
        fetch("no/such", io.StringIO())
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("cache")
def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:  # bound, but not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(ModelError, match="check the network") as told:
            fetch("tiny.en", io.StringIO())
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("cache")
def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ModelError, match="nothing has arrived for 1 s"):
            fetch("tiny.en", io.StringIO(), stall_s=1.0)
        assert time.monotonic() - started < 15


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'huge' is not a model that can be fetched; there are tiny\.en"):
        fetch("huge", io.StringIO())
