"""The page's face: eyes, and a mouth that moves with what is being played."""

from dataclasses import dataclass

from pipeline.avatar.drawn import Drawn
from pipeline.contracts import Env


@dataclass(frozen=True, slots=True)
class Options:
    """[avatar.face]: no keys."""


def create(options: Options, env: Env) -> Drawn:
    """Always possible."""
    del options, env
    return Drawn()
