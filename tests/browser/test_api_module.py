"""static/api.js in a page of the server: requests, forms, blobs, and refusals that are sentences."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Opener, Talk
from tests.support.live import LiveServer

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
IMPORT = 'const api = await import("/static/api.js");'


def run(talk: Talk, code: str, **given: Any) -> Any:
    """Run code of a page that has the module as `api`."""
    return talk.page.evaluate(f"async (given) => {{ {IMPORT} {code} }}", given)


@pytest.fixture
def page(open_talk: Opener, talking_server: LiveServer) -> Talk:
    talk = open_talk(f"{talking_server.url}/docs/websocket", mic=None)
    talk.expected.append("Failed to load resource")  # a console line for every refusal
    return talk


def account(talk: Talk, email: str) -> None:
    body = {"email": email, "password": "a long and odd sentence"}
    assert run(talk, 'return (await api.post("/api/auth/register", given)).email;', **body) == email


def test_the_example_of_its_page_runs(page: Talk) -> None:
    account(page, "page@example.org")
    text = (ROOT / "docs" / "clients.md").read_text("utf-8")
    code = re.search(r"```js\n(.+?)```", text, re.DOTALL)
    assert code is not None
    imported, _, rest = code[1].partition("\n")
    names = re.search(r"\{.+\}", imported)
    assert names is not None
    run(page, f"const {names[0]} = api; {rest}")
    assert re.fullmatch(r"1: Front desk, \d{3,} bytes", page.page.title())


def test_a_refusal_is_the_servers_sentence(page: Talk) -> None:
    code = """try { await api.post("/api/auth/register", given); return null; }
              catch (error) { return [error instanceof api.ApiError, error.status, error.message]; }"""
    refused = run(page, code, email="x@example.org", password="123")
    assert refused[:2] == [True, 422]
    assert "password" in refused[2]
    known, status, message = run(page, code.replace("/api/auth/register", "/nothing"), a=1)
    assert (known, status) == (True, 404)
    assert message


def test_a_wait_is_told(page: Talk) -> None:
    code = """for (let n = 0; n < 11; n++) {
                try { await api.post("/api/auth/login", given); }
                catch (error) { if (error.status === 429) return error.retryAfterS; }
              }
              return 0;"""
    assert 0 < run(page, code, email="slow@example.org", password="something else") <= 900


def test_nothing_is_sent_to_anybody_else(page: Talk) -> None:
    code = """const seen = [];
              for (const path of ["https://other.example/x", "//other.example/x", "http://127.0.0.1:1/"]) {
                try { await api.get(path); } catch (error) { seen.push(error.message); }
              }
              return seen;"""
    assert run(page, code) == ["This address is not on this server."] * 3


def test_empty_fields_are_left_out_of_a_query(page: Talk) -> None:
    code = 'return (await api.get("/api/conversations", { limit: 5, offset: 0, q: "", x: null })).total;'
    with page.page.expect_request("**/api/conversations*") as asked:
        assert run(page, code) == 0
    assert asked.value.url.endswith("?limit=5&offset=0")


def test_a_form_goes_as_a_form_and_an_empty_answer_is_null(page: Talk) -> None:
    account(page, "form@example.org")
    code = """const form = new FormData();
              form.append("audio_file", new Blob(["no sound"]), "x.wav");
              try { await api.post("/voice/speech-to-text", form); } catch (error) { return error.status; }"""
    assert run(page, code) == 415
    code = """const agent = await api.post("/agents/", { name: "A", initial_prompt: "B" });
              return await api.del(`/agents/${agent.id}`);"""
    assert run(page, code) is None


def test_giving_up_is_no_error_of_the_server(page: Talk) -> None:
    code = """const signal = AbortSignal.abort();
              try { await api.get("/health", {}, { signal }); } catch (error) { return error.name; }"""
    assert run(page, code) == "AbortError"


def test_a_server_that_is_gone_is_told(page: Talk) -> None:
    run(page, "return null;")  # the module is here before the network is gone
    page.context.set_offline(True)
    code = 'try { await api.get("/health"); } catch (error) { return [error.status, error.message]; }'
    assert run(page, code) == [0, "The server cannot be reached."]
