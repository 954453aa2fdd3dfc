"""The prices that Parley ships, with their dates, under those that an installation sets."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pipeline.tariff import Tariff, TokenPrices
from server.sections import Prices


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """`prices.toml`: by stage and "plug-in/model"."""
    return tomllib.loads(files("server").joinpath("prices.toml").read_text("utf-8"))


def tariff(own: Prices) -> Tariff:
    """What requests cost here: the shipped prices with the installation's own over them."""
    ours = shipped()
    tokens = {kind: {k: TokenPrices(**v) for k, v in ours.get(kind, {}).items()} for kind in ("llm", "talk")}
    for kind, mine in (("llm", own.llm), ("talk", own.talk)):
        for name, p in mine.items():
            tokens[kind][name] = TokenPrices(
                p.input, p.output, p.audio_input, p.audio_output, p.cached_input, p.cached_audio_input
            )
    return Tariff(
        {**ours.get("stt", {}), **own.stt}, tokens["llm"], {**ours.get("tts", {}), **own.tts}, tokens["talk"]
    )
