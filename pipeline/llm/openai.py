"""OpenAI's models over Chat Completions, and with `base_url` every server that speaks it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts import Env
from pipeline.llm.chat import ChatResponder
from pipeline.openai_http import Place


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.openai]`"""

    model: str = "gpt-5.4-mini"
    base_url: str = ""
    """Another server, such as "http://127.0.0.1:11434/v1" for Ollama; "" = OpenAI."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; "" sends none. Another server may do without."""
    max_tokens: int = 0
    """The longest answer; 0 = the model's own limit."""
    temperature: float | None = None
    """None = the model's own."""
    reasoning_effort: str | None = None
    """Such as "low"; "" sends none. Left out: "none" for OpenAI (nobody waits on the phone for thoughts,
    and newer models take tools only with it), nothing for another server."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What a server wants besides, such as { chat_template_kwargs = { enable_thinking = false } }."""

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model must not be empty")
        if self.max_tokens < 0:
            raise ValueError(f"max_tokens = {self.max_tokens} must be 0 or more")


def create(options: Options, env: Env) -> ChatResponder:
    """Raises `MissingKey`, `Unavailable`."""
    place = Place.of(env, "llm", options.key_variable, options.base_url)
    parameters: dict[str, Any] = {}
    if options.max_tokens:
        parameters["max_completion_tokens" if place.is_openai else "max_tokens"] = options.max_tokens
    if options.temperature is not None:
        parameters["temperature"] = options.temperature
    effort = options.reasoning_effort
    if effort is None and place.is_openai:
        effort = "none"
    if effort:
        parameters["reasoning_effort"] = effort
    return ChatResponder(place, options.model, parameters, options.extra)
