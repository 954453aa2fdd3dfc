"""Nothing is drawn: a plain button."""

from dataclasses import dataclass

from pipeline.avatar.drawn import Drawn
from pipeline.contracts import Env


@dataclass(frozen=True, slots=True)
class Options:
    """[avatar.none]: no keys."""


def create(options: Options, env: Env) -> Drawn:
    """Always possible."""
    del options, env
    return Drawn()
