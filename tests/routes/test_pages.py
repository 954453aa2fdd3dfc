"""The pages as they are served: who sees which, in which language, and where each leads on to."""

import inspect
import re
from html import escape
from typing import Any

import pytest

from server.pages.words import LANGUAGE_COOKIE, Words, all_words
from server.routes import oidc
from server.routes.pages import REASONS, local_path
from tests.routes.conftest import Client, signed_up
from tests.static.test_files import Page

FOR_ALL = ("/", "/chat", "/login", "/signup", "/forgot", "/reset?key=x", "/verify?key=x")
FOR_USERS = ("/profile", "/history", "/agents", "/sessions", "/appointments", "/logout")


def parts_of(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


@pytest.mark.parametrize("language", ["en", "es"])
async def test_every_page_is_drawn_in_both_languages_with_nothing_inline(
    client: Client, language: str
) -> None:
    browser, nobody = await signed_up(client), client()
    pages = [(nobody, path) for path in FOR_ALL] + [(browser, path) for path in ("/", *FOR_USERS, "/admin")]
    for who, path in pages:
        answer = await who.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, path
        assert f'<html lang="{language}">' in answer.text
        assert answer.headers["content-language"] == language
        assert parts_of(answer.text).inline == []
        for key in re.findall(r'data-t="([\w.-]+)"', answer.text):
            assert all_words()[language](key) in answer.text.replace("&#39;", "'")


async def test_a_stranger_is_sent_to_the_login_and_comes_back(client: Client) -> None:
    nobody = client()
    for path in ("/profile", "/history", "/history/x", "/agents", "/sessions", "/appointments", "/admin"):
        answer = await nobody.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=%2F")
    answer = await nobody.get("/history?q=ship")
    assert answer.headers["location"] == "/login?next=%2Fhistory%3Fq%3Dship"
    assert 'data-onward="/history?q=ship"' in (await nobody.get(answer.headers["location"])).text
    assert (await nobody.get("/logout")).headers["location"] == "/"


@pytest.mark.parametrize(
    ("text", "onward"),
    [
        ("/history?q=a%20b", "/history?q=a%20b"),
        ("/", "/"),
        ("", "/chat"),
        (None, "/chat"),
        ("//evil.example", "/chat"),
        ("/\\evil.example", "/chat"),
        ("/\t/evil.example", "/chat"),
        ("/a\\b", "/chat"),
        ("https://evil.example", "/chat"),
        ("javascript:alert(1)", "/chat"),
        ("history", "/chat"),
        ("/a\r\nSet-Cookie: b", "/chat"),
    ],
)
def test_a_login_leads_on_to_this_server_only(text: str | None, onward: str) -> None:
    assert local_path(text) == onward


async def test_whoever_is_logged_in_goes_straight_on(client: Client) -> None:
    browser = await signed_up(client)
    answer = await browser.get("/login?next=/agents")
    assert (answer.status_code, answer.headers["location"]) == (303, "/agents")
    assert (await browser.get("/signup")).headers["location"] == "/chat"


async def test_the_header_says_who_is_logged_in(client: Client) -> None:
    browser = await signed_up(client)
    await browser.patch("/api/users/profile", json={"display_name": "Ann <b>Bold</b>"})
    for path in ("/", "/history"):
        html = (await browser.get(path)).text
        assert "Ann &lt;b&gt;Bold&lt;/b&gt;</span>" in html
        assert 'action="/logout"' in html
    assert 'href="/login"' in (await client().get("/")).text


async def test_the_language_is_the_one_chosen_last_then_the_accounts_then_the_browsers(
    client: Client,
) -> None:
    async def shown(browser: Any, path: str = "/login") -> str:
        found = re.search(r'<html lang="(\w+)">', (await browser.get(path)).text)
        assert found is not None
        return found[1]

    nobody = client()
    nobody.headers["Accept-Language"] = "fr, es-MX;q=0.8, en;q=0.3"
    assert await shown(nobody) == "es"
    answer = await nobody.get("/login?next=%2Fagents&lang=en")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fagents")
    assert await shown(nobody) == "en"
    browser = await signed_up(client)
    browser.headers["Accept-Language"] = "en"
    await browser.put("/api/users/preferences", json={"preferred_language": "es-MX"})
    assert await shown(browser, "/history") == "es"
    browser.cookies.set(LANGUAGE_COOKIE, "en")
    assert await shown(browser, "/history") == "en"
    browser.cookies.delete(LANGUAGE_COOKIE)
    await browser.put("/api/users/preferences", json={"preferred_language": "fr"})
    assert await shown(browser, "/history") == "en"


@pytest.mark.parametrize("wanted", ["", "xx", "es;q=x", ";;,", "en;q=0, es", "*"])
async def test_an_odd_accept_language_does_no_harm(client: Client, wanted: str) -> None:
    answer = await client().get("/login", headers={"Accept-Language": wanted})
    assert answer.status_code == 200
    assert ('lang="es">' in answer.text.split("<head>")[0]) == (wanted == "en;q=0, es")


async def test_logging_out_is_a_form_that_works_without_a_script(client: Client) -> None:
    browser = await signed_up(client)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site"}
    assert (await browser.post("/logout", headers=headers)).status_code == 403
    answer = await browser.post("/logout", headers={**headers, "Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (await browser.get("/profile")).status_code == 303


async def test_what_a_user_saw_is_not_kept_by_the_browser(client: Client) -> None:
    browser = await signed_up(client)
    assert (await browser.get("/profile")).headers["cache-control"] == "no-store"
    assert (await client().get("/login")).headers["cache-control"] == "no-cache"


async def test_the_administration_is_there_for_administrators_only(client: Client) -> None:
    first, second = await signed_up(client), await signed_up(client, "bob@example.org")
    assert 'href="/admin"' in (await first.get("/")).text
    assert (await first.get("/admin")).status_code == 200
    assert 'href="/admin"' not in (await second.get("/")).text
    assert (await second.get("/admin")).status_code == 404


async def test_a_talk_that_is_not_mine_is_not_there(client: Client) -> None:
    browser = await signed_up(client)
    answer = await browser.get("/history/20261226_100900_k3v9x2m8q7w4f5h6t2r9")
    assert answer.status_code == 404
    assert "Nothing here" in answer.text
    answer = await client().get("/share/nothing", headers={"Accept": "text/html"})
    assert (answer.status_code, "Nothing here" in answer.text) == (404, True)
    assert (await client().get("/share/nothing")).json()["detail"]


async def test_a_page_leaves_the_interface_beside_it_alone(client: Client) -> None:
    browser = await signed_up(client)
    answer = await browser.post("/agents", json={"name": "Dentist"}, follow_redirects=True)
    assert answer.status_code == 201
    html = (await browser.get(f"/chat?agent={answer.json()['id']}")).text
    assert "Dentist</p>" in html
    assert "Dentist</p>" not in (await client().get(f"/chat?agent={answer.json()['id']}")).text
    assert (await browser.post("/login")).status_code == 405


@pytest.mark.parametrize("settings", [{"PARLEY_ACCOUNTS__REGISTRATION": "false"}])
async def test_where_no_accounts_are_made_the_page_says_so(client: Client) -> None:
    html = (await client().get("/signup")).text
    assert "New accounts are not made here" in html
    assert '<form class="card"' not in html
    assert 'href="/signup' not in (await client().get("/login")).text


ELSEWHERE = {
    "PARLEY_OIDC__ISSUER": "https://login.example.org",
    "PARLEY_OIDC__CLIENT_ID": "parley",
    "PARLEY_OIDC__BUTTON": "The Company",
    "PARLEY_SERVER__PUBLIC_URL": "https://talk.example.org",
    "OIDC_CLIENT_SECRET": "secret",
}


@pytest.mark.parametrize("settings", [ELSEWHERE])
async def test_where_one_may_log_in_elsewhere_the_page_leads_there(client: Client) -> None:
    html = (await client().get("/login?next=/agents")).text
    assert 'href="/auth/oidc/login?next=%2Fagents"' in html
    assert "Log in with The Company" in html


@pytest.mark.parametrize("settings", [ELSEWHERE])
async def test_the_page_says_why_a_login_elsewhere_came_to_nothing(client: Client) -> None:
    browser = client()
    english, spanish = Words("en"), Words("es")
    for reason in REASONS:
        path, key = f"/login?oidc={reason}", f"login.oidc.{reason}"
        for words in (english, spanish):
            html = (await browser.get(path, headers={"Accept-Language": words.language})).text
            said = escape(words(key, name="The Company"))
            assert f'role="alert">{said}</p>' in html
    assert "<script>x" not in (await browser.get("/login?oidc=<script>x")).text


async def test_where_nobody_logs_in_elsewhere_the_page_is_silent_about_it(client: Client) -> None:
    html = (await client().get("/login?oidc=late")).text
    assert "Too much time" not in html
    assert "/auth/oidc/" not in html


def test_every_reason_that_a_login_elsewhere_may_give_has_words() -> None:
    source = inspect.getsource(oidc)
    said = set(re.findall(r'(?:Refused|_back)\("(\w+)"\)', source))
    assert said == set(REASONS)


async def test_where_nothing_is_programs_get_a_sentence_and_browsers_a_page(client: Client) -> None:
    program, browser = client(), await signed_up(client)
    for path in ("/nothing/there", "/api/nothing", "/static/nothing.js"):
        answer = await program.get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": f"There is nothing at {path}."})
    answer = await program.post("/health", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()) == (405, {"detail": "POST does nothing at /health."})
    for language, words in (("en", "Nothing here"), ("es", "Aquí no hay nada")):
        answer = await browser.get(
            "/nothing/<script>", headers={"Accept": "text/html,*/*", "Accept-Language": language}
        )
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert words in answer.text
        assert "<script>" not in answer.text.replace("<script type", "")
    assert (await browser.head("/nothing", headers={"Accept": "text/html"})).content == b""
