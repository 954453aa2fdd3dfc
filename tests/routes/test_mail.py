"""The outbox, in front of a real SMTP server that is not always willing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from server.mail import Letter, Mail, Outbox, Smtp, Undeliverable
from tests.support.smtp import Mailbox, mail_server

SENDER = "Parley <parley@example.org>"

pytestmark = pytest.mark.usefixtures("no_leaks")


def letter(text: str = "Hello.", to: str = "ann@example.org") -> Letter:
    async def write() -> Mail | None:
        return Mail(to, "¿Qué tal?", text)

    return write


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with mail_server(Mailbox()) as mailbox:
        yield mailbox


@pytest.fixture
async def outbox(mailbox: Mailbox) -> AsyncIterator[Outbox]:
    outbox = Outbox(Smtp(f"smtp://127.0.0.1:{mailbox.port}", SENDER).send, first_wait_s=0.01)
    yield outbox
    await outbox.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_mail_arrives_as_it_was_written(outbox: Outbox, mailbox: Mailbox) -> None:
    text = (
        "A line that is longer than what a line of a mail may be, with ñ and 我: " + "x" * 200 + "\n.\nEnd\n"
    )
    assert outbox.post(letter(text))
    mail = await mailbox.next()
    assert (mail["From"], mail["To"], mail["Subject"]) == (SENDER, "ann@example.org", "¿Qué tal?")
    assert mail.get_content() == text
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"]
    assert mail["Message-ID"].endswith("@example.org>")


async def test_what_is_refused_for_now_is_tried_again(outbox: Outbox, mailbox: Mailbox) -> None:
    mailbox.replies = ["451 come back later", "", "421 busy"]
    outbox.post(letter())
    assert (await mailbox.next())["To"] == "ann@example.org"
    assert mailbox.attempts == 4
    await until(lambda: not outbox)


async def test_what_is_refused_for_good_is_given_up(
    outbox: Outbox, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.replies = ["550 no such user"]
    outbox.post(letter())
    await until(lambda: not outbox)
    assert mailbox.attempts == 1
    assert "550 no such user" in caplog.text


async def test_a_server_that_is_not_there_is_tried_until_the_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox(Smtp("smtp://127.0.0.1:1", SENDER).send, first_wait_s=0.01, deadline_s=0.2)
    outbox.post(letter())
    await until(lambda: not outbox)
    assert "given up" in caplog.text
    assert caplog.text.count("could not be sent yet") > 1
    await outbox.aclose()


async def test_more_than_fits_is_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    let_go = asyncio.Event()

    async def hold(_mail: Mail) -> None:
        await let_go.wait()

    outbox = Outbox(hold, most=3)
    assert [outbox.post(letter()) for _ in range(5)] == [True] * 3 + [False] * 2
    assert "3 are under way" in caplog.text
    let_go.set()
    await until(lambda: not outbox)
    assert outbox.post(letter())
    await outbox.aclose()


async def test_a_shutdown_waits_for_letters_under_way(mailbox: Mailbox) -> None:
    outbox = Outbox(Smtp(f"smtp://127.0.0.1:{mailbox.port}", SENDER).send)
    outbox.post(letter())
    await outbox.aclose()
    assert len(mailbox.mails) == 1


async def test_a_letter_that_cannot_be_written_is_told_in_the_log(
    outbox: Outbox, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> Mail | None:
        raise ZeroDivisionError

    async def nothing() -> Mail | None:
        return None

    outbox.post(broken)
    outbox.post(nothing)
    await until(lambda: not outbox)
    assert "ZeroDivisionError" in caplog.text
    assert mailbox.attempts == 0


async def test_a_header_cannot_be_smuggled_in(outbox: Outbox, mailbox: Mailbox) -> None:
    outbox.post(letter(to="ann@example.org\nBcc: eve@example.org"))
    await until(lambda: not outbox)
    assert mailbox.attempts == 0


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # aiosmtpd's, of a server without TLS
async def test_a_login_is_made_with_the_password_of_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with mail_server(Mailbox(), auth_required=True) as mailbox:
        await Smtp(f"smtp://parley%40example.org@127.0.0.1:{mailbox.port}", SENDER, "secret").send(
            Mail("ann@example.org", "x", "y")
        )
        assert mailbox.logins == [("parley@example.org", "secret")]
        assert len(mailbox.mails) == 1
        with pytest.raises(Undeliverable, match="530"):
            await Smtp(f"smtp://127.0.0.1:{mailbox.port}", SENDER).send(Mail("a@example.org", "x", "y"))
    assert "secret" not in caplog.text
