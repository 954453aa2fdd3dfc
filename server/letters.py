"""The mails that accounts need: whether an email is its user's, and a new password. Their texts and links.

Links hold a key that is good once: a day to verify, an hour for a new password. They lead to pages; only what
those send back uses the key up, so a mail program that looks at links in advance does no harm. Nothing that a
user may choose stands in a mail: else it could be made to carry anything to anybody.
"""

from datetime import timedelta
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request

from server.config import Config
from server.mail import Mail, Outbox
from server.pages.words import accepted
from storage.accounts import Accounts, User
from storage.credentials import Credentials, Purpose

LIFETIMES = {"verify": timedelta(hours=24), "reset": timedelta(hours=1)}
_LOCAL = ("localhost", "127.0.0.1", "::1")
_TEXTS: dict[str, dict[Purpose, tuple[str, str]]] = {
    "en": {
        "verify": (
            "Is this your email?",
            """\
Somebody, probably you, gave this email for an account at {place}.

If that was you, open this link within 24 hours:

{link}

If it was not, there is nothing to do.
""",
        ),
        "reset": (
            "A new password",
            """\
Somebody, probably you, asked for a new password for the account with this email at {place}.

To choose one, open this link within an hour:

{link}

If it was not you, there is nothing to do: the old password stays.
""",
        ),
    },
    "es": {
        "verify": (
            "¿Es este su correo?",
            """\
Alguien, seguramente usted, dio este correo para una cuenta en {place}.

Si fue usted, abra este enlace antes de 24 horas:

{link}

Si no fue usted, no tiene que hacer nada.
""",
        ),
        "reset": (
            "Una contraseña nueva",
            """\
Alguien, seguramente usted, pidió una contraseña nueva para la cuenta con este correo en {place}.

Para elegirla, abra este enlace antes de una hora:

{link}

Si no fue usted, no tiene que hacer nada: la contraseña de antes sigue valiendo.
""",
        ),
    },
}


def is_development(public_url: str) -> bool:
    """Whether only whoever runs the server uses it."""
    return not public_url or (urlsplit(public_url).hostname or "") in _LOCAL


class Letters:
    """Writes them, and gives them to the outbox. Without one there are no mails."""

    def __init__(
        self, config: Config, accounts: Accounts, credentials: Credentials, outbox: Outbox | None
    ) -> None:
        self._accounts, self._credentials, self._outbox = accounts, credentials, outbox
        self._public_url = config.server.public_url.rstrip("/")
        self._language = config.pipeline.language
        self.are_sent = bool(config.mail.smtp_url)
        """Else, where there is an outbox, they are told in the log."""

    @property
    def reach(self) -> bool:
        """Whether a letter comes to anybody."""
        return self._outbox is not None

    @property
    def under_way(self) -> int:
        """Letters that are not sent yet."""
        return len(self._outbox or ())

    def verify(self, request: Request, user: User) -> bool:
        """Ask a user's email whether it is theirs. False if it cannot be sent."""
        home, language = self._home(request), self._asked(request)

        async def write() -> Mail | None:
            return await self._write(user, "verify", home, language)

        return self._outbox is not None and self._outbox.post(write)

    def welcome(self, request: Request, user: User) -> None:
        """The same for a new email; on a server without SMTP nobody is asked."""
        if self.are_sent and user.email and not user.is_verified:
            self.verify(request, user)

    def reset(self, request: Request, email: str) -> bool:
        """Send whoever has this email a link for a new password. False if it cannot be sent, which says
        nothing about the email: that is looked up later."""
        home, language = self._home(request), self._asked(request)

        async def write() -> Mail | None:
            user = await self._accounts.by_email(email)
            if user is None or user.is_disabled:
                return None
            return await self._write(user, "reset", home, language)

        return self._outbox is not None and self._outbox.post(write)

    async def _write(self, user: User, purpose: Purpose, home: str, language: str) -> Mail:
        assert user.email is not None
        key = await self._credentials.mail_key(user.id, purpose, user.email, LIFETIMES[purpose])
        preferred = _known(str(user.preferences.get("preferred_language") or ""))
        subject, text = _TEXTS[preferred or language][purpose]
        link = f"{home}/{purpose}?{urlencode({'key': key})}"
        return Mail(user.email, subject, text.format(place=urlsplit(home).netloc, link=link))

    def _home(self, request: Request) -> str:
        """Where links lead to. Never by the Host header: who asks for somebody's password would choose it."""
        if self._public_url:
            return self._public_url
        host, port = request.scope.get("server") or ("127.0.0.1", None)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{port}" if port else f"http://{host}"

    def _asked(self, request: Request) -> str:
        """The language that the browser asks for."""
        for tag in (*accepted(request.headers), self._language):
            if known := _known(tag):
                return known
        return "en"


def _known(tag: str) -> str:
    language = tag.replace("_", "-").partition("-")[0].lower()
    return language if language in _TEXTS else ""
