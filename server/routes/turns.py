"""What the routes that talk have in common: coming into a session, saying something there, and how it is put
when that cannot be."""

from starlette.exceptions import HTTPException

from pipeline.session import Session
from server.api import Call
from server.exchange import Answer, ByVoiceOnly, EndedMeanwhile, ask
from server.lobby import Lobby, Over, Unknown
from server.routes.answers import not_found
from server.sessions import Draining, Full

NO_SESSION = "There is no such session."
HAS_ENDED = "This session has ended."


async def live(lobby: Lobby, session_id: str, call: Call) -> Session:
    """The session as the caller may talk in it, opened or taken up if need be. Raises 404, 409, 503."""
    try:
        return await lobby.go_on(session_id, call.who)
    except Unknown:
        raise not_found(NO_SESSION) from None
    except Over:
        raise HTTPException(409, HAS_ENDED) from None
    except Full:
        raise HTTPException(503, "All lines are busy, try again later.", {"Retry-After": "10"}) from None
    except Draining:
        raise HTTPException(503, "The server is restarting.", {"Retry-After": "5"}) from None


async def typed(session: Session, text: str) -> Answer:
    """A typed turn and what was answered. Raises 409, 503."""
    try:
        return await ask(session, text)
    except ByVoiceOnly:
        raise HTTPException(409, "This session is by voice only: nothing can be typed.") from None
    except EndedMeanwhile:
        raise HTTPException(409, HAS_ENDED) from None
    except TimeoutError:
        raise HTTPException(503, "The agent took too long to answer.") from None
