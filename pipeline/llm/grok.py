"""x.ai's Grok models: https://docs.x.ai/docs/api-reference#chat-completions"""

from dataclasses import dataclass
from typing import Any

from pipeline import vendor
from pipeline.contracts import Env
from pipeline.llm.chat import ChatResponder
from pipeline.openai_http import Place

URL = "https://api.x.ai/v1"
VARIABLE = "XAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.grok]`"""

    model: str = "grok-4.3"
    max_tokens: int = 0
    """The longest answer; 0 = the model's own limit."""
    temperature: float | None = None
    """None = the model's own."""
    reasoning_effort: str = "none"
    """Such as "low"; "" sends none. A model that cannot choose is asked without it."""
    base_url: str = URL

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model must not be empty")
        if self.max_tokens < 0:
            raise ValueError(f"max_tokens = {self.max_tokens} must be 0 or more")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url = {self.base_url!r} must begin with http:// or https://")


def create(options: Options, env: Env) -> ChatResponder:
    """Raises `MissingKey`."""
    key = vendor.key(env, "[llm] grok", VARIABLE)
    place = Place("[llm.grok]", VARIABLE, key, options.base_url.rstrip("/"))
    parameters: dict[str, Any] = {}
    if options.max_tokens:
        parameters["max_completion_tokens"] = options.max_tokens
    if options.temperature is not None:
        parameters["temperature"] = options.temperature
    if options.reasoning_effort:
        parameters["reasoning_effort"] = options.reasoning_effort
    return ChatResponder(place, options.model, parameters)
