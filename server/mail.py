"""Mails on their way out: a bounded outbox that tries again, in front of one SMTP server.

No request waits for a mail: `Outbox.post` takes a letter that is still to be written, and a task of its own
writes and carries it. What cannot be delivered before its deadline is given up, and the log says so.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

MOST_WAITING = 200
"""Letters that may be under way at once: more are refused, so that a dead mail server costs no memory."""
AT_ONCE = 4  # connections that we open to the mail server side by side
TRY_S = 20.0
"""How long one attempt may take."""
DEADLINE_S = 1800.0
"""How long a letter is tried: a link that comes later is of no use to whoever waits for it."""
FIRST_WAIT_S, MOST_WAIT_S = 2.0, 300.0
LAST_CHANCE_S = 3.0
"""How long a shutdown waits for letters under way."""
SUBMISSION, SUBMISSION_TLS = 587, 465  # RFC 6409, RFC 8314
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail in plain text."""

    to: str
    subject: str
    text: str


Letter = Callable[[], Awaitable[Mail | None]]
"""Writes a mail when its turn has come; None if there is nothing to send after all."""


class Undeliverable(Exception):
    """The mail server will not take it, however often it is asked."""


class Outbox:
    """Carries letters. Used on the event loop only; close it with `aclose`."""

    def __init__(
        self,
        send: Callable[[Mail], Awaitable[None]],
        *,
        most: int = MOST_WAITING,
        deadline_s: float = DEADLINE_S,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._send, self._most = send, most
        self._deadline_s, self._first_wait_s = deadline_s, first_wait_s
        self._sending = asyncio.Semaphore(AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def post(self, letter: Letter) -> bool:
        """Have a letter written and sent soon. False if too many are under way."""
        if len(self._under_way) >= self._most:
            log.error("a mail was refused: %d are under way already", self._most)
            return False
        task = asyncio.get_running_loop().create_task(self._carry(letter))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return True

    async def _carry(self, letter: Letter) -> None:
        try:
            mail = await letter()
            if mail is not None:
                async with asyncio.timeout(self._deadline_s):
                    await self._insist(mail)
        except TimeoutError:
            log.error("a mail was given up: it could not be delivered in %.0f s", self._deadline_s)
        except Undeliverable as error:
            log.error("a mail was given up: %s", error)
        except SQLAlchemyError as error:
            log.error("a mail could not be written: %s", error)
        except Exception:
            # Nobody awaits this task: a bug would go unseen.
            log.exception("a mail was lost")

    async def _insist(self, mail: Mail) -> None:
        wait_s = self._first_wait_s
        while True:
            try:
                async with self._sending:
                    await self._send(mail)
                return
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                log.warning("a mail could not be sent yet: %s", error or type(error).__name__)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 4, MOST_WAIT_S)

    async def aclose(self) -> None:
        """Give the letters under way a last chance, then stop."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way, timeout=LAST_CHANCE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            log.error("%d mail(s) were not sent before the shutdown", len(late))


class Smtp:
    """Hands mails to a mail server: `smtps://` speaks TLS from the start. `smtp://` changes to TLS, which it
    insists on for a password that leaves this machine."""

    def __init__(self, url: str, sender: str, password: str = "") -> None:
        split = urlsplit(url)
        assert split.hostname is not None
        self._host, self._tls = split.hostname, split.scheme == "smtps"
        self._port = split.port or (SUBMISSION_TLS if self._tls else SUBMISSION)
        self._user = unquote(split.username) if split.username else None
        self._password = password or None
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Once. Raises `Undeliverable`; aiosmtplib's errors and OSError for what may pass."""
        try:
            await aiosmtplib.send(
                self._message(mail),
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password if self._user else None,
                use_tls=self._tls,
                start_tls=self._start_tls,
                timeout=TRY_S,
            )
        except aiosmtplib.SMTPAuthenticationError:
            raise  # whoever runs the server may set it right meanwhile
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(one.code >= 500 for one in error.recipients):
                raise Undeliverable(f"the mail server refused the recipient: {error}") from error
            raise
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= 500:
                raise Undeliverable(f"the mail server refused it: {error.code} {error.message}") from error
            raise
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise Undeliverable(f"the mail server cannot take such a mail: {error}") from error

    @property
    def _start_tls(self) -> bool | None:
        if self._tls or self._host in _HERE:  # a relay on this machine has a certificate that nobody signed
            return False
        return True if self._user else None

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, mail.to, mail.subject
        message["Date"] = formatdate(localtime=False)
        message["Message-ID"] = make_msgid(domain=parseaddr(self._sender)[1].rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office programs need not answer
        message.set_content(mail.text)
        return message


async def to_log(mail: Mail) -> None:
    """On a development server without SMTP: whoever runs it is whoever waits for the mail."""
    log.warning("no SMTP server is set, so this mail is only told here.\nTo: %s\n%s", mail.to, mail.text)
