"""Makes an inner value of an ONNX model an output of it, without the `onnx` package.

A voice computes how long each phoneme lasts, and published voices keep it to themselves. ONNX is Protocol
Buffers, and of those a message followed by another of its kind is both merged (protobuf.dev, "Last One
Wins"): a file with a few bytes appended is the same model with one more node and one more output.
Field numbers: onnx.proto3 of ONNX 1.17 (ModelProto.graph 7; GraphProto.node 1, .output 12; NodeProto.input 1,
.output 2, .op_type 4; ValueInfoProto.name 1).
"""

from collections.abc import Iterator

_BYTES, _VARINT, _FIXED32, _FIXED64 = 2, 0, 5, 1


def with_output(model: bytes, op_type: str, name: str) -> bytes:
    """The model with the value of its only `op_type` node as a last output called `name`.

    Unchanged when it has no such node, or several (then nobody knows which one is meant), or that name.
    """
    found, has_it = set[str](), False
    for op, values in nodes(model):
        found |= set(values) if op == op_type else set()
        has_it = has_it or name in values
    if len(found) != 1 or has_it:
        return model
    node = field(1, found.pop().encode()) + field(2, name.encode()) + field(4, b"Identity")
    return model + field(7, field(1, node) + field(12, field(1, name.encode())))


def nodes(model: bytes) -> Iterator[tuple[str, list[str]]]:
    """(operator, names of its outputs) of each node of the graph; nothing for what is not a model."""
    data = memoryview(model)
    try:
        for number, graph in _fields(data):
            if number != 7:
                continue
            for inner, node in _fields(graph):
                if inner == 1:
                    parts = list(_fields(node))
                    op = "".join(str(value, "utf-8") for n, value in parts if n == 4)
                    yield op, [str(value, "utf-8") for n, value in parts if n == 2]
    except (IndexError, UnicodeDecodeError):
        return  # whoever loads it next says what is wrong with it


def field(number: int, value: bytes | int) -> bytes:
    """A field as it is written: a string or message, or a whole number."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The strings and messages among the fields; numbers are stepped over."""
    at = 0
    while at < len(data):
        key, at = _read(data, at)
        match key & 7:
            case 2:
                length, at = _read(data, at)
                if at + length > len(data):
                    raise IndexError
                yield key >> 3, data[at : at + length]
                at += length
            case 0:
                _, at = _read(data, at)
            case 5:
                at += 4
            case 1:
                at += 8
            case _:
                raise IndexError


def _read(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
