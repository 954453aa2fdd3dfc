"""Makes a tool of a typed async function: what an owner writes to let the agent do something.

    @tool(timeout_s=5)
    async def weather(context: ToolContext, city: Annotated[str, "Where"]) -> Mapping[str, Any]:
        \"\"\"What the weather is like in a city.\"\"\"
        raise Refused("I don't know that city.")

The docstring is what the model reads; the schema of the arguments comes from the signature. A parameter
annotated `ToolContext` is given by the server and is no argument of the model's.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from pipeline.contracts import Manners, Tool, ToolContext, ToolSpec

Function = Callable[..., Awaitable[Mapping[str, Any] | None]]


class Refused(Exception):
    """The tool will not do it. The text is a sentence that the agent can say."""


class BadArguments(ValueError):
    """The model called the tool with arguments that it does not take."""


class FunctionTool:
    """A tool that is a function."""

    def __init__(self, function: Function, spec: ToolSpec, manners: Manners, model: type[BaseModel]) -> None:
        self.spec, self.manners = spec, manners
        self._function, self._model = function, model
        self._context = _context_name(function)
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<tool {self.spec.name}>"

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> Mapping[str, Any]:
        """Call the function. `{"ok": true, …what it returned}`, or its refusal. Raises `BadArguments`."""
        try:
            parsed = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            raise BadArguments(_sentence(error)) from None
        given = {name: getattr(parsed, name) for name in type(parsed).model_fields}
        if self._context:
            given[self._context] = context
        try:
            result = await self._function(**given)
        except Refused as refusal:
            return {"ok": False, "message": str(refusal)}
        return {"ok": True, **(result or {})}

    def in_timezone(self, timezone: str) -> "FunctionTool":
        """The same tool for days and times elsewhere."""
        return FunctionTool(self._function, replace(self.spec, timezone=timezone), self.manners, self._model)

    def with_manners(self, **changes: Any) -> "FunctionTool":
        """The same tool, behaving differently: for what a config may choose."""
        manners = {name: getattr(self.manners, name) for name in Manners.__slots__}
        return FunctionTool(self._function, self.spec, Manners(**{**manners, **changes}), self._model)


def tool(
    *,
    name: str = "",
    description: str = "",
    timeout_s: float | None = None,
    speaks_while_running: str | Mapping[str, str] = "",
    confirm: bool = False,
    terminal: bool = False,
    idempotent: bool = False,
    phrases: Sequence[str] = (),
) -> Callable[[Function], FunctionTool]:
    """A decorator. The name is the function's, the description its docstring, unless they are given; for the
    rest see `contracts.Manners`. Raises TypeError for a signature that no schema can be made of."""
    spoken = {"": speaks_while_running} if isinstance(speaks_while_running, str) else speaks_while_running
    said = {language: text for language, text in spoken.items() if text}
    manners = Manners(timeout_s, said, confirm, terminal, idempotent, tuple(phrases))

    def decorate(function: Function) -> FunctionTool:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"the tool {function.__name__} must be an async function")
        text = description or inspect.getdoc(function) or ""
        if not text:
            raise TypeError(f"the tool {function.__name__} needs a docstring: the model reads nothing else")
        model = _model(function)
        spec = ToolSpec(name or function.__name__, text, _schema(model))
        return FunctionTool(function, spec, manners, model)

    return decorate


@dataclass(slots=True)
class ClientTool:
    """A tool that the client has: the reply ends with the call, and the client goes on from there."""

    spec: ToolSpec

    async def run(
        self,
        arguments: Mapping[str, Any],  # noqa: ARG002 - every tool has this shape
        context: ToolContext,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        raise RuntimeError(f"{self.spec.name} is the client's to run")


def tools_in(module: object) -> list[Tool]:
    """The tools that a module defines, in its order."""
    return [value for value in vars(module).values() if isinstance(value, FunctionTool)]


def as_tools(made: Tool | Iterable[Tool]) -> list[Tool]:
    """What a plug-in's `create` gave: one tool, or several."""
    return [made] if isinstance(made, Tool) else list(made)


def manners_of(tool: Tool) -> Manners:
    """How it behaves; a plain tool has no particular manners."""
    found = getattr(tool, "manners", None)
    return found if isinstance(found, Manners) else Manners()


# -- signature -> schema --------------------------------------------------------------------------------


def _context_name(function: Function) -> str:
    hints = typing.get_type_hints(function)
    return next((name for name, hint in hints.items() if hint is ToolContext), "")


def _model(function: Function) -> type[BaseModel]:
    """The arguments as a pydantic model: unknown ones are refused."""
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, str)
        if hint is ToolContext:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"the tool {function.__name__}: {parameter} cannot be an argument of a model's")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (_described(hint), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    return create_model(function.__name__, __config__=config, **fields)


def _described(hint: Any) -> Any:
    """A text in `Annotated` is the argument's description."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint
    inner, *notes = typing.get_args(hint)
    kept: list[Any] = [Field(description=n) if isinstance(n, str) else n for n in notes]
    if not any(isinstance(n, FieldInfo) for n in kept):
        return hint
    return typing.Annotated[(inner, *kept)]


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of type object, without the titles that tell a model nothing."""
    schema: dict[str, Any] = _untitled(model.model_json_schema())
    schema.setdefault("properties", {})
    return schema


def _untitled(node: Any) -> Any:
    if isinstance(node, list):
        return [_untitled(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: value for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    return {key: _untitled(value) for key, value in plain.items() if key != "description" or value}


def _sentence(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(p) for p in problem["loc"])
        parts.append(f"{where}: {problem['msg'].lower()}" if where else problem["msg"].lower())
    return "; ".join(parts)
