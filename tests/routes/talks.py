"""Talks had in this process, for what is done with them afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.session import Session
from server.app import App
from server.plans import Plan
from storage.accounts import User

ANSWER = "Yes, of course."
SHORT = {"PARLEY_LLM__SCRIPTED__TEXT": f'["{ANSWER}"]', "PARLEY_TTS__SCRIPTED__MS_PER_CHAR": "10"}
"""Settings with which a reply is over soon."""


async def user_of(app: App, email: str = "ann@example.org") -> User:
    found = await app.parts.accounts.by_email(email)
    assert found is not None
    return found


@asynccontextmanager
async def talking(
    app: App, said: str, *, user: User | None = None, guest: str = ""
) -> AsyncIterator[Session]:
    """A live talk in which one thing was said and answered, and the answer heard."""
    owner, user_id = (user.owner, user.id) if user else (guest, None)
    session = app.sessions.open(Plan(owner=owner, user_id=user_id))
    session.attach(lambda: None)
    session.do({"type": "text_message", "message": said})
    async with asyncio.timeout(20):
        while not any("audio" in message for message in session.minutes.messages):
            await asyncio.sleep(0.02)
    yield session


async def talk(app: App, said: str, *, user: User | None = None, guest: str = "") -> str:
    """The same, ended and written. Its id."""
    async with talking(app, said, user=user, guest=guest) as session:
        await session.end("over")
    return session.id
