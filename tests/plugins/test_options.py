"""Settings of plug-ins: what is wrong gets one line that names the key."""

import pytest

from pipeline import plugins
from pipeline.plugins import PluginError


@pytest.mark.parametrize(
    ("kind", "key", "value", "says"),
    [
        ("tts", "speed", 0, "speed = 0 must be more than 0"),
        ("tts", "ms_per_char", -4, "ms_per_char = -4 must be 0 or more"),
        ("stt", "final_ms", -5, "final_ms = -5 must be 0 or more"),
        ("llm", "token_ms", -3, "token_ms = -3 must be 0 or more"),
        ("llm", "token_ms", "fast", "token_ms = 'fast' must be a whole number"),
        ("llm", "tool_arguments", 3, "tool_arguments = 3 must be a table"),
        ("stt", "final", 5, "final is not a key of this plug-in; did you mean 'final_ms'?"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_the_key(kind: str, key: str, value: object, says: str) -> None:
    with pytest.raises(PluginError) as error:
        plugins.options(kind, "scripted", {key: value})
    assert str(error.value) == f"[{kind}.scripted] {says}"
