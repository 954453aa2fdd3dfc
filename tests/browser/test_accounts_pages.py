"""The pages around the talk, in a real browser: both ways through them, and how they look and are reached."""

import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright

from tests.browser.conftest import (
    CHROMIUM,
    FAKE_DEVICE,
    FLAGS,
    GRANTED,
    UNHURRIED,
    Talk,
    _wav,
    silence,
    speech,
)
from tests.browser.test_looks import CONTRASTS, PHONE, UNNAMED, overflow
from tests.support.live import SCRIPTED, LiveServer

pytestmark = pytest.mark.browser

PASSWORD = "a long and odd sentence"
HEARD = "what can you do for me today"
REPLY = "I can tell you the time. I can also book appointments."
VOICE = {**SCRIPTED, "PARLEY_TTS__PLUGIN": '["espeak"]', "PARLEY_LLM__SCRIPTED__TEXT": REPLY}
NUMBERS = itertools.count(1)

People = Callable[..., Talk]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """It hears and says the same always, with real voices to choose from."""
    server = LiveServer(tmp_path_factory.mktemp("accounts"), VOICE)
    account = json.dumps({"email": "first@example.org", "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    urlopen(Request(f"{server.url}/api/auth/register", account, headers)).close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests: each person has a context. Its microphone says one sentence, after a while."""
    wav = _wav(tmp_path_factory.mktemp("microphone"), silence(2.5) + speech(2.5))
    flags = [*FLAGS, FAKE_DEVICE, GRANTED, f"--use-file-for-fake-audio-capture={wav}%noloop"]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
    yield browser
    browser.close()


@pytest.fixture
def person(browser: Browser, server: LiveServer) -> Iterator[People]:
    """Somebody with a browser of their own: `person(path, account=True)`; further keywords: the context's."""
    talks: list[Talk] = []

    def start(path: str = "", *, account: bool = False, **options: Any) -> Talk:
        size = {"width": 1280, "height": 800}
        context = browser.new_context(**{"locale": "en-GB", "viewport": size, **options})
        context.add_init_script(UNHURRIED)
        if account:
            sign_up(context, server)
        talk = Talk(context.new_page(), context)
        talk.page.set_default_timeout(20_000)
        talk.watch()
        talks.append(talk)
        if path:
            talk.page.goto(server.url + path)
        return talk

    yield start
    for talk in talks:
        talk.context.close()
    for talk in talks:
        assert talk.unexpected() == []


@pytest.fixture
def admin(person: People, server: LiveServer) -> Talk:
    """The account that was the first, on its page."""
    talk = person()
    login = {"email": "first@example.org", "password": PASSWORD}
    assert talk.context.request.post(f"{server.url}/api/auth/login", data=login).ok
    talk.page.goto(f"{server.url}/admin")
    return talk


def new_email() -> str:
    return f"ann{next(NUMBERS)}@example.org"


def sign_up(context: BrowserContext, server: LiveServer) -> None:
    account = {"email": new_email(), "password": PASSWORD, "display_name": "Ann"}
    assert context.request.post(f"{server.url}/api/auth/register", data=account).status == 201


def made_ahead(talk: Talk, server: LiveServer) -> tuple[str, str]:
    """A talk in writing that is over, and an agent with a session that is open."""
    request, home = talk.context.request, server.url
    agent = request.post(f"{home}/agents/", data={"name": "Dentist", "initial_prompt": "Be brief."}).json()
    request.post(f"{home}/sessions/", data={"agent_id": agent["id"], "session_prompt": "Be kind."})
    session = request.post(f"{home}/sessions/", data={}).json()["id"]
    said = request.post(f"{home}/sessions/{session}/message", data={"message": "Where is my umbrella?"})
    assert said.ok, said.text()
    assert request.post(f"{home}/sessions/{session}/end").ok
    return session, agent["id"]


def findings(talk: Talk) -> list[str]:
    """What axe has against the page as it is, where it matters: WCAG's serious and critical."""
    talk.page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = talk.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{talk.page.url}: {v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def check(talk: Talk) -> None:
    assert findings(talk) == []
    assert talk.page.evaluate(UNNAMED) == []
    assert overflow(talk) <= 0


# -- both ways through -----------------------------------------------------------------------------------


def talk_by_voice(talk: Talk) -> str:
    """Say the microphone's sentence, hear the answer, end. Returns the session's id."""
    talk.page.click("#orb")
    talk.until("hearing")
    talk.until("thinking", "speaking")
    talk.text(".line.agent:last-child .said", REPLY[-12:])
    talk.until("listening")
    talk.page.click("#end")
    talk.until("ended")
    talk.text(".keep .file")
    return str(talk.told("connected")[-1]["session_id"])


@pytest.mark.real_time
def test_a_user_signs_up_talks_in_spanish_and_takes_everything_along(
    server: LiveServer, person: People, tmp_path: Path
) -> None:
    talk = person("/", accept_downloads=True)
    page = talk.page
    page.click(".bar >> text=Sign up")
    email = new_email()
    page.fill("#display_name", "Ann Example")
    page.fill("#email", email)
    page.fill("#password", PASSWORD)
    page.wait_for_selector("#door [type=submit]:enabled")
    page.press("#password", "Enter")
    page.wait_for_url("**/chat")
    assert talk.text(".me-name") == "Ann Example"

    voice = choose_spanish(talk)
    page.click(".bar >> text=Hablar")
    assert talk.text("#state") == "Empezar a hablar"
    session = talk_by_voice(talk)
    agent = talk.told("connected")[-1]["agent"]
    assert (agent["voice"], agent["language"]) == (voice, "es")
    assert "voice" not in talk.said("start")[-1]  # it is the account's wish, not this browser's

    page.click(".bar >> text=Historial")
    page.fill("#q", "for me tod")
    page.press("#q", "Enter")
    assert talk.text(".item mark")
    page.click(".item h2 a")
    page.wait_for_url(f"**/history/{session}")
    plays_and_tells(talk)
    check(talk)
    link = shares(talk)
    other = person(account=False)
    other.page.goto(link)
    assert HEARD in other.text(".line.you .words")
    assert "Ann" not in other.page.content()
    check(other)
    exports(talk, session)

    page.click(".me")
    with page.expect_download() as saved:
        page.click("a[href='/api/users/export']")
    saved.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert any(session in name and name.endswith(".mp3") for name in names)

    leaves(talk, email)
    assert not [path for path in server.folder.rglob(f"*{session}*") if path.exists()]
    other.expected.append("404")
    answer = other.page.goto(link)
    assert answer is not None
    assert answer.status == 404
    again = talk.context.request.post(
        f"{server.url}/api/auth/login", data={"email": email, "password": PASSWORD}
    )
    assert again.status == 401


def choose_spanish(talk: Talk) -> str:
    """In the preferences. Returns the voice."""
    page = talk.page
    page.click(".me")
    page.wait_for_function("() => document.querySelectorAll('#preferred_voice option').length > 5")
    page.select_option("#preferred_language", "es")
    voice = str(page.locator("#preferred_voice option").nth(1).get_attribute("value"))
    page.select_option("#preferred_voice", voice)
    page.fill("#favorite_topics", "el mar\najedrez")
    with page.expect_navigation():
        page.click("#preferences button")
    assert talk.text("#preferences-title") == "Tus charlas"
    page.wait_for_function("voice => document.querySelector('#preferred_voice').value === voice", arg=voice)
    assert page.input_value("#favorite_topics") == "el mar\najedrez"
    return voice


def plays_and_tells(talk: Talk) -> None:
    page = talk.page
    assert talk.text(".line.you .words") == HEARD
    assert talk.text(".line.agent:last-child .words") == REPLY
    with page.expect_response("**/api/audio/**") as sound:
        page.click(".line.you .play")
    assert sound.value.status in (200, 206)
    assert page.get_attribute(".line.you .play", "aria-pressed") == "true"
    page.wait_for_selector(".line.you .play[aria-pressed=false]")  # it was played to its end
    page.click(".line.agent:last-child .word >> nth=5")
    page.wait_for_selector(".line.agent:last-child .word.now")
    assert page.locator(".word.now").evaluate_all(
        "(now) => now.map((word) => [...word.parentElement.querySelectorAll('.word')].indexOf(word))[0] >= 5"
    )
    page.click(".line.agent:last-child .play")
    page.click(".metrics summary")
    assert "Entender" in talk.text(".sheet")


def shares(talk: Talk) -> str:
    talk.page.click("#share")
    talk.page.click("#share-card .strong")
    return talk.text("#share-url")


def exports(talk: Talk, session: str) -> None:
    wanted = {"json": '"messages"', "txt": HEARD, "srt": "-->", "vtt": "WEBVTT", "mp3": ""}
    for kind, part in wanted.items():
        talk.page.click("#exports summary")
        with talk.page.expect_download() as saved:
            talk.page.click(f"[data-format={kind}]")
        assert saved.value.suggested_filename == f"{session}.{kind}"
        content = saved.value.path().read_bytes()
        assert part.encode() in content
        if kind == "json":
            assert json.loads(content)["session_id"] == session


def leaves(talk: Talk, email: str) -> None:
    page = talk.page
    page.fill("#leave-typed", "somebody@example.org")
    page.fill("#leave-password", PASSWORD)
    page.click("#leave button")
    talk.text("#leave .problem")
    assert page.evaluate("document.activeElement.id") == "leave-typed"
    page.fill("#leave-typed", email)
    page.click("#leave button")
    page.wait_for_url("**/")
    talk.text(".bar a[href='/login']")


@pytest.mark.real_time
def test_a_guest_talks_and_leaves_no_trace_in_any_list(server: LiveServer, person: People) -> None:
    talk = person("/")
    session = talk_by_voice(talk)
    assert talk.context.request.get(f"{server.url}/api/conversation/{session}").ok
    talk.page.goto(f"{server.url}/history")
    assert "/login?next=" in talk.page.url
    user = person("/history", account=True)
    assert talk.text("h1") == "Log in"
    assert user.text(".nothing") == "You have had no talk yet."
    listed = user.context.request.get(f"{server.url}/api/conversations").json()
    assert listed["total"] == 0


def test_a_guest_who_signs_up_in_mid_talk_keeps_it(server: LiveServer, person: People) -> None:
    talk = person("/")
    talk.page.click("#type-instead")
    talk.until("typing", "speaking")
    talk.page.fill("#message", "remember my umbrella")
    talk.page.press("#message", "Enter")
    talk.text(".line.you", "umbrella")
    with talk.context.expect_page() as opened:
        talk.page.click(".bar >> text=Sign up")
    tab = opened.value
    tab.fill("#email", new_email())
    tab.fill("#password", PASSWORD)
    tab.click("#door button")
    tab.wait_for_url("**/chat")
    talk.page.click("#end")
    talk.until("ended")
    tab.goto(f"{server.url}/history?q=umbrella")
    assert tab.locator(".item mark").first.inner_text() == "umbrella"


# -- single pages ----------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_the_form(server: LiveServer, person: People) -> None:
    talk = person("/signup?next=/agents", locale="es")
    page = talk.page
    page.click("#door button")
    assert "Correo electrónico" in talk.text(".problem")
    assert page.evaluate("document.activeElement.id") == "email"
    assert page.get_attribute("#email", "aria-invalid") == "true"
    talk.expected += ["422", "401"]
    page.fill("#email", "somebody@example.org")
    page.fill("#password", "password1")
    page.click("#door button")
    assert "demasiado común" in talk.text(".problem")
    assert page.evaluate("document.activeElement.className") == "problem"
    check(talk)
    page.fill("#password", PASSWORD)
    page.click("#door button")
    page.wait_for_url("**/agents")
    page.click(".bar >> text=Salir")
    page.wait_for_url(f"{server.url}/")
    page.goto(f"{server.url}/login")
    page.fill("#email", "somebody@example.org")
    page.fill("#password", "wrong")
    page.wait_for_selector("#door [type=submit]:enabled")
    page.press("#password", "Enter")
    assert talk.text(".problem") == "El correo o la contraseña no son correctos."


def test_an_agent_is_made_changed_talked_to_and_deleted(server: LiveServer, person: People) -> None:
    talk = person("/agents", account=True)
    page = talk.page
    page.click("#new")
    page.fill("[name=name]", "Dentist")
    page.fill("[name=initial_prompt]", "You answer the phone of a dentist.")
    page.fill("[name=context_prompts]", "Open from 9 to 4.\nNot on Mondays.\n\nThe doctor is Dr Who.")
    page.fill("[name=greeting]", "Dental practice, hello?")
    assert findings(talk) == []
    page.click("#agent .strong")
    page.click(".item >> text=Edit")
    assert page.input_value("[name=context_prompts]").split("\n\n")[1] == "The doctor is Dr Who."
    page.fill("[name=name]", "Dr Who")
    page.click("#agent .strong")
    assert talk.text(".item h2", "Dr Who")
    page.click(".item >> text=Talk to it")
    page.wait_for_load_state()
    assert "Dr Who" in talk.text(".partner")
    page.click("#type-instead")
    talk.text(".line.agent", "Dental practice")
    assert talk.told("connected")[-1]["agent"]["name"] == "Dr Who"
    page.click("#end")
    talk.until("ended")
    page.goto(f"{server.url}/agents")
    page.click(".item >> text=Delete")
    page.click("dialog .bad")
    assert talk.text(".nothing") == "You have no agents yet."
    page.goto(f"{server.url}/history")
    page.click(".item h2 a")
    assert "Dr Who" in talk.text("#facts")


def test_a_session_that_was_set_up_ahead_is_opened_and_ended(server: LiveServer, person: People) -> None:
    talk = person(account=True)
    made_ahead(talk, server)
    talk.page.goto(f"{server.url}/sessions")
    talk.page.wait_for_function("() => document.querySelectorAll('.item').length === 2")
    talk.page.click(".item a.button")
    talk.page.wait_for_load_state()
    talk.page.click("#type-instead")
    talk.until("typing", "speaking")
    session = talk.page.url.partition("session=")[2]
    assert talk.told("connected")[-1]["session_id"] == session
    talk.page.goto(f"{server.url}/sessions")
    talk.page.click(".item .row button")
    talk.page.wait_for_function("() => document.querySelectorAll('.item .row button').length === 0")
    assert talk.page.locator(".badge.on").count() == 0


def test_keys_logins_and_the_password_are_changed_on_the_profile(server: LiveServer, person: People) -> None:
    talk = person("/profile", account=True)
    page = talk.page
    page.fill("#label", "kitchen radio")
    page.click("#new-key button")
    key = talk.text("#new-key .code")
    assert key.startswith("pk-")
    me = f"{server.url}/api/auth/me"
    page.click("#key-list button")
    page.wait_for_selector("#key-list li", state="detached")
    other = talk.context.request.post(f"{server.url}/auth/login", data=credentials_of(talk, server)).json()
    page.reload()
    page.click("#end-others")
    page.click("dialog .bad")
    page.wait_for_function("() => document.querySelectorAll('#login-list li').length === 1")
    stranger = person().context.request
    bearer = {"Authorization": f"Bearer {other['access_token']}"}
    assert stranger.get(me, headers=bearer).status == 401
    page.fill("#password [name=current_password]", PASSWORD)
    page.fill("#new_password", "an even longer sentence")
    page.click("#password button")
    talk.text("#password .done")
    page.fill("#account [name=display_name]", "Ann the Second")
    page.click("#account button")
    talk.text("#account .done")
    assert talk.text(".me-name") == "Ann the Second"


def credentials_of(talk: Talk, server: LiveServer) -> dict[str, str]:
    email = talk.context.request.get(f"{server.url}/api/auth/me").json()["email"]
    return {"username": email, "password": PASSWORD}


def test_the_history_is_filtered_by_its_address(server: LiveServer, person: People) -> None:
    talk = person(account=True)
    session, _ = made_ahead(talk, server)
    talk.page.goto(f"{server.url}/history?q=umbrella")
    talk.page.wait_for_selector("mark")
    talk.page.fill("#from", "2099-01-01")
    talk.page.click("#filter button")
    assert talk.text(".nothing") == "No talk fits."
    assert "from=2099-01-01" in talk.page.url
    talk.page.go_back()
    talk.page.wait_for_selector("mark")
    talk.page.click(".item h2 a")
    talk.page.click("#delete")
    talk.page.click("dialog .bad")
    talk.page.wait_for_url("**/history")
    assert talk.text(".nothing")
    assert not (server.folder / "conversations" / f"{session}.json").exists()


def test_administrators_see_who_is_here_and_may_disable_them(person: People, admin: Talk) -> None:
    ann, page = person("/profile", account=True), admin.page
    email = ann.context.request.get(page.url.replace("/admin", "/api/auth/me")).json()["email"]
    page.fill("#q", email)
    page.press("#q", "Enter")
    page.wait_for_function("() => document.querySelectorAll('#users .item').length === 1")
    page.click("#users >> text=Disable")
    page.click("dialog .bad")
    assert admin.text("#users .badge.off") == "disabled"
    ann.expected.append("401")
    ann.page.reload()
    assert "/login" in ann.page.url
    page.click("#users >> text=Enable")
    page.wait_for_selector("#users .badge.off", state="detached")
    page.fill("#q", "first@example.org")
    page.press("#q", "Enter")
    page.wait_for_function("() => document.querySelector('#users').innerText.includes('first@')")
    admin.expected.append("409")
    page.click("#users >> text=Unmake")
    page.click("dialog .bad")
    assert "last administrator" in admin.text("#trouble")
    assert admin.text("#live")
    assert page.locator("#providers [aria-busy], #days [aria-busy]").count() == 0


def test_the_language_is_switched_at_the_foot_of_the_page(person: People) -> None:
    talk = person("/login?next=/agents")
    talk.page.click("text=Español")
    assert talk.text("h1") == "Entrar"
    assert talk.page.get_attribute("#door", "data-onward") == "/agents"
    talk.page.click(".brand")
    assert talk.text("#state") == "Empezar a hablar"


# -- how they look ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("light", {"locale": "es"}), ("dark", {}), ("dark", {**PHONE, "locale": "es"}), ("light", PHONE)],
    ids=["light", "dark", "dark-phone", "light-phone"],
)
def test_every_page_is_accessible_and_fits(
    server: LiveServer, person: People, scheme: str, options: dict[str, Any]
) -> None:
    nobody = person(color_scheme=scheme, reduced_motion="reduce", **options)
    nobody.expected.append("404")
    for path in ("/", "/login", "/signup", "/forgot", "/reset", "/verify", "/share/nothing"):
        nobody.page.goto(server.url + path)
        check(nobody)
    user = person(color_scheme=scheme, reduced_motion="reduce", account=True, **options)
    session, agent = made_ahead(user, server)
    pages = (
        "profile",
        "history",
        f"history/{session}",
        "agents",
        "sessions",
        "logout",
        f"chat?agent={agent}",
    )
    for path in pages:
        user.page.goto(f"{server.url}/{path}")
        user.page.wait_for_function("() => !document.querySelector('main [aria-busy]')")
        check(user)
        assert user.page.evaluate(CONTRASTS) == []
    if "is_mobile" in options:
        user.page.click(".menu-button")
        check(user)
        user.page.click(".menu a[href='/history']")
        user.page.wait_for_url("**/history")
