"""How passwords are kept in earnest; the routes' tests hash with less work."""

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from server.passwords import Hashes


@pytest.fixture
def hashes() -> "Hashes":
    return Hashes()


async def test_a_hash_takes_as_much_work_as_owasp_asks_for(hashes: Hashes) -> None:
    kept = await hashes.make("a long and odd sentence")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hashes.matches("a long and odd sentence", kept)
    assert not await hashes.matches("a long and odd sentenc3", kept)
    hashes.close()


async def test_nobody_s_password_is_never_right(hashes: Hashes) -> None:
    await hashes.warm()
    assert not await hashes.matches("the password of nobody", None)
    hashes.close()


def test_a_hash_of_less_work_is_outdated(hashes: Hashes) -> None:
    cheap = PasswordHasher.from_parameters(CHEAPEST).hash("a long and odd sentence")
    assert hashes.is_outdated(cheap)
    hashes.close()
