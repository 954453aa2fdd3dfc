"""The week of appointments in a real browser: booked, moved, lost to somebody quicker, cancelled."""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import CHROMIUM, FLAGS, Talk
from tests.browser.test_accounts_pages import PASSWORD, findings
from tests.browser.test_looks import PHONE, UNNAMED, overflow
from tests.support.live import SCRIPTED, LiveServer

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("PARLEY_SCREENSHOTS", "")
"""A folder for pictures of the page, for whoever wants to look at it."""
NUMBERS = itertools.count(1)
People = Callable[..., Talk]


def monday() -> date:
    """Of the week after next: nothing of it is over."""
    today = date.today()
    return today + timedelta(14 - today.weekday())


WEEK = f"/appointments?week={monday().isoformat()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("appointments"), SCRIPTED)
    account = json.dumps({"email": "first@example.org", "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    urlopen(Request(f"{server.url}/api/auth/register", account, headers)).close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def person(browser: Browser, server: LiveServer) -> Iterator[People]:
    """Somebody logged in: `person(phone="5551234567")`, `person(email="first@example.org")`."""
    talks: list[Talk] = []

    def start(*, email: str = "", phone: str = "", **options: Any) -> Talk:
        context = browser.new_context(
            **{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options}
        )
        request, new = context.request, f"ann{next(NUMBERS)}@example.org"
        account = {"email": email or new, "password": PASSWORD}
        more = {} if email else {"display_name": "Ann"}
        done = request.post(
            f"{server.url}/api/auth/{'login' if email else 'register'}", data={**account, **more}
        )
        assert done.ok, done.text()
        if phone:
            assert request.patch(f"{server.url}/api/users/profile", data={"phone": phone}).ok
        talk = Talk(context.new_page(), context)
        talk.page.set_default_timeout(20_000)
        talk.watch()
        talks.append(talk)
        talk.page.goto(server.url + WEEK)
        talk.page.wait_for_selector("table.week")
        return talk

    yield start
    for talk in talks:
        talk.context.close()
    for talk in talks:
        assert talk.unexpected() == []


def slot(day: int, time: str) -> str:
    return f'[data-slot="{(monday() + timedelta(day)).isoformat()} {time}"]'


def test_the_week_is_booked_moved_and_cancelled_by_keyboard_too(person: People) -> None:
    talk = person(phone="5551234567")
    page = talk.page
    expect(page.locator(".slot.free")).to_have_count(35)
    # booked by keyboard
    page.focus(slot(1, "10:00"))
    page.keyboard.press("Enter")
    assert page.input_value("#phone_number") == "5551234567"
    assert page.input_value("#name") == "Ann"
    assert findings(talk) == []
    page.fill("#phone_number", "12")
    page.press("#phone_number", "Enter")
    expect(page.locator("#book .problem")).to_have_text("A phone number has ten digits.")
    talk.expected.append("422")
    page.fill("#phone_number", "(555) 123-4567")
    page.press("#phone_number", "Enter")
    expect(page.locator("#done")).to_contain_text("Your confirmation code is ")
    own = page.locator(slot(1, "10:00"))
    expect(own).to_have_text("Ann")
    expect(own).to_be_focused()
    # moved to another day
    own.click()
    page.fill("#date", (monday() + timedelta(2)).isoformat())
    expect(page.locator("#time option")).to_have_count(7)
    page.select_option("#time", "15:00")
    assert findings(talk) == []
    page.click("#change [type=submit]")
    expect(page.locator("#done")).to_contain_text("Moved to")
    expect(page.locator(slot(2, "15:00"))).to_have_class("slot own")
    expect(page.locator(slot(1, "10:00"))).to_have_class("slot free")
    # a weekend has nothing to offer
    page.click(slot(2, "15:00"))
    page.fill("#date", (monday() + timedelta(5)).isoformat())
    expect(page.locator("#change .problem")).to_contain_text("nothing is free on this day")
    # cancelled, after a question
    page.click("#cancel")
    page.click(".ask .bad")
    expect(page.locator("#done")).to_contain_text("is cancelled")
    expect(page.locator(".slot.free")).to_have_count(35)
    page.click("#later")
    page.wait_for_url(f"**week={(monday() + timedelta(7)).isoformat()}")
    page.click("#earlier")
    page.wait_for_url(f"**week={monday().isoformat()}")


def test_who_is_too_late_is_told_and_sees_the_week_as_it_is(person: People, server: LiveServer) -> None:
    ann, bob = person(phone="5550000001"), person(phone="5550000002")
    for one in (ann, bob):
        one.page.click(slot(3, "09:00"))
    ann.page.click("#book [type=submit]")
    expect(ann.page.locator("#done")).to_be_visible()
    bob.expected.append("409")
    bob.page.click("#book [type=submit]")
    expect(bob.page.locator("#book .problem")).to_contain_text("Somebody else has just taken this time")
    bob.page.click("#book [data-close]")
    expect(bob.page.locator(slot(3, "09:00"))).to_have_count(0)  # nothing to press any more
    admin = person(email="first@example.org")
    expect(admin.page.locator(slot(3, "09:00"))).to_have_text("Ann")
    admin.page.click(slot(3, "09:00"))
    expect(admin.page.locator("#changing-who")).to_have_text("Ann, 5550000001")
    code = admin.page.inner_text("#changing-code")
    assert admin.context.request.delete(f"{server.url}/api/appointments/{code}").ok


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_axe_has_nothing_against_it(
    person: People, scheme: str, server: LiveServer
) -> None:
    talk = person(**PHONE, color_scheme=scheme, locale="es-ES")
    page = talk.page
    assert page.inner_text("h1") == "Citas"
    made = talk.context.request.post(
        f"{server.url}/api/appointments",
        data={
            "phone_number": "5550000003",
            "date": monday().isoformat(),
            "time": "12:00",
            "name": "Maximiliana",
        },
    )
    assert made.ok, made.text()
    page.reload()
    expect(page.locator(slot(0, "12:00"))).to_have_text("Maximiliana")
    assert findings(talk) == []
    assert page.evaluate(UNNAMED) == []
    assert overflow(talk) <= 0
    page.click(slot(0, "12:00"))
    expect(page.locator("#changing-title")).to_contain_text("lunes")
    assert findings(talk) == []
    assert overflow(talk) <= 0
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/appointments-{scheme}.png")
    assert talk.context.request.delete(f"{server.url}/api/appointments/{made.json()['id']}").ok
