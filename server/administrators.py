"""Who administers: the first account of all, or those whose emails `[accounts] admins` names.

An email says who somebody is only once a mail to it was answered. So where mails are sent, a named account
becomes an administrator's when its email is verified; where none are, when it is made.
"""

import logging

from server.config import Config
from storage.accounts import Accounts, User, email_key

log = logging.getLogger(__name__)


class Administrators:
    """Knows the names from the configuration."""

    def __init__(self, config: Config, accounts: Accounts) -> None:
        self._named = {email_key(email) for email in config.accounts.admins}
        self._must_verify = bool(config.mail.smtp_url)
        self._accounts = accounts

    def at_registration(self, email: str) -> bool | None:
        """Whether a new account is an administrator's; None: if it is the first."""
        if not self._named:
            return None
        return email_key(email) in self._named and not self._must_verify

    async def settle(self, user: User) -> User:
        """Make a named user an administrator, if it is sure who that is."""
        named = user.email is not None and user.email in self._named
        if not named or user.is_admin or (self._must_verify and not user.is_verified):
            return user
        log.info("the account %s is an administrator's now, as [accounts] admins says", user.id)
        return await self._accounts.set_role(user.id, is_admin=True) or user

    async def settle_all(self) -> None:
        """The same for everybody named: at the start."""
        for email in sorted(self._named):
            user = await self._accounts.by_email(email)
            if user is not None:
                await self.settle(user)
