"""Tells other servers what happened, signed as https://www.standardwebhooks.com has it.

What is to be told waits in `storage.deliveries`; here it is sent. Every receiver has a task of its own, so a
slow one delays itself alone, and no talk. What is not taken is sent again, later and later, always with the
same `webhook-id`, by which a receiver knows what it has had already.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook

from pipeline.contracts import MissingKey, ParleyError
from pipeline.vendor import retry_after_s, short, trust
from server.sections import Config
from storage.database import Database
from storage.deliveries import Deliveries, Delivery

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Deliveries to one receiver that are under way at a time."""
LOOK_EVERY_S = 5.0
"""How often a worker looks for what others have put in."""
TIDY_EVERY_S = 3600.0
LEASE_S = 30.0
"""Longer than an attempt may take: then another worker may try."""
FIRST_PAUSE_S, GROWTH, LONGEST_PAUSE_S = 5.0, 4.0, 6 * 3600.0
"""Between attempts: 5 s, 20 s, 80 s … six hours; ten attempts take some twenty hours."""
MOST_WAIT_S = 24 * 3600.0
"""Of what a receiver asks for with Retry-After."""
JITTER = 0.2
"""Of a pause, either way: a thousand deliveries that failed together must not come back together."""
MOST_READ_BYTES = 4096
"""Of what a receiver answers; only its refusals are looked at."""
SECRET_BYTES = (24, 64)
"""As the specification has it."""
GONE = 410


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver, as it is to be told."""

    name: str
    url: str = field(repr=False)  # may be a secret itself
    events: tuple[str, ...]
    signers: tuple[Webhook, ...] = field(repr=False)
    timeout_s: float
    tries: int

    @property
    def host(self) -> str:
        """What may be shown of its address."""
        return urlsplit(self.url).hostname or ""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()


def targets(config: Config) -> tuple[Target, ...]:
    """Everybody who is to be told. Raises `ParleyError` with one line that names the key."""
    hooks = config.webhooks
    plain = [(_name_of(url), "[webhooks]", url, None) for url in hooks.urls]
    named = [(name, f"[webhooks.{name}]", one.url, one) for name, one in hooks.receivers.items()]
    found: dict[str, Target] = {}
    for name, section, url, one in (*plain, *named):
        own = one or hooks
        variable = own.secret_variable or hooks.secret_variable
        found[name] = Target(
            name,
            url,
            tuple(hooks.events if own.events is None else own.events),
            _signers(config.keys, section if own.secret_variable else "[webhooks]", variable),
            (own.timeout_ms or hooks.timeout_ms) / 1000,
            own.tries or hooks.tries,
        )
    return tuple(found.values())


def subscriptions(found: Sequence[Target]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """As `Deliveries` wants them."""
    return {target.name: (target.fingerprint, target.events) for target in found}


def _name_of(url: str) -> str:
    """Of a receiver that has none: stable, whatever is written before it."""
    return f"{urlsplit(url).hostname}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def _signers(keys: Mapping[str, str], section: str, variable: str) -> tuple[Webhook, ...]:
    """One for each secret: while a secret is being changed there are two, and receivers take either."""
    secrets = keys.get(variable, "").split()
    where = f"{section} secret_variable names {variable}, which"
    how = "write whsec_ and the base64 of 32 random bytes, as: echo whsec_$(openssl rand -base64 32)"
    if not secrets:
        raise MissingKey(f"{where} is not set: set it in the environment or in .env; {how}")
    for secret in secrets:
        if not _is_secret(secret):
            raise ParleyError(f"{where} holds no secret for webhooks; {how}")
    return tuple(map(Webhook, secrets))


def _is_secret(text: str) -> bool:
    try:
        size = len(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        return False
    return text.startswith("whsec_") and SECRET_BYTES[0] <= size <= SECRET_BYTES[1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt."""

    status: int | None
    error: str = ""
    wait_s: float | None = None
    """The receiver asks not to be asked before."""


class Courier:
    """Sends what waits. `start` it once, `aclose` it once."""

    def __init__(
        self,
        found: Sequence[Target],
        deliveries: Deliveries,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.targets = {target.name: target for target in found}
        self.deliveries, self._now, self._chance = deliveries, now, chance
        self._news = {name: asyncio.Event() for name in self.targets}
        self._tasks: list[asyncio.Task[None]] = []
        self._http: httpx2.AsyncClient | None = None
        deliveries.on_new = self._on_new

    def start(self) -> None:
        for target in self.targets.values():
            self._tasks.append(asyncio.create_task(self._serve(target), name=f"webhook {target.name}"))
        self._tasks.append(asyncio.create_task(self._tidy(), name="webhooks"))

    async def aclose(self) -> None:
        """Stop. What is under way is sent again by the next start, under the same id."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    async def deliver(self, target: Target) -> int:
        """Send what is due for a receiver. How many that were. Raises SQLAlchemyError, OSError."""
        due = await self.deliveries.claim(target.name, AT_ONCE, target.timeout_s + LEASE_S)
        await asyncio.gather(*(self._attempt(target, one) for one in due))
        return len(due)

    # -- tasks -------------------------------------------------------------------------------------------

    def _on_new(self) -> None:
        for news in self._news.values():
            news.set()

    async def _serve(self, target: Target) -> None:
        news = self._news[target.name]
        while True:
            news.clear()
            try:
                if await self.deliver(target):
                    continue
                wait_s = await self._until_due(target)
            except (SQLAlchemyError, OSError) as error:
                log.error("webhook %s: the database would not say what to send: %s", target.name, error)
                wait_s = LOOK_EVERY_S
            try:
                async with asyncio.timeout(wait_s):
                    await news.wait()
            except TimeoutError:
                pass

    async def _until_due(self, target: Target) -> float:
        due = await self.deliveries.next_due(target.name)
        if due is None:
            return LOOK_EVERY_S
        return min(max((due - self._now()).total_seconds(), 0.05), LOOK_EVERY_S)

    async def _tidy(self) -> None:
        while True:
            try:
                await self.deliveries.forget_strangers()
            except (SQLAlchemyError, OSError) as error:
                log.error("old webhooks could not be forgotten: %s", error)
            await asyncio.sleep(TIDY_EVERY_S)

    # -- an attempt --------------------------------------------------------------------------------------

    async def _attempt(self, target: Target, delivery: Delivery) -> None:
        outcome = await self._post(target, delivery)
        deliveries, status, tried = self.deliveries, outcome.status, delivery.attempts + 1
        if not outcome.error:
            await deliveries.delivered(delivery, status or 0)
        elif status == GONE:
            log.warning("webhook %s answered 410 Gone: it is told nothing more", target.name)
            await deliveries.turn_off(delivery, GONE, outcome.error)
        elif tried >= target.tries:
            log.error("webhook %s: %s given up after %d: %s", target.name, delivery.id, tried, outcome.error)
            await deliveries.give_up(delivery, status, outcome.error)
        else:
            log.warning("webhook %s: %s: %s; again later", target.name, delivery.id, outcome.error)
            pause_s = self._pause_s(tried, outcome.wait_s)
            await deliveries.postpone(
                delivery, self._now() + timedelta(seconds=pause_s), status, outcome.error
            )

    def _pause_s(self, tried: int, asked_s: float | None) -> float:
        pause_s = min(FIRST_PAUSE_S * GROWTH ** min(tried - 1, 20), LONGEST_PAUSE_S)
        pause_s *= 1 + JITTER * (2 * self._chance() - 1)
        return max(pause_s, min(asked_s or 0.0, MOST_WAIT_S))

    async def _post(self, target: Target, delivery: Delivery) -> Outcome:
        now = self._now()
        if self._http is None:
            trusted = await asyncio.to_thread(trust, httpx2)
            # A signed body goes where the configuration says and nowhere else: redirects are not followed.
            self._http = self._http or httpx2.AsyncClient(
                follow_redirects=False, headers={"User-Agent": "parley"}, verify=trusted
            )
        signatures = (one.sign(delivery.id, now, delivery.body) for one in target.signers)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        try:
            async with (
                asyncio.timeout(target.timeout_s),
                self._http.stream(
                    "POST",
                    target.url,
                    content=delivery.body.encode(),
                    headers=headers,
                    timeout=target.timeout_s,
                ) as answer,
            ):
                return await _judge(answer, now)
        except (TimeoutError, httpx2.TimeoutException):
            return Outcome(None, f"no answer within {target.timeout_s:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return Outcome(None, f"cannot be reached: {short(str(error)) or type(error).__name__}")


async def _judge(answer: httpx2.Response, now: datetime) -> Outcome:
    status = answer.status_code
    if 200 <= status < 300:
        return Outcome(status)
    if 300 <= status < 400:
        return Outcome(status, f"answered {status}: redirects are not followed")
    read = b""
    async for piece in answer.aiter_raw(MOST_READ_BYTES):
        read = piece[:MOST_READ_BYTES]
        break
    words = short(read.decode("utf-8", "replace"))
    told = f"answered {status}" + (f": {words}" if words else "")
    return Outcome(status, told, retry_after_s(answer.headers, now))


def courier_for(config: Config, database: Database) -> Courier:
    """Who empties the outbox of a server. Raises `ParleyError`."""
    found = targets(config)
    return Courier(found, Deliveries(database, subscriptions(found)))
