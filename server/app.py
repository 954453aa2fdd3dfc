"""The composition root: the only file that knows everything. Builds the parts from a config, wires them up
as one ASGI application.

    http       -> Starlette: pages, conversations, health
    websocket  -> server.wire, below Starlette: the hot path pays for no middleware
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from pipeline import chain, gist, plugins
from pipeline.budget import Budget, Limits
from pipeline.chain import Chain, LlmChain, SttChain, TtsChain
from pipeline.contracts import Env, ParleyError, Unavailable
from pipeline.core.endpoint import Timing
from pipeline.duplex import Patience
from pipeline.figures import Figures
from pipeline.setup import Engines, Rules, Setup
from pipeline.tariff import Tariff
from server import mcp_servers, toolset
from server.administrators import Administrators
from server.api import Gate
from server.auth import Identity, Keys
from server.config import Config
from server.cors import shared
from server.dictation import Errands
from server.directory import Directory
from server.forwarding import Forwarder
from server.headers import SecurityHeaders
from server.letters import Letters, is_development
from server.limits import Limiter
from server.lobby import Lobby
from server.mail import Outbox, Smtp, to_log
from server.metrics import Metrics, WatchedArchive
from server.oidc import Provider
from server.parts import Parts
from server.passwords import Hashes
from server.plans import Plans
from server.prices import tariff as tariff_of
from server.removal import Removal
from server.retention import keep_purging
from server.routes import (
    accounts,
    admin,
    agents,
    analytics,
    appointments,
    connections,
    conversations,
    documentation,
    history,
    keys,
    oidc,
    openai,
    operations,
    pages,
    profile,
    rooms,
    sessions,
    shares,
    speech,
    verification,
    webhooks,
)
from server.routes.oidc import CALLBACK
from server.sessions import Sessions
from server.sockets import Sockets
from server.toolset import ToolStorage
from server.webhooks import Courier, courier_for
from server.workers import Place
from storage.accounts import Accounts
from storage.agents import Agents
from storage.analytics import Analytics
from storage.appointments import Appointments
from storage.archive import Archive
from storage.conversations import Conversations
from storage.credentials import Credentials
from storage.database import Database, open_database
from storage.ids import new_session_id
from storage.overview import Overview
from storage.settings import Settings
from storage.talks import Talks
from storage.usage import Usage

log = logging.getLogger(__name__)

SPENDING_EVERY_S = 30.0
"""How often a worker looks what the others have spent."""
ALONE = Place()


@dataclass(slots=True)
class App:
    """The running parts, as an ASGI application."""

    parts: Parts
    sockets: Sockets
    http: Any
    routes: list[BaseRoute] = field(default_factory=list)

    @property
    def sessions(self) -> Sessions:
        return self.parts.sessions

    @property
    def archive(self) -> Archive:
        return self.parts.archive

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self.sockets(scope, receive, send)
        else:
            await self.http(scope, receive, send)


# -- building -------------------------------------------------------------------------------------------


@asynccontextmanager
async def running(config: Config, place: Place = ALONE) -> AsyncIterator[App]:
    """Everything that serves, started; given back at the end. Raises `ParleyError` or OSError with one
    sentence when it cannot start."""
    async with AsyncExitStack() as stack:
        try:
            database = await open_database(_database_url(config))
        except (ValueError, OSError, SQLAlchemyError) as error:
            why = str(error).partition("\n")[0]
            raise ParleyError(f"[storage] url: the database cannot be opened: {why}") from error
        stack.push_async_callback(database.aclose)
        courier = courier_for(config, database)
        courier.start()
        stack.push_async_callback(courier.aclose)
        secret = config.keys.get("PARLEY_SECRET_KEY") or await Settings(database).get_or_create(
            "secret_key", lambda: secrets.token_urlsafe(32)
        )
        archive = Archive(
            config.path(config.storage.conversations_dir),
            config.path(config.storage.audio_dir),
            database,
            journal_enabled=config.journal.enabled,
            summarize=gist.as_kept,
            outbox=courier.deliveries,
        )
        try:
            await archive.start()
        except OSError as error:
            raise ParleyError(
                f"[storage] conversations_dir or audio_dir cannot be written: {error}"
            ) from error
        stack.push_async_callback(archive.aclose)
        lent = ToolStorage(Appointments(database), Agents(database), _directory(config, database))
        engines, chains = await _engines(config, stack, lent)
        tariff = tariff_of(config.prices)
        limits = Limits(config.budget.session, config.budget.day, config.budget.when_spent)
        budget = Budget(limits, can_downgrade=_mark_free(chains, tariff))
        rules = _rules(config, tariff, budget)
        names = {stage: next(c.in_order()).name for stage, c in chains.items()}
        metrics = Metrics(engines.tools)
        sessions = Sessions(
            engines,
            rules,
            WatchedArchive(archive, metrics),
            _setup(config),
            config.server.max_sessions,
            lambda: new_session_id(datetime.now(UTC)),
            {**names, "vad": config.vad.plugin, "turn": config.turn.plugin},
        )
        sessions.figures = await _figures(config, stack)
        _tell(metrics, sessions)
        lagging = asyncio.create_task(metrics.follow_loop())
        stack.push_async_callback(_stop, lagging)
        stack.push_async_callback(sessions.drain)
        await _recover(config, archive, sessions)
        if limits.day:
            following = asyncio.create_task(_follow_spending(budget, Usage(database)))
            stack.push_async_callback(_stop, following)
        purging = asyncio.create_task(keep_purging(config, archive, Talks(database)))
        stack.push_async_callback(_stop, purging)
        hashes = Hashes()
        stack.callback(hashes.close)
        await hashes.warm()
        keys = Keys(secret, place.index)
        errands = Errands(engines, rules, Usage(database), metrics.request)
        if (outbox := _outbox(config)) is not None:
            stack.push_async_callback(outbox.aclose)
        parts = _parts(
            config,
            database,
            archive,
            sessions,
            engines,
            chains,
            keys,
            hashes,
            errands,
            outbox,
            await _provider(config),
            courier,
            metrics,
        )
        await parts.administrators.settle_all()
        following = asyncio.create_task(Removal(parts).follow())
        stack.push_async_callback(_stop, following)
        yield _app(parts, place)


def _directory(config: Config, database: Database) -> Directory:
    """Whom talks can be handed over to: what the tools of `[tools] handoff` ask."""
    agents = Agents(database)
    return Directory(Plans(_setup(config), Accounts(database), agents), agents, Talks(database))


def _parts(
    config: Config,
    database: Database,
    archive: Archive,
    sessions: Sessions,
    engines: Engines,
    chains: Mapping[str, Chain[Any]],
    keys: Keys,
    hashes: Hashes,
    errands: Errands,
    outbox: Outbox | None,
    provider: Provider | None,
    courier: Courier,
    metrics: Metrics,
) -> Parts:
    accounts, credentials, limiter = Accounts(database), Credentials(database), Limiter()
    agents, talks, kept = Agents(database), Talks(database), Conversations(database)
    plans = Plans(_setup(config), accounts, agents)
    sessions.on_over = talks.ended
    identity = Identity(keys, accounts, credentials)
    server = config.server
    return Parts(
        config,
        sessions,
        engines,
        chains,
        archive,
        kept,
        accounts,
        credentials,
        agents,
        talks,
        plans,
        Lobby(sessions, plans, talks, archive, kept),
        Usage(database),
        errands,
        keys,
        identity,
        hashes,
        limiter,
        Gate(identity, limiter, config.accounts.guests, server.allowed_origins, server.public_url),
        Overview(database),
        Administrators(config, accounts),
        Letters(config, accounts, credentials, outbox),
        provider,
        Appointments(database),
        Analytics(database),
        metrics,
        courier,
    )


def _app(parts: Parts, place: Place) -> App:
    config = parts.config
    forwarder = Forwarder(place, parts.sessions) if place.count > 1 else None
    if forwarder is not None:
        parts.gate.elsewhere = forwarder.answer
    routes: list[BaseRoute] = [
        *pages.routes(parts),  # first: a shared link shows browsers a page, and all others what it holds
        *operations.routes(parts, version("parley"), forwarder),
        *accounts.routes(parts),
        *verification.routes(parts),
        *oidc.routes(parts),
        *admin.routes(parts),
        *webhooks.routes(parts),
        *agents.routes(parts),
        *appointments.routes(parts),
        *sessions.routes(parts),
        *connections.routes(parts),
        *rooms.routes(parts),
        *speech.routes(parts),
        *openai.routes(parts),
        *conversations.routes(parts),
        *profile.routes(parts),
        *keys.routes(parts),
        *history.routes(parts),
        *analytics.routes(parts),
        *shares.routes(parts),
        *documentation.routes(parts),
    ]
    http = SecurityHeaders(
        shared(
            Starlette(routes=routes, exception_handlers={HTTPException: pages.on_error(parts)}),
            config.server.allowed_origins,
        ),
        secure=parts.secure,
        frames=parts.sessions.figures.frames,
    )
    server = config.server
    sockets = Sockets(
        parts.lobby,
        parts.keys,
        parts.identity,
        place,
        server.allowed_origins,
        server.public_url,
        guests=config.accounts.guests,
    )
    return App(parts, sockets, http, routes)


async def _engines(
    config: Config, stack: AsyncExitStack, tool_storage: ToolStorage
) -> tuple[Engines, dict[str, Chain[Any]]]:
    """Build and warm every engine, the stages side by side."""
    env = Env(config.keys, config.pipeline.language)
    stages = {name: chain.build(name, s.plugin, s.options, env) for name, s in config.stages.items()}
    if config.talks_by_itself:
        stages["talk"] = chain.build("talk", (config.pipeline.engine,), config.talk.options, env)
    vad = plugins.build("vad", config.vad.plugin, config.vad.options_of(config.vad.plugin), env)
    turn = plugins.build("turn", config.turn.plugin, config.turn.options_of(config.turn.plugin), env)
    results = await asyncio.gather(*stages.values(), vad.warm(), turn.warm(), return_exceptions=True)
    built = dict(zip(stages, results, strict=False))
    for made in (*(c for c in built.values() if isinstance(c, Chain)), vad, turn):
        stack.push_async_callback(made.aclose)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    chains: dict[str, Chain[Any]] = {name: c for name, c in built.items() if isinstance(c, Chain)}
    usable = toolset.build(config, env)
    await mcp_servers.connect(config, env, usable, stack)
    engines = Engines(
        vad,
        SttChain(chains["stt"], config.stt.timeout_ms / 1000),
        LlmChain(chains["llm"], config.llm.timeout_ms / 1000, config.llm.stall_ms / 1000),
        TtsChain(chains["tts"], config.tts.timeout_ms / 1000, config.tts.stall_ms / 1000),
        turn,
        usable,
        config.tools.timeout_ms / 1000,
        tool_storage,
        chains.get("talk"),
        Patience(config.talk.timeout_ms / 1000, config.talk.stall_ms / 1000),
    )
    if config.turn.questions:
        engines.stt.expect(engines.phrases)  # takes a second or two: not when the first caller is there
    return engines, chains


async def _figures(config: Config, stack: AsyncExitStack) -> Figures:
    """The avatars. One that cannot run here is done without: the page draws a face."""
    avatar = config.avatar
    env = Env(config.keys, config.pipeline.language)
    engine = None
    try:
        built = plugins.build("avatar", avatar.plugin, avatar.options_of(avatar.plugin), env)
        stack.push_async_callback(built.aclose)
        await built.warm()
        engine = built
    except Unavailable as error:
        log.warning("[avatar] %s cannot run: %s; the page draws a face", avatar.plugin, error)
    figures = Figures(avatar.plugin, engine, avatar.timeout_ms / 1000)
    stack.push_async_callback(figures.aclose)
    return figures


def _tell(metrics: Metrics, sessions: Sessions) -> None:
    """What is known without being counted."""
    metrics.tell("parley_sessions", "Talks that go on.", lambda: len(sessions))
    metrics.tell(
        "parley_sessions_attached",
        "Those of them whose client is connected.",
        lambda: sum(session.attached for session in sessions),
    )
    metrics.tell(
        "parley_session_tasks", "Tasks that belong to talks.", lambda: sum(s.task_count for s in sessions)
    )
    metrics.tell("parley_sessions_opened", "Talks opened.", lambda: sessions.opened, counter=True)


def _rules(config: Config, tariff: Tariff, budget: Budget) -> Rules:
    before_ms = config.talk.timeout_ms if config.talks_by_itself else 0
    timing = Timing(
        start_ms=config.vad.start_ms,
        stop_ms=config.vad.stop_ms,
        prefix_ms=config.vad.prefix_ms,
        min_silence_ms=config.turn.min_silence_ms,
        max_silence_ms=config.turn.max_silence_ms,
        barge_in_ms=config.turn.barge_in_ms,
        barge_in_words=config.turn.barge_in_words,
        # A model that answers by itself is asked once, when the turn is over: guesses would be paid for.
        speculate=config.turn.speculate and not config.talks_by_itself,
        final_timeout_ms=config.stt.timeout_ms * len(config.stt.plugin) + before_ms + 1000,
    )
    pipeline = config.pipeline
    return Rules(
        timing,
        pipeline.lead_ms,
        config.server.idle_timeout_s,
        pipeline.resume_window_s,
        tariff,
        budget,
        config.turn.questions,
    )


def _mark_free(chains: Mapping[str, Chain[Any]], tariff: Tariff) -> bool:
    """Find out who costs nothing. Whether every stage has somebody who does; it stands behind a talk too."""
    for stage, members in chains.items():
        for member in members.members:
            member.free = tariff.is_free(stage, member.name, member.model)
    stages = [members for stage, members in chains.items() if stage != "talk"]
    return all(any(m.free for m in members.members) for members in stages)


async def _follow_spending(budget: Budget, usage: Usage) -> None:
    """Know what was spent today before this process began, and by other workers."""
    while True:
        now = datetime.now(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            budget.catch_up(await usage.spent_since(midnight), now)
        except SQLAlchemyError as error:
            log.error("what was spent today could not be read: %s", error)
        await asyncio.sleep(SPENDING_EVERY_S)


async def _provider(config: Config) -> Provider | None:
    """Where people log in with other accounts. Raises `Unavailable` without the packages for it."""
    if not config.oidc.issuer:
        return None
    redirect = config.server.public_url.rstrip("/") + CALLBACK
    return await Provider.create(config.oidc, config.keys.get("OIDC_CLIENT_SECRET", ""), redirect)


def _outbox(config: Config) -> Outbox | None:
    """Where mails go; None on a server for others that has no SMTP: its log is no place for links."""
    mail = config.mail
    if mail.smtp_url:
        return Outbox(Smtp(mail.smtp_url, mail.sender, config.keys.get("SMTP_PASSWORD", "")).send)
    return Outbox(to_log) if is_development(config.server.public_url) else None


def _setup(config: Config) -> Setup:
    pipeline = config.pipeline
    return Setup(pipeline.mode, pipeline.greeting, pipeline.system_prompt, pipeline.language, pipeline.voice)


def _database_url(config: Config) -> str:
    """The URL, with a relative SQLite file seen from the working folder."""
    url, prefix = config.storage.url, "sqlite+aiosqlite:///"
    name = url.removeprefix(prefix)
    if not url.startswith(prefix) or not name or name.startswith(("/", ":")):
        return url
    return prefix + str(config.path(name))


async def _recover(config: Config, archive: Archive, sessions: Sessions) -> None:
    """Finish or take up what a server that died left behind."""
    window = config.pipeline.resume_window_s
    for left in await archive.recover(window, datetime.now(UTC)):
        if sessions.restore(left) is None:
            await archive.finish(left.session_id)
        else:
            log.info("session %s can be resumed until %s", left.session_id, left.expires_at)


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
