"""`parley check` and the start of the server, with vendors: one helpful line for whatever is wrong."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.contracts import MissingKey
from server.app import running
from server.check import check
from server.config import load
from server.terminal import Terminal
from tests.support import llm_cases, stt_cases, tts_cases
from tests.support.vendors.case import VendorCase
from tests.support.vendors.place import KEY

pytestmark = pytest.mark.usefixtures("no_leaks")

VENDORS: Mapping[tuple[str, str], VendorCase] = {
    (kind, name): case
    for kind, cases in (
        ("stt", stt_cases.VENDORS),
        ("llm", llm_cases.VENDORS),
        ("tts", tts_cases.VENDORS),
    )
    for name, case in cases.items()
    if name == case.plugin  # not its variants
}
UNKNOWN: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "stt": stt_cases.UNKNOWN_MODEL,
    "llm": {name: {"model": "no-such-model"} for name in llm_cases.VENDORS},
    "tts": tts_cases.UNKNOWN_MODEL,
}
SCRIPTED = {f"PARLEY_{kind}__PLUGIN": "scripted" for kind in ("STT", "LLM", "TTS")}


async def checked(
    folder: Path, case: VendorCase, key: str, options: Mapping[str, object]
) -> tuple[bool, str]:
    """Whether the check was content, and what it says of the plug-in."""
    config_file = folder / "config.toml"
    section = "\n".join(f"{name} = {_toml(value)}" for name, value in options.items())
    config_file.write_text(
        f'[{case.kind}]\nplugin = ["{case.plugin}"]\n[{case.kind}.{case.plugin}]\n{section}\n', "utf-8"
    )
    others = {k: v for k, v in SCRIPTED.items() if k != f"PARLEY_{case.kind.upper()}__PLUGIN"}
    keys = {case.variable: key} if key else {}
    config = load(str(config_file), {**others, **keys, "PARLEY_SERVER__PORT": "0"}, folder)
    out = io.StringIO()
    good = await check(config, Terminal(out))
    said = [line for line in out.getvalue().splitlines() if case.plugin in line]
    assert len(said) == 1, out.getvalue()
    assert KEY not in out.getvalue()
    return good, said[0]


def _toml(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value}"
        if isinstance(value, int)
        else f'"{value}"'
    )


@pytest.mark.parametrize(("kind", "name"), sorted(VENDORS))
async def test_the_right_key_and_model_are_ready(kind: str, name: str, tmp_path: Path) -> None:
    case = VENDORS[kind, name]
    async with case.fake().serving() as vendor:
        good, line = await checked(tmp_path, case, KEY, {**case.options(vendor), **case.more})
    assert good, line
    assert line.endswith("ready")


@pytest.mark.parametrize(("kind", "name"), sorted(VENDORS))
async def test_a_wrong_key_is_told_with_its_variable(kind: str, name: str, tmp_path: Path) -> None:
    case = VENDORS[kind, name]
    async with case.fake().serving() as vendor:
        good, line = await checked(tmp_path, case, "a-wrong-key", {**case.options(vendor), **case.more})
    assert not good
    assert case.variable in line
    assert "a-wrong-key" not in line


@pytest.mark.parametrize(("kind", "name"), sorted(VENDORS))
async def test_an_unknown_model_is_told_with_its_setting(kind: str, name: str, tmp_path: Path) -> None:
    case, unknown = VENDORS[kind, name], UNKNOWN[kind].get(name)
    if unknown is None:
        pytest.skip("nothing that is free to ask tells this vendor's models")
    async with case.fake().serving() as vendor:
        good, line = await checked(tmp_path, case, KEY, {**case.options(vendor), **case.more, **unknown})
    assert not good
    assert any(f"[{kind}.{case.plugin}] {option}" in line for option in unknown)


@pytest.mark.parametrize(("kind", "name"), sorted(VENDORS))
async def test_a_vendor_that_cannot_be_reached_is_a_note(kind: str, name: str, tmp_path: Path) -> None:
    case = VENDORS[kind, name]
    async with case.fake().serving() as vendor:
        options = {**case.options(vendor), **case.more}
    good, line = await checked(tmp_path, case, KEY, options)
    assert good, line
    assert "does not answer now" in line


@pytest.mark.parametrize(("kind", "name"), sorted(VENDORS))
async def test_a_missing_key_stops_the_start_whoever_else_could_work(
    kind: str, name: str, tmp_path: Path
) -> None:
    case = VENDORS[kind, name]
    chain = {f"PARLEY_{kind.upper()}__PLUGIN": f'["{case.plugin}", "scripted"]'}
    config = load(None, {**SCRIPTED, **chain}, tmp_path)
    with pytest.raises(MissingKey, match=case.variable):
        async with running(config):
            pass


PACKAGES = {
    ("llm", "openai"): "openai",
    ("llm", "grok"): "openai",
    ("llm", "anthropic"): "anthropic",
    ("llm", "gemini"): "google.genai",
    ("llm", "gemini-classic"): "google.generativeai",
    ("stt", "assemblyai"): "assemblyai",
    ("tts", "openai"): "openai",
    ("tts", "elevenlabs"): "elevenlabs",
}


@pytest.mark.parametrize(("kind", "name"), sorted(PACKAGES))
async def test_a_missing_package_is_told_with_the_command_that_installs_it(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = VENDORS[kind, name]
    missing = PACKAGES[kind, name]
    for module in [m for m in sys.modules if m == missing or m.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    async with case.fake().serving() as vendor:
        good, line = await checked(tmp_path, case, KEY, {**case.options(vendor), **case.more})
    assert not good
    extra = "openai" if missing == "openai" else name
    assert f"pip install 'parley[{extra}]'" in line
