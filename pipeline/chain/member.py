"""The members of a chain: whom to ask, how each one is doing, and who is well again.

A member that failed rests. One that can be probed (`contracts.Probing`) is probed in the background when its
rest is over, and asked again only when the probe went well; any other is tried by the next talk that comes
along after its rest (the half-open state of a circuit breaker).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipeline import plugins
from pipeline.contracts import Engine, Env, Failure, Preparing, Probing, ProviderError, Unavailable

log = logging.getLogger(__name__)

FIRST_REST_S = 5.0
"""How long a member that failed is left alone; doubles with each failure in a row, up to `LONGEST_REST_S`."""
LONGEST_REST_S = 120.0
PROBE_S = 5.0
"""How long a probe may take."""

E = TypeVar("E", bound=Engine)
Report = Callable[[ProviderError, str], None]
"""Called with the error and the plug-in's name each time a member fails in a session."""


def ignore(_error: ProviderError, _plugin: str) -> None:
    """A `Report` for who does not want to know."""


def now() -> float:
    """The loop's time in seconds, which a test may run as it likes."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Member(Generic[E]):
    """One engine of a chain and how it has been doing."""

    name: str
    engine: E
    free: bool = True
    """It costs nothing, as far as `[prices]` knows: who is left when a budget is spent."""
    failures: int = 0
    rests_until: float = 0.0
    last_error: str = ""
    last_kind: str = ""
    answered: int = 0
    """Requests that went well."""
    failed_in_all: int = 0

    @property
    def model(self) -> str:
        return str(getattr(self.engine, "model", ""))

    @property
    def is_probed(self) -> bool:
        return isinstance(self.engine, Probing)

    def is_rested(self, at: float) -> bool:
        """Whether it may be asked before those that rest."""
        if not self.failures:
            return True
        return not self.is_probed and self.rests_until <= at

    def failed(self, error: ProviderError) -> None:
        self.failures += 1
        self.failed_in_all += 1
        rest = min(LONGEST_REST_S, FIRST_REST_S * 2 ** (self.failures - 1))
        if error.kind in (Failure.AUTH, Failure.BAD_REQUEST):
            rest = LONGEST_REST_S
        self.rests_until = now() + max(rest, error.retry_after_s or 0.0)
        self.last_error, self.last_kind = str(error), str(error.kind)
        log.warning("%s %s failed (%s): %s", error.stage, self.name, error.kind, error)

    def worked(self) -> None:
        self.answered += 1
        self.well()

    def well(self) -> None:
        """Nothing speaks against asking it."""
        if self.failures:
            log.info("%s works again", self.name)
        self.failures, self.rests_until, self.last_error, self.last_kind = 0, 0.0, "", ""


@dataclass(slots=True)
class Chain(Generic[E]):
    """The members of one stage in order, and those that cannot run here with the reason."""

    stage: str
    members: list[Member[E]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    _nurses: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    """Who is being probed, by name."""

    def in_order(self, *, thrifty: bool = False) -> Iterator[Member[E]]:
        """Whom to ask, in turn: the rested ones first; when all are resting, all of them anyway. `thrifty`
        asks those that cost nothing before any other."""
        at = now()
        order = sorted(self.members, key=lambda m: (thrifty and not m.free, not m.is_rested(at)))
        yield from order

    def preferring(self, name: str) -> "Chain[E]":
        """The same members, of the same health, but that one first if it is among them. Not to be closed."""
        if all(member.name != name for member in self.members[1:]):
            return self
        return self.of(sorted(self.members, key=lambda m: m.name != name))

    def of(self, members: list[Member[E]]) -> "Chain[E]":
        """A chain of these members of it, of the same health. Not to be closed."""
        return Chain(self.stage, members, self.missing, self._nurses)

    def failed(self, member: Member[E], error: ProviderError) -> None:
        """A member failed: it rests, and somebody looks after it."""
        member.failed(error)
        if member.is_probed and member.name not in self._nurses:
            task = asyncio.get_running_loop().create_task(self._nurse(member))
            self._nurses[member.name] = task
            task.add_done_callback(lambda _: self._nurses.pop(member.name, None))

    async def _nurse(self, member: Member[E]) -> None:
        """Probe a member until it is well again."""
        engine: Any = member.engine
        while member.failures:
            await asyncio.sleep(max(0.0, member.rests_until - now()))
            if member.rests_until > now():
                continue  # it was asked meanwhile for want of anybody else, and failed again
            try:
                async with asyncio.timeout(PROBE_S):
                    await engine.probe()
            except ProviderError as error:
                member.failed(error)
            except TimeoutError:
                member.failed(ProviderError(f"{member.name} did not answer a probe", Failure.TIMEOUT))
            else:
                member.well()

    def prepare(self) -> None:
        """A turn is about to need the first in order: it may open its connections."""
        first = next(self.in_order(), None)
        engine: Any = first.engine if first is not None else None
        if isinstance(engine, Preparing):
            engine.prepare()

    def state(self) -> dict[str, Any]:
        """For `/health`: who would be asked now, how each one is, and why."""
        active = next(iter(self.in_order()), None)
        at = now()
        return {
            "plugin": active.name if active else None,
            "state": "failed" if active is None else "ok" if not active.failures else "degraded",
            "members": [_state(m, at) for m in self.members]
            + [{"plugin": n, "state": "unavailable", "error": why} for n, why in self.missing.items()],
        }

    async def aclose(self) -> None:
        for task in list(self._nurses.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for member in self.members:
            await member.engine.aclose()


def _state(member: Member[Any], at: float) -> dict[str, Any]:
    return {
        "plugin": member.name,
        **({"model": member.model} if member.model else {}),
        "state": "ok" if member.is_rested(at) else "resting",
        "answered": member.answered,
        "failed": member.failed_in_all,
        **(
            {
                "error": member.last_error,
                "kind": member.last_kind,
                "next_try_s": round(max(0.0, member.rests_until - at), 1),
            }
            if member.failures
            else {}
        ),
    }


async def build(stage: str, names: Sequence[str], options: Mapping[str, Mapping[str, Any]], env: Env) -> Any:
    """Build and warm the members of a chain. One that cannot run is left out, with its reason kept.

    Raises `Unavailable` when none can, `MissingKey` when one lacks its key, `PluginError` for a wrong name
    or option.
    """
    chain: Chain[Any] = Chain(stage)
    try:
        for name in names:
            try:
                engine = plugins.build(stage, name, options.get(name, {}), env)
                await engine.warm()
            except Unavailable as error:
                chain.missing[name] = str(error)
                log.info("%s %s cannot run here: %s", stage, name, error)
                continue
            chain.members.append(Member(name, engine))
    except BaseException:
        await chain.aclose()
        raise
    if not chain.members:
        reasons = "; ".join(f"{name}: {why}" for name, why in chain.missing.items())
        raise Unavailable(f"[{stage}] plugin: none of {', '.join(names)} can run here ({reasons})")
    return chain
