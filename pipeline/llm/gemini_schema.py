"""JSON schemas in the words that Gemini's `Schema` has: a subset of OpenAPI 3.0 in capitals.

What it has no word for is translated where the meaning can be kept (`const`, `$ref`, `allOf`, `oneOf`, a type
with "null", numbers in `enum`) and left out where not (`additionalProperties`, `not`, …): a schema that the
API refuses would make every request fail.
https://ai.google.dev/api/caching#Schema
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

DEEPEST = 12
"""Levels of nesting; deeper, and where a schema contains itself, anything goes."""
TYPES = {
    "string": "STRING",
    "number": "NUMBER",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "array": "ARRAY",
    "object": "OBJECT",
}
FORMATS = {"STRING": {"date-time"}, "NUMBER": {"float", "double"}, "INTEGER": {"int32", "int64"}}
"""The formats that are accepted; any other is refused with 400."""
_OLD = {"ARRAY": ("minItems", "maxItems")}
_NEW = {
    "STRING": ("minLength", "maxLength", "pattern"),
    "NUMBER": ("minimum", "maximum"),
    "INTEGER": ("minimum", "maximum"),
    "ARRAY": ("minItems", "maxItems"),
}

Schema = Mapping[str, Any]


def reduced(schema: Schema, *, old: bool = False) -> dict[str, Any]:
    """The schema in Gemini's words; `old`: in those of 2024, which google-generativeai is made of."""
    return _Reduction(schema, old).of(schema, 0)


def restored(value: Any, schema: Schema, root: Schema | None = None) -> Any:
    """An argument as its schema wants it: an object without named properties is asked for as JSON text."""
    root = schema if root is None else root
    schema = _resolved(schema, root)
    if isinstance(value, str) and _type_of(schema) == "object":
        try:
            decoded = json.loads(value)
        except ValueError:
            return value
        return decoded if isinstance(decoded, dict) else value
    if isinstance(value, dict):
        known = schema.get("properties") or {}
        return {k: restored(v, known[k], root) if k in known else v for k, v in value.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [restored(item, schema["items"], root) for item in value]
    return value


class _Reduction:
    def __init__(self, root: Schema, old: bool) -> None:
        self._root, self._old = root, old

    def of(self, schema: Any, depth: int) -> dict[str, Any]:
        if not isinstance(schema, Mapping) or depth > DEEPEST:
            return {"type": "STRING"}
        schema = _resolved(schema, self._root)
        options = [o for o in (schema.get("anyOf") or schema.get("oneOf") or ()) if isinstance(o, Mapping)]
        if options and "properties" not in schema:
            return self._choice(schema, options, depth)
        kind = TYPES.get(_type_of(schema), "STRING")
        out: dict[str, Any] = {"type": kind, **self._notes(schema)}
        if schema.get("format") in FORMATS.get(kind, ()):
            out["format"] = schema["format"]
        for word in (_OLD if self._old else _NEW).get(kind, ()):
            if word in schema:
                out[word] = schema[word]
        if kind == "ARRAY":
            out["items"] = self.of(schema.get("items"), depth + 1)
        elif kind == "OBJECT":
            self._object(out, schema, depth)
        else:
            _limit(out, schema)
        return out

    def _choice(self, schema: Schema, options: Sequence[Schema], depth: int) -> dict[str, Any]:
        real = [o for o in options if _type_of(_resolved(o, self._root)) != "null"]
        notes = self._notes(schema)
        if len(real) < len(options):
            notes["nullable"] = True
        if not real:
            return {"type": "STRING", **notes}
        if len(real) == 1 or self._old:  # 2024 had no choice: the first stands for all
            return {**self.of(real[0], depth + 1), **notes}
        return {"anyOf": [self.of(option, depth + 1) for option in real], **notes}

    def _notes(self, schema: Schema) -> dict[str, Any]:
        notes: dict[str, Any] = {}
        if text := str(schema.get("description") or schema.get("title") or ""):
            notes["description"] = text
        kinds = schema.get("type")
        if schema.get("nullable") is True or (isinstance(kinds, list) and "null" in kinds):
            notes["nullable"] = True
        return notes

    def _object(self, out: dict[str, Any], schema: Schema, depth: int) -> None:
        properties = {str(k): self.of(v, depth + 1) for k, v in (schema.get("properties") or {}).items()}
        if not properties:  # refused: "should be non-empty for OBJECT type"
            out["type"] = "STRING"
            out["description"] = f"{out.get('description', '')} (a JSON object)".strip()
            return
        out["properties"] = properties
        if required := [k for k in schema.get("required") or () if k in properties]:
            out["required"] = required


def _limit(out: dict[str, Any], schema: Schema) -> None:
    """`enum` and `const`: only texts can be listed; of other values the description tells."""
    values = [schema["const"]] if "const" in schema else list(schema.get("enum") or ())
    if None in values:
        out["nullable"] = True
    values = [v for v in values if v is not None]
    if not values:
        return
    if out["type"] == "STRING" and all(isinstance(v, str) and v for v in values):
        out["enum"], out["format"] = values, "enum"
        return
    listed = ", ".join(json.dumps(v, ensure_ascii=False) for v in values)
    out["description"] = f"{out.get('description', '')} (one of: {listed})".strip()


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema with `$ref` followed and `allOf` merged in."""
    for _ in range(DEEPEST):
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            break
        beside = {k: v for k, v in schema.items() if k != "$ref"}
        schema = {**_pointed(root, ref), **beside}
    parts = schema.get("allOf")
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        return schema
    merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
    for part in parts:
        part = _resolved(part, root) if isinstance(part, Mapping) and part is not schema else {}
        properties = {**part.get("properties", {}), **merged.get("properties", {})}
        required = [*part.get("required", ()), *merged.get("required", ())]
        merged = {**part, **merged}
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def _pointed(root: Schema, ref: str) -> Schema:
    """What a local pointer such as "#/$defs/Time" points at; nothing for any other."""
    found: Any = root
    for step in ref.removeprefix("#").split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) and ref.startswith("#/") else {}


def _type_of(schema: Schema) -> str:
    """The JSON type, guessed where it is not said."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    values = [schema["const"]] if "const" in schema else schema.get("enum") or ()
    value = next((v for v in values if v is not None), "")
    return {bool: "boolean", int: "integer", float: "number"}.get(type(value), "string")
