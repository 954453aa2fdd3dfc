"""Beyond Presence: a video of a person who speaks what the agent says.

Their service joins a LiveKit room of yours as one more participant
(https://docs.bey.dev/api-reference/speech-to-video-sessions/create-speech-to-video-session). Each talk has a
room of its own, made by joining it: the avatar, we who speak to it, and a client that may watch. The sound of
the reply goes to the avatar through the room; picture and voice come from there.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from urllib.parse import quote, urlencode, urlsplit

from pipeline import vendor
from pipeline.avatar.room import Room, Signer
from pipeline.contracts import AvatarError, AvatarSetup, AvatarView, Env, Failure, Unavailable

URL = "https://api.bey.dev"
WHO = "Beyond Presence"
IDENTITY = "bey-avatar-agent"
SPEAKER = "parley"
ON_BEHALF = "lk.publish_on_behalf"
JOIN_S = 600
"""How long the tokens of the avatar and of ourselves are good: they are used at once."""
WATCH_S = 6 * 3600
"""How long a client's token is good: it may reload its page in the middle of a talk."""
REQUEST_S = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """[avatar.bey]"""

    avatar_id: str = ""
    """Which of your avatars."""
    livekit_url: str = ""
    """The LiveKit server both meet at, such as "wss://yours.livekit.cloud"."""
    viewer_url: str = ""
    """Your page that shows a room, for the talk page's frame; "" = the talk page draws a face."""
    base_url: str = URL


def create(options: Options, env: Env) -> "Bey":
    """Raises `Unavailable`, `MissingKey`."""
    for key in ("avatar_id", "livekit_url"):
        if not getattr(options, key):
            raise Unavailable(f"[avatar.bey] {key} is missing; see docs/plugins/avatar-bey.md")
    where = "[avatar] bey"
    signer = Signer(vendor.key(env, where, "LIVEKIT_API_KEY"), vendor.key(env, where, "LIVEKIT_API_SECRET"))
    return Bey(options, vendor.key(env, where, "BEY_API_KEY"), signer)


class Bey:
    """The `AvatarEngine`."""

    drawn = False

    def __init__(self, options: Options, key: str, signer: Signer) -> None:
        self._options, self._key, self._signer = options, key, signer
        self._base = options.base_url.rstrip("/")
        self._rtc: ModuleType | None = None
        viewer = urlsplit(options.viewer_url)
        self.frames: Sequence[str] = (f"{viewer.scheme}://{viewer.netloc}",) if viewer.netloc else ()

    async def warm(self) -> None:
        """Import LiveKit's package. No network."""
        self._rtc = await vendor.load("livekit.rtc", "bey")

    async def aclose(self) -> None:
        """Nothing is kept between talks."""

    async def probe(self) -> None:
        """Ask for the avatar's description (https://docs.bey.dev/api-reference/avatars/retrieve-avatar)."""
        path = f"{self._base}/v1/avatars/{quote(self._options.avatar_id, safe='')}"
        try:
            found = await vendor.get_json(AvatarError, WHO, path, self._headers)
        except AvatarError as error:
            raise self._advised(error) from error
        status = found.get("status") if isinstance(found, dict) else None
        if status not in (None, "available"):
            message = f"{WHO}: [avatar.bey] avatar_id names an avatar that is not ready ({status})"
            raise AvatarError(message, Failure.BAD_REQUEST)

    async def open(self, setup: AvatarSetup) -> "BeyAvatar":
        """Join a new room, have the avatar join it, wait until it shows itself. Raises `AvatarError`."""
        del setup  # it speaks what it hears, in whatever language
        assert self._rtc is not None
        name = f"parley-{secrets.token_hex(8)}"  # not the session's id, which is a guest's key
        room = Room(self._rtc, IDENTITY)
        try:
            await room.join(self._options.livekit_url, self._token(SPEAKER, name))
            await self._invite(name)
            await room.await_avatar()
        except BaseException:  # cancelled by the deadline as well: nobody may stay in the room
            await room.aclose()
            raise
        return BeyAvatar(room, self._view(name))

    async def _invite(self, room: str) -> None:
        body = {
            "avatar_id": self._options.avatar_id,
            "transport": "livekit",
            "url": self._options.livekit_url,
            "token": self._token(IDENTITY, room),
        }
        url = f"{self._base}/v1/sessions"
        try:
            await vendor.get_json(AvatarError, WHO, url, self._headers, REQUEST_S, body)
        except AvatarError as error:
            raise self._advised(error) from error

    @property
    def _headers(self) -> dict[str, str]:
        return {"x-api-key": self._key}

    def _token(self, identity: str, room: str) -> str:
        claims = {"kind": "agent", "name": identity}
        if identity == IDENTITY:
            claims["attributes"] = {ON_BEHALF: SPEAKER}  # type: ignore[assignment]
        return self._signer.token(identity, room, JOIN_S, grants={}, claims=claims)

    def _view(self, room: str) -> AvatarView:
        """The client may watch and listen, and nothing else."""
        watch = {"canSubscribe": True, "canPublish": False, "canPublishData": False}
        who = f"viewer-{secrets.token_hex(4)}"
        token = self._signer.token(who, room, WATCH_S, grants=watch, claims={})
        url = self._options.livekit_url
        if not self._options.viewer_url:
            return AvatarView("livekit", url, room, token)
        # After the "#": no server is told it, and none can log it.
        return AvatarView("embed", f"{self._options.viewer_url}#{urlencode({'url': url, 'token': token})}")

    def _advised(self, error: AvatarError) -> AvatarError:
        """The error with the setting to look at, and without the key, should they have repeated it."""
        text = str(error).replace(self._key, "…")
        match error.kind:
            case Failure.AUTH:
                text += " (look at BEY_API_KEY)"
            case Failure.BAD_REQUEST:
                text += " (look at [avatar.bey] avatar_id)"
            case _:
                pass
        return AvatarError(text, error.kind, retry_after_s=error.retry_after_s)


class BeyAvatar:
    """One talk's `Avatar`."""

    def __init__(self, room: Room, view: AvatarView) -> None:
        self.view = view
        self._room = room

    def begin(self, reply_id: str, rate_hz: int, offset_ms: int) -> None:
        del reply_id, offset_ms  # it knows one stream after the other
        self._room.begin(rate_hz)

    def feed(self, pcm: bytes) -> None:
        self._room.put(pcm)

    def mark(self, text: str, start_ms: int) -> None:
        """It reads lips off the sound."""

    def finish(self) -> None:
        self._room.finish()

    def duck(self, paused: bool) -> None:
        """It cannot pause: it plays on until it is interrupted."""

    def interrupt(self) -> None:
        self._room.clear()

    async def gone(self) -> None:
        await self._room.lost()

    async def aclose(self) -> None:
        await self._room.aclose()
