"""For programs: `ParleyClient` for everything over HTTP, `VoiceClient` for a talk. See docs/clients.md."""

from server.client import Audio, ClientError, Event, VoiceClient
from server.rest import Account, Agent, Page, ParleyClient, Reply, Session, Talk, Transcription, Voice

__all__ = [
    "Account",
    "Agent",
    "Audio",
    "ClientError",
    "Event",
    "Page",
    "ParleyClient",
    "Reply",
    "Session",
    "Talk",
    "Transcription",
    "Voice",
    "VoiceClient",
]
