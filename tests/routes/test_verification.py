"""Verified emails and forgotten passwords, by mails through a real SMTP server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio

from server.app import App, running
from server.config import load
from tests.routes.conftest import PASSWORD, SCRIPTED, Client, bearer, signed_up
from tests.support.smtp import Mailbox, link_of, mail_server

ANN = "ann@example.org"
NEW = "another long sentence"


@pytest_asyncio.fixture
async def mailbox(no_leaks: None) -> AsyncIterator[Mailbox]:
    del no_leaks
    async with mail_server(Mailbox()) as mailbox:
        yield mailbox


@pytest_asyncio.fixture
async def app(
    mailbox: Mailbox, tmp_path: Path, database_url: str, settings: dict[str, str]
) -> AsyncIterator[App]:
    mail = {
        "PARLEY_STORAGE__URL": database_url,
        "PARLEY_SERVER__PUBLIC_URL": "https://talk.example.org/",
        "PARLEY_MAIL__SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
        "PARLEY_MAIL__SENDER": "Parley <parley@example.org>",
    }
    async with running(load(None, {**SCRIPTED, **mail, **settings}, tmp_path)) as app:
        yield app


async def secure(client: Client, email: str = ANN) -> httpx2.AsyncClient:
    """A browser that comes by https, with a new account."""
    browser = client()
    browser.base_url = httpx2.URL("https://talk.example.org")
    answer = await browser.post("/api/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201
    return browser


async def key_of(mailbox: Mailbox) -> str:
    return parse_qs(urlsplit(link_of(await mailbox.next())).query)["key"][0]


async def test_a_new_account_gets_a_mail_whose_key_verifies_it_once(client: Client, mailbox: Mailbox) -> None:
    browser = await secure(client)
    assert (await browser.get("/api/auth/me")).json()["is_verified"] is False
    mail = await mailbox.next()
    assert mail["To"] == ANN
    link = link_of(mail)
    assert link.startswith("https://talk.example.org/verify?key=")
    key = {"key": parse_qs(urlsplit(link).query)["key"][0]}
    stranger = client()  # the mail may be read on another device
    assert (await stranger.post("/api/auth/verify", json=key)).status_code == 200
    assert (await browser.get("/api/auth/me")).json()["is_verified"] is True
    assert (await stranger.post("/api/auth/verify", json=key)).status_code == 404
    again = await browser.post("/api/auth/verify/request")
    assert again.json()["detail"] == "This email is verified already."


async def test_a_program_s_account_gets_one_too_and_a_later_mail_counts_alone(
    client: Client, mailbox: Mailbox
) -> None:
    program = await bearer(client)
    first = await key_of(mailbox)
    assert (await program.post("/api/auth/verify/request")).status_code == 200
    second = await key_of(mailbox)
    assert (await client().post("/api/auth/verify", json={"key": first})).status_code == 404
    assert (await client().post("/api/auth/verify", json={"key": second})).status_code == 200


async def test_a_key_of_an_earlier_email_verifies_nothing(client: Client, mailbox: Mailbox) -> None:
    browser = await secure(client)
    old = await key_of(mailbox)
    change = {"email": "anna@example.org", "current_password": PASSWORD}
    assert (await browser.patch("/api/users/profile", json=change)).status_code == 200
    mail = await mailbox.next()
    assert mail["To"] == "anna@example.org"
    assert (await client().post("/api/auth/verify", json={"key": old})).status_code == 404


async def test_a_forgotten_password_is_replaced_and_every_login_ends(
    app: App, client: Client, mailbox: Mailbox
) -> None:
    browser = await secure(client)
    await mailbox.next()
    for _ in range(10):
        await client().post("/api/auth/login", json={"email": ANN, "password": "wrong wrong"})
    asked = await client().post("/api/auth/reset/request", json={"email": "ANN@Example.org"})
    assert asked.status_code == 200
    mail = await mailbox.next()
    assert link_of(mail).startswith("https://talk.example.org/reset?key=")
    key = parse_qs(urlsplit(link_of(mail)).query)["key"][0]
    bad = await client().post("/api/auth/reset", json={"key": key, "new_password": "1234567890"})
    assert (bad.status_code, "all digits" in bad.json()["detail"]) == (422, True)
    done = await client().post("/api/auth/reset", json={"key": key, "new_password": NEW})
    assert done.status_code == 200, done.text
    assert (await browser.get("/api/auth/me")).status_code == 401
    old = await client().post("/api/auth/login", json={"email": ANN, "password": PASSWORD})
    assert old.status_code == 401
    new = await client().post("/api/auth/login", json={"email": ANN, "password": NEW})
    assert new.status_code == 200  # though too many had failed
    assert new.json()["is_verified"] is True
    used = await client().post("/api/auth/reset", json={"key": key, "new_password": PASSWORD})
    assert used.status_code == 404
    user = await app.parts.accounts.by_email(ANN)
    assert user is not None


async def test_asking_for_a_password_tells_nothing_and_mails_nobody_else(
    app: App, client: Client, mailbox: Mailbox
) -> None:
    await secure(client)
    await mailbox.next()
    known = await client().post("/api/auth/reset/request", json={"email": ANN})
    unknown = await client().post("/api/auth/reset/request", json={"email": "eve@example.org"})
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text) == (200, known.text)
    await mailbox.next()
    for _ in range(10):  # more mails than the limit are not sent, and not told
        again = await client().post("/api/auth/reset/request", json={"email": ANN})
        assert (again.status_code, again.text) == (200, known.text)
    async with asyncio.timeout(20):
        while app.parts.letters.under_way:
            await asyncio.sleep(0.01)
    assert len(mailbox.mails) == 4
    assert "eve@example.org" not in mailbox.recipients


async def test_an_address_that_asks_for_many_is_stopped(client: Client) -> None:
    answers = [
        await client().post("/api/auth/reset/request", json={"email": f"{n}@example.org"}) for n in range(21)
    ]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]


async def test_a_disabled_user_gets_no_new_password(app: App, client: Client, mailbox: Mailbox) -> None:
    await secure(client)
    await mailbox.next()
    await client().post("/api/auth/reset/request", json={"email": ANN})
    key = await key_of(mailbox)
    user = await app.parts.accounts.by_email(ANN)
    assert user is not None
    await app.parts.accounts.change(user.id, is_disabled=True)
    answer = await client().post("/api/auth/reset", json={"key": key, "new_password": NEW})
    assert answer.status_code == 404


@pytest.mark.parametrize("purpose", ["verify", "reset"])
async def test_a_key_is_good_for_its_purpose_only(client: Client, mailbox: Mailbox, purpose: str) -> None:
    await secure(client)
    key = await key_of(mailbox)
    if purpose == "verify":
        await client().post("/api/auth/reset/request", json={"email": ANN})
        key = await key_of(mailbox)
        answer = await client().post("/api/auth/verify", json={"key": key})
    else:
        answer = await client().post("/api/auth/reset", json={"key": key, "new_password": NEW})
    assert answer.status_code == 404
    for made_up in ("", "x"):
        body = {"key": made_up} if purpose == "verify" else {"key": made_up, "new_password": NEW}
        assert (await client().post(f"/api/auth/{purpose}", json=body)).status_code == 404


async def test_mails_come_in_the_language_that_is_read(client: Client, mailbox: Mailbox) -> None:
    browser = client()
    browser.headers["Accept-Language"] = "es-MX,es;q=0.9,en;q=0.5"
    await browser.post("/api/auth/register", json={"email": ANN, "password": PASSWORD})
    mail = await mailbox.next()
    assert mail["Subject"] == "¿Es este su correo?"
    await client().post("/api/auth/reset/request", json={"email": ANN}, headers={"Host": "evil.example"})
    mail = await mailbox.next()
    assert mail["Subject"] == "A new password"
    assert "evil" not in mail.get_content()


async def test_nothing_that_a_user_chose_is_in_a_mail(client: Client, mailbox: Mailbox) -> None:
    account = {"email": ANN, "password": PASSWORD, "display_name": "Buy cheap things at evil.example"}
    await client().post("/api/auth/register", json=account)
    assert "evil" not in (await mailbox.next()).as_string()


class TestNamedAdministrators:
    """`[accounts] admins`, where mails are sent."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__ADMINS": '["Boss@example.org"]'}

    async def test_a_named_email_administers_once_it_is_verified(
        self, client: Client, mailbox: Mailbox
    ) -> None:
        first = await secure(client)
        await mailbox.next()
        boss = await secure(client, "boss@example.org")
        for browser in (first, boss):
            assert (await browser.get("/api/auth/me")).json()["is_admin"] is False
        await client().post("/api/auth/verify", json={"key": await key_of(mailbox)})
        assert (await boss.get("/api/auth/me")).json()["is_admin"] is True
        assert (await first.get("/api/auth/me")).json()["is_admin"] is False


class TestDevelopment:
    """No SMTP, on a server that only its own machine uses."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_MAIL__SMTP_URL": "", "PARLEY_SERVER__PUBLIC_URL": ""}

    async def test_the_link_is_in_the_log_and_the_answer_says_so(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        browser = await signed_up(client)
        assert "/verify?key=" not in caplog.text  # nobody asked
        answer = await browser.post("/api/auth/verify/request")
        assert "log" in answer.json()["detail"]
        async with asyncio.timeout(10):
            while "/verify?key=" not in caplog.text:
                await asyncio.sleep(0.01)
        key = caplog.text.partition("/verify?key=")[2].split()[0]
        assert (await browser.post("/api/auth/verify", json={"key": key})).status_code == 200


class TestWithoutMail:
    """No SMTP, on a server for others."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_MAIL__SMTP_URL": ""}

    async def test_it_says_so_whoever_asks(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        browser = await secure(client)
        for path, body in (
            ("verify", None),
            ("reset", {"email": ANN}),
            ("reset", {"email": "x@example.org"}),
        ):
            answer = await browser.post(f"/api/auth/{path}/request", json=body)
            assert answer.status_code == 503
            assert "sends no mail" in answer.json()["detail"]
        assert "key=" not in caplog.text
