"""The page's orb: the state of the talk as colour and motion, the voice as size."""

from dataclasses import dataclass

from pipeline.avatar.drawn import Drawn
from pipeline.contracts import Env


@dataclass(frozen=True, slots=True)
class Options:
    """[avatar.orb]: no keys."""


def create(options: Options, env: Env) -> Drawn:
    """Always possible."""
    del options, env
    return Drawn()
