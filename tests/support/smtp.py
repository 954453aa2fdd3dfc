"""A real SMTP server on a local port, on the test's own loop, and the mails that came to it."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Mailbox:
    """What came. `replies` are given to the next mails in place of taking them; "" breaks the connection."""

    def __init__(self, replies: Iterable[str] = ()) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.replies = list(replies)
        self.attempts = 0
        self._came = asyncio.Event()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002 - aiosmtpd's
        self.attempts += 1
        if self.replies:
            reply = self.replies.pop(0)
            if not reply:
                server.transport.abort()
            return reply
        message = message_from_bytes(envelope.content.replace(b"\r\n", b"\n"), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        self.recipients += envelope.rcpt_tos
        self._came.set()
        return "250 taken"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _how: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login.decode(), given.password.decode()))
        return AuthResult(success=given.password == b"secret")

    async def next(self) -> EmailMessage:
        """The next mail; waits for it."""
        async with asyncio.timeout(10):
            while not self.mails:
                self._came.clear()
                await self._came.wait()
        return self.mails.pop(0)


def link_of(mail: EmailMessage) -> str:
    """The link that a mail is about."""
    found = re.search(r"^https?://\S+$", mail.get_content(), re.MULTILINE)
    assert found is not None
    return found[0]


@asynccontextmanager
async def mail_server(mailbox: Mailbox, **options: Any) -> AsyncIterator[Mailbox]:
    """A server that fills the mailbox; `options` are those of aiosmtpd's SMTP."""
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            mailbox,
            authenticator=mailbox.authenticate,
            auth_require_tls=False,
            enable_SMTPUTF8=True,
            **options,
        ),
        "127.0.0.1",
        0,
    )
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()
