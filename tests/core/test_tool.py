"""Functions as tools: their schema, how they are called, and where they are found."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from pipeline import plugins
from pipeline.contracts import Env, ParleyError, ToolContext
from pipeline.tool import BadArguments, FunctionTool, Refused, as_tools, manners_of, tool
from pipeline.tools import clock
from server import toolset
from server.config import Config, load

CONTEXT = ToolContext("20261121_120000_aaaaaaaaaaaaaaaaaaaa", lambda: datetime(2026, 11, 21, tzinfo=UTC))


@tool(timeout_s=3, speaks_while_running={"en": "One moment."}, idempotent=True)
async def weather(
    context: ToolContext,
    city: Annotated[str, "Where"],
    days: int = 1,
    unit: Literal["celsius", "fahrenheit"] = "celsius",
) -> Mapping[str, Any]:
    """What the weather will be."""
    if city == "Atlantis":
        raise Refused("I don't know that city.")
    return {"city": city, "days": days, "unit": unit, "session": context.session_id}


def test_the_schema_is_the_signature_without_the_context() -> None:
    assert (weather.spec.name, weather.spec.description) == ("weather", "What the weather will be.")
    assert weather.spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["city"],
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "days": {"type": "integer", "default": 1},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        },
    }


async def test_it_is_called_with_checked_arguments_and_the_context() -> None:
    result = await weather.run({"city": "Lima", "days": "3"}, CONTEXT)
    assert result == {"ok": True, "city": "Lima", "days": 3, "unit": "celsius", "session": CONTEXT.session_id}


async def test_a_refusal_is_a_sentence() -> None:
    assert await weather.run({"city": "Atlantis"}, CONTEXT) == {
        "ok": False,
        "message": "I don't know that city.",
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({}, "city"), ({"city": "Lima", "town": "x"}, "town"), ({"city": "Lima", "unit": "kelvin"}, "unit")],
)
async def test_wrong_arguments_are_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(BadArguments, match=named):
        await weather.run(arguments, CONTEXT)


def test_manners_are_those_of_the_decorator_and_can_be_changed() -> None:
    manners = manners_of(weather)
    assert (manners.timeout_s, manners.confirm, manners.idempotent) == (3, False, True)
    stricter = weather.with_manners(confirm=True)
    assert manners_of(stricter).confirm
    assert manners_of(stricter).timeout_s == 3
    assert not manners_of(clock.create(clock.Options(), Env())).confirm


def test_what_is_no_tool_is_refused_when_it_is_written() -> None:
    async def silent(word: str) -> None: ...

    async def many(*words: str) -> None:
        """Many."""

    def plain(word: str) -> None:
        """Plain."""

    for function, said in ((silent, "docstring"), (many, "words"), (plain, "async")):
        with pytest.raises(TypeError, match=said):
            tool()(function)  # type: ignore[arg-type]


def test_one_tool_or_several() -> None:
    assert as_tools(weather) == [weather]
    assert as_tools((weather, weather.with_manners(confirm=True)))[1] is not weather


# -- where they are found -------------------------------------------------------------------------------

FILE = '''
from pipeline.tool import tool

@tool()
async def shout(text: str) -> dict[str, str]:
    """Says it louder."""
    return {"text": text.upper()}
'''


def configured(tmp_path: Path, **tools: Any) -> Config:
    lines = [f"{key} = {value!r}" for key, value in tools.items()]
    path = tmp_path / "config.toml"
    path.write_text("\n".join(["[tools]", *lines]), "utf-8")
    return load(str(path), {}, tmp_path)


async def test_a_file_in_the_folder_is_a_tool(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "loud.py").write_text(FILE, "utf-8")
    (folder / "_draft.py").write_text("this is not Python", "utf-8")
    found = toolset.build(configured(tmp_path, enabled=["clock"], folder=str(folder)), Env())
    assert list(found) == ["clock", "shout"]
    assert await found["shout"].run({"text": "hey"}, CONTEXT) == {"ok": True, "text": "HEY"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_this_name", "cannot be loaded: ModuleNotFoundError"),
        ("x = 1", "there is no tool in it"),
        (FILE.replace("shout", "clock"), "two tools are called 'clock'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, source: str, says: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "loud.py").write_text(source, "utf-8")
    with pytest.raises(ParleyError, match=says) as caught:
        toolset.build(configured(tmp_path, enabled=["clock"], folder=str(folder)), Env())
    assert "loud.py" in str(caught.value)


def test_a_function_is_found_by_its_import_path() -> None:
    found = plugins.build("tools", f"{__name__}:weather", {}, Env())
    assert isinstance(found, FunctionTool)
    assert found is weather
