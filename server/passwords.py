"""Passwords: which are good enough, and their hashes. Hashing takes 30 ms and more, so it happens in threads.

Argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), through argon2-cffi; hashes made with other
parameters still verify, and are renewed at the next login.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

T = TypeVar("T")

SHORTEST, LONGEST = 8, 128
PASSES, MEMORY_KIB = 2, 19 * 1024
THREADS = 2
"""Hashes at once: each takes 19 MiB and a core. More wait their turn, so a flood of logins cannot take the
cores from the talks."""


class BadPassword(ValueError):
    """The password will not do. The text says why, and is for whoever chose it."""


@cache
def common() -> frozenset[str]:
    """Passwords that many people have, in lower case (`common_passwords.txt`)."""
    text = files("server").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def check(password: str, *names: str | None) -> None:
    """Whether it may be used. `names` are the email and the username, which it must not be like. Raises
    `BadPassword`."""
    if len(password) < SHORTEST:
        raise BadPassword(f"The password is too short: at least {SHORTEST} characters, please.")
    if len(password) > LONGEST:
        raise BadPassword(f"The password is too long: at most {LONGEST} characters, please.")
    if password.isdigit():
        raise BadPassword("The password must not be all digits.")
    folded = password.casefold()
    if folded in common():
        raise BadPassword("This password is too common: it is among the first that are tried.")
    for name in names:
        part = (name or "").partition("@")[0].casefold()
        if len(part) >= 3 and part in folded:
            raise BadPassword("The password must not contain your email's name or your username.")


def _stand_back() -> None:
    """Take the processor only when no talk wants it: on Linux each thread has a niceness of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)


class Hashes:
    """Makes and checks password hashes, a few at a time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(THREADS, "passwords", _stand_back)
        self._nobody = ""

    async def warm(self) -> None:
        """Read the list of common passwords and make the hash that nobody's password fits."""
        await self._run(common)
        self._nobody = await self.make("the password of nobody")

    async def make(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the right one. For an unknown user (None) it takes as long and says no."""

        def verify() -> bool:
            try:
                right = self._hasher.verify(password_hash or self._nobody, _bytes(password))
                return right and bool(password_hash)
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(verify)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _bytes(password: str) -> bytes:
    """JSON can hold half a surrogate pair, which plain UTF-8 cannot."""
    return password.encode("utf-8", "surrogatepass")
