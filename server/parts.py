"""What route modules may use: the application's parts, handed to each of them as one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.chain import Chain
from pipeline.setup import Engines
from server.administrators import Administrators
from server.api import Gate
from server.auth import Identity, Keys
from server.config import Config
from server.dictation import Errands
from server.letters import Letters
from server.limits import Limiter
from server.lobby import Lobby
from server.metrics import Metrics
from server.oidc import Provider
from server.passwords import Hashes
from server.plans import Plans
from server.sessions import Sessions
from server.webhooks import Courier
from storage.accounts import Accounts
from storage.agents import Agents
from storage.analytics import Analytics
from storage.appointments import Appointments
from storage.archive import Archive
from storage.conversations import Conversations
from storage.credentials import Credentials
from storage.overview import Overview
from storage.talks import Talks
from storage.usage import Usage


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything there is one of. Made by `server.app`."""

    config: Config
    sessions: Sessions
    engines: Engines
    chains: Mapping[str, Chain[Any]]
    archive: Archive
    conversations: Conversations
    accounts: Accounts
    credentials: Credentials
    agents: Agents
    talks: Talks
    plans: Plans
    lobby: Lobby
    usage: Usage
    errands: Errands
    keys: Keys
    identity: Identity
    hashes: Hashes
    limiter: Limiter
    gate: Gate
    overview: Overview
    administrators: Administrators
    letters: Letters
    oidc: Provider | None
    appointments: Appointments
    analytics: Analytics
    metrics: Metrics
    courier: Courier

    @property
    def secure(self) -> bool:
        """People come by https."""
        return self.config.server.public_url.startswith("https://")
