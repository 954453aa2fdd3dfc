"""What both Gemini plug-ins say: any history and any tool as a request that the API accepts."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts import Failure, LlmError, Message, Prompt, ToolCall, ToolSpec, Usage
from pipeline.llm import gemini_wire as wire
from pipeline.llm.gemini_schema import reduced, restored
from pipeline.llm.refusal import sorry
from pipeline.tools.clock import Clock
from tests.support.vendors import gemini as fake

OLD, NEW = "gemini-2.5-flash-lite", "gemini-3.5-flash-lite"


def body(*messages: Message, tools: tuple[ToolSpec, ...] = (), **options: Any) -> dict[str, Any]:
    """The request as it is on the wire."""
    prompt = Prompt(messages, tools=tools)
    request = wire.body(prompt, wire.Toolset(prompt.tools), **options)
    return dict(json.loads(json.dumps(request)))


def stand_in(_call_id: str, first: bool) -> str:
    return wire.ANY_SIGNATURE if first else ""


def said(request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(role, first thing) of each turn."""
    return [
        (content["role"], next(iter(part[k] for k in part if k != "thoughtSignature")))
        for content in request["contents"]
        for part in content["parts"]
    ]


CALL = ToolCall("c1", "clock", {"timezone": "UTC"})
ANSWER = Message("tool", '{"time": "15:05"}', tool_call_id="c1", name="clock")

IDS = st.sampled_from(["", "c1", "c2", "c3"])
CALLS = st.builds(
    ToolCall, IDS, st.sampled_from(["clock", "book it!", "7"]), st.just({}) | st.just({"a": [1, None]})
)
TEXTS = st.sampled_from(["", " \n ", "hello", "{}", "[1]", "ñ🙂\x00", "\ud83d alone", "word " * 50])
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "assistant", "tool", "tool"]),
    TEXTS,
    st.lists(CALLS, max_size=3).map(tuple),
    IDS,
    st.sampled_from(["", "clock", "x y"]),
)


@given(st.lists(MESSAGES, max_size=12), st.sampled_from([OLD, NEW]))
def test_any_history_is_a_request_that_the_api_accepts(messages: list[Message], model: str) -> None:
    request = body(*messages, tools=(Clock.spec,), signature=stand_in)
    request["contents"][0]["parts"][0].get("text", "").encode()
    fake.check(request, model)


@given(st.lists(MESSAGES, max_size=12))
def test_any_history_can_be_told_without_calls(messages: list[Message]) -> None:
    request = body(*messages, calls=False)
    fake.check(request, NEW)
    assert all("text" in part for content in request["contents"] for part in content["parts"])


def test_turns_alternate_and_what_is_said_twice_is_one_turn() -> None:
    request = body(
        Message("system", "You are Ada."),
        Message("system", "Be brief."),
        Message("user", "hi"),
        Message("user", "there"),
        Message("assistant", "Hello!"),
        Message("user", ""),
        Message("user", "bye"),
    )
    assert request["systemInstruction"] == {"parts": [{"text": "You are Ada.\n\nBe brief."}]}
    assert request["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "Hello!"}]},
        {"role": "user", "parts": [{"text": "bye"}]},
    ]


def test_a_greeting_comes_after_a_word_of_the_users_and_an_answer_is_never_the_last() -> None:
    assert said(body(Message("assistant", "Hello!"))) == [
        ("user", wire.OPENING),
        ("model", "Hello!"),
        ("user", wire.GO_ON),
    ]
    assert said(body()) == [("user", wire.OPENING)]


def test_a_call_and_its_result_have_the_same_name_and_id_side_by_side() -> None:
    request = body(
        Message("user", "the time?"),
        Message("assistant", "Let me see.", (CALL,)),
        Message("user", "quick"),
        ANSWER,
    )
    identity = {"id": "c1", "name": "clock"}
    assert request["contents"] == [
        {"role": "user", "parts": [{"text": "the time?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Let me see."},
                {"functionCall": {**identity, "args": {"timezone": "UTC"}}},
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {**identity, "response": {"time": "15:05"}}}]},
        {"role": "user", "parts": [{"text": "quick"}]},
    ]


def test_a_call_that_was_interrupted_has_an_answer_that_says_so() -> None:
    request = body(
        Message("user", "the time?"), Message("assistant", "", (CALL,)), Message("user", "never mind")
    )
    response = request["contents"][2]["parts"][0]["functionResponse"]
    assert response["response"] == wire.NO_RESULT


def test_a_result_that_nobody_asked_for_is_told_in_words() -> None:
    assert said(body(Message("tool", "not json", name="x"))) == [("user", "(The tool x said: not json)")]


def test_each_signature_goes_back_with_the_call_it_came_with() -> None:
    signatures = wire.Signatures()
    signatures.keep("c1", "s1")
    two = (CALL, ToolCall("c2", "clock", {}))
    request = body(
        Message("user", "?"), Message("assistant", "", two), signature=lambda i, _: signatures.of(i)
    )
    assert [part.get("thoughtSignature") for part in request["contents"][1]["parts"]] == ["s1", None]


def test_only_the_latest_signatures_are_kept() -> None:
    signatures = wire.Signatures()
    for n in range(wire.MOST_SIGNATURES + 1):
        signatures.keep(f"c{n}", "s")
    assert (signatures.of("c0"), signatures.of("c1")) == ("", "s")


# -- tools ----------------------------------------------------------------------------------------------


def test_names_that_the_api_refuses_are_changed_and_changed_back() -> None:
    specs = [ToolSpec(name, "", {"type": "object"}) for name in ("book it!", "book_it!", "7up", "é" * 90)]
    tools = wire.Toolset(specs)
    names = [declared["name"] for declared in tools.declarations]
    assert names == ["book_it_", "book_it__2", "_7up", "_" * 64]
    fake.check({**body(Message("user", "x")), "tools": [{"functionDeclarations": tools.declarations}]}, NEW)
    assert [tools.call("c", name, {}).name for name in names] == [spec.name for spec in specs]
    assert tools.name("book_it!") == "book_it__2"
    assert tools.call("", "unheard-of", {}).name == "unheard-of"


def test_calls_without_an_id_get_one_each() -> None:
    tools = wire.Toolset((Clock.spec,))
    assert tools.call("", "clock", {}).id != tools.call("", "clock", {}).id


SCHEMAS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "string", "format": "email", "minLength": 2, "examples": ["a"]},
        {"type": "STRING", "minLength": 2},
    ),
    ({"type": ["integer", "null"], "maximum": 9}, {"type": "INTEGER", "nullable": True, "maximum": 9}),
    ({"const": "yes"}, {"type": "STRING", "enum": ["yes"], "format": "enum"}),
    ({"enum": [1, 2], "title": "How many"}, {"type": "INTEGER", "description": "How many (one of: 1, 2)"}),
    ({"enum": ["a", None]}, {"type": "STRING", "nullable": True, "enum": ["a"], "format": "enum"}),
    ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}),
    ({"type": "object", "additionalProperties": True}, {"type": "STRING", "description": "(a JSON object)"}),
    (
        {"oneOf": [{"type": "number"}, {"type": "null"}], "description": "d"},
        {"type": "NUMBER", "description": "d", "nullable": True},
    ),
    (
        {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
        {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}]},
    ),
    (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a", "gone"],
         "$defs": {"A": {"allOf": [{"type": "string"}, {"description": "an A"}]}}},
        {"type": "OBJECT", "properties": {"a": {"type": "STRING", "description": "an A"}}, "required": ["a"]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS)
def test_a_schema_in_geminis_words(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert reduced(schema) == expected


def test_a_schema_that_contains_itself_ends() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    fake.check_schema(reduced(tree))
    fake.check_schema(reduced({"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}}))


LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": ["null", "number"]},
        {"const": 3},
        {"enum": ["a", 1]},
        {},
        {"type": "null"},
        True,
    ]
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            },
            optional={"required": st.just(["a"]), "additionalProperties": inner, "description": st.just("d")},
        )
        | st.builds(lambda items: {"type": "array", "items": items, "uniqueItems": True}, inner)
        | st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda part: {"allOf": [part, {"not": {}}]}, inner.filter(lambda s: isinstance(s, dict)))
    ),
    max_leaves=8,
)


@given(NESTED, st.booleans())
def test_any_schema_is_one_that_the_api_accepts(schema: Any, old: bool) -> None:
    if isinstance(schema, dict):
        fake.check_schema(reduced(schema, old=old))


def test_the_old_package_is_told_the_first_of_several_choices() -> None:
    assert reduced({"anyOf": [{"type": "string"}, {"type": "boolean"}]}, old=True) == {"type": "STRING"}
    assert reduced({"type": "string", "pattern": "a+"}, old=True) == {"type": "STRING"}


def test_an_object_that_came_as_text_is_an_object_again() -> None:
    schema = {
        "type": "object",
        "properties": {"extra": {"type": "object"}, "list": {"type": "array", "items": {"type": "object"}}},
    }
    got = restored({"extra": '{"a": 1}', "list": ['{"b": 2}', "no"], "other": "{}"}, schema)
    assert got == {"extra": {"a": 1}, "list": [{"b": 2}, "no"], "other": "{}"}


# -- models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "amount", "config"),
    [
        ("gemini-3.5-flash-lite", "least", {"thinkingLevel": "minimal"}),
        ("gemini-3.8-flash", "least", {"thinkingLevel": "low"}),
        ("gemini-flash-latest", "high", {"thinkingLevel": "high"}),
        ("gemini-2.5-flash", "least", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "least", {"thinkingBudget": 128}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),
        ("gemini-2.0-flash", "least", None),
        ("gemma-4-31b-it", "least", None),
        ("gemini-3.8-flash", "default", None),
    ],
)
def test_how_much_a_model_is_told_to_think(model: str, amount: str, config: dict[str, Any] | None) -> None:
    assert wire.thinking(model, amount) == config


# -- answers --------------------------------------------------------------------------------------------


def read(*chunks: wire.Chunk) -> list[Any]:
    answer = wire.Answer("[llm] gemini", wire.Toolset(()))
    pieces: list[Any] = [piece for chunk in chunks for piece in answer.take(chunk)]
    return [*pieces, answer.end()]


def test_usage_is_what_the_last_chunk_counted() -> None:
    first = wire.Chunk(["Hi"], input_tokens=5, output_tokens=1)
    assert read(first, wire.Chunk(finish="STOP", output_tokens=9)) == ["Hi", Usage(5, 9)]


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "LANGUAGE"])
def test_an_answer_that_is_withheld_is_told_to_the_user_as_such(reason: str) -> None:
    assert read(wire.Chunk(finish=reason, message="because"))[0] == sorry("", False)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "SOMETHING_NEW"])
def test_an_answer_that_broke_is_worth_another_try(reason: str) -> None:
    with pytest.raises(LlmError, match=reason) as caught:
        read(wire.Chunk(["Hm"], finish=reason))
    assert caught.value.kind is Failure.TRANSIENT


def test_a_long_answer_is_cut_short_but_one_that_never_began_is_an_error() -> None:
    assert read(wire.Chunk(["Hi"], finish="MAX_TOKENS")) == ["Hi", None]
    with pytest.raises(LlmError, match="max_output_tokens"):
        read(wire.Chunk(finish="MAX_TOKENS"))


def test_a_stream_that_just_ends_has_failed() -> None:
    with pytest.raises(LlmError, match="before it was done"):
        read(wire.Chunk(["Hi"]))


def test_refusals_are_read_from_googles_own_words() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}]
    quota = {"error": {"code": 429, "message": "You exceeded your quota", "details": details}}
    error = wire.refused("gemini", 429, [quota], {})
    assert (error.kind, error.retry_after_s) == (Failure.QUOTA, 37.5)
    assert wire.refused("gemini", 502, "<html>", {}).kind is Failure.TRANSIENT
    assert "[llm.gemini] model" in str(wire.refused("gemini", 404, {"error": {"message": "no"}}, {}))
    assert wire.refused("gemini", 403, {"error": {"message": "no"}}, {}).kind is Failure.AUTH
