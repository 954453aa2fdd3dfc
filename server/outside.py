"""What of the configuration leads outside, and cannot be meant as it is: mails, logins elsewhere, webhooks.

Each answers (what is wrong: where it stands, and its value if that may be shown; what to write instead).
"""

import re
from collections.abc import Callable, Iterator
from email.utils import parseaddr
from urllib.parse import urlsplit

from server.environment import meant
from server.sections import Config
from storage.happenings import TYPES

At = Callable[[str, str], str]
"""(section, key) -> where that stands and what it says."""
Problems = Iterator[tuple[str, str]]


def mail_problems(config: Config, at: At) -> Problems:
    mail = config.mail
    for email in config.accounts.admins:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
            yield at("accounts", "admins"), 'must be emails, such as ["ann@example.org"]'
    if mail.smtp_url:
        if not re.match(r"smtps?://", mail.smtp_url) or not _has_host(mail.smtp_url):
            yield "[mail] smtp_url", 'must be like "smtp://user@mail.example.org:587" or "smtps://…"'
        elif urlsplit(mail.smtp_url).password is not None:  # and is not shown
            yield "[mail] smtp_url", "holds a password; set SMTP_PASSWORD in the environment or .env instead"
        if "@" not in parseaddr(mail.sender)[1] or not mail.sender.isprintable():
            yield at("mail", "sender"), 'must say who mails are from, such as "Parley <parley@example.org>"'
    if mail.smtp_url and not config.server.public_url:
        yield at("server", "public_url"), "must be set for [mail] smtp_url: links lead there"


def login_problems(config: Config, at: At) -> Problems:
    oidc = config.oidc
    if oidc.issuer and not _is_issuer(oidc.issuer):
        yield at("oidc", "issuer"), 'must be an https URL, such as "https://login.example.org"'
    if oidc.issuer and "openid" not in oidc.scopes:
        yield at("oidc", "scopes"), 'must have "openid" among them'
    if oidc.issuer and not oidc.client_id:
        yield at("oidc", "client_id"), "is missing: what the issuer calls this server"
    if oidc.issuer and not config.server.public_url:
        yield at("server", "public_url"), "must be set for [oidc] issuer: links lead there"


def webhook_problems(config: Config, at: At) -> Problems:
    webhooks = config.webhooks
    told = [("[webhooks] urls", at("webhooks", "events"), url, webhooks.events) for url in webhooks.urls] + [
        (f"[webhooks.{name}] url", f"[webhooks.{name}] events", one.url, one.events or ())
        for name, one in webhooks.receivers.items()
    ]
    for where, at_events, url, events in told:
        if not re.match(r"https?://", url) or not _has_host(url):
            # An address may itself be a secret: it is not shown.
            yield f"{config.source}: {where}", 'must be a URL, such as "https://example.org/hook"'
        for event in events:
            if event not in TYPES:
                yield at_events, f"names {event!r}, which never happens; {meant(event, TYPES)}"
    for name in webhooks.receivers:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            yield f"{config.source}: [webhooks.{name}]", "is a name of at most 64 letters, digits, _ and -"


def _is_issuer(url: str) -> bool:
    """By https; plain http reaches only this machine."""
    here = re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)", url)
    return _has_host(url) and (url.startswith("https://") or here is not None)


def _has_host(url: str) -> bool:
    try:
        split = urlsplit(url)
        return bool(split.hostname) and split.port != 0
    except ValueError:
        return False
