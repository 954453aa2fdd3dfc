"""The configuration: what lies over what, and what each mistake is told."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import Config, ConfigError, load
from server.environment import read_dotenv
from server.sections import TokenPrice


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def configured(folder: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> Config:
    (folder / "config.toml").write_text(toml)
    return load(None, environ or {}, folder)


def complaint(folder: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(folder, toml, environ)
    line = str(caught.value)
    assert "\n" not in line
    return line


# -- layers ---------------------------------------------------------------------------------------------


def test_without_anything_the_shipped_defaults_hold(folder: Path) -> None:
    config = load(None, {}, folder)
    assert config == Config(keys={}, cwd=folder)
    assert config.source == "the shipped defaults"
    assert config.stt.plugin == ("faster-whisper", "pocketsphinx")
    assert (config.llm.timeout_ms, config.llm.stall_ms) == (8000, 5000)


def test_a_file_is_laid_over_the_defaults(folder: Path) -> None:
    config = configured(folder, "[server]\nport = 9000\n")
    assert (config.server.port, config.server.host) == (9000, "127.0.0.1")
    assert config.source == "config.toml"


def test_the_environment_is_laid_over_the_file_and_dotenv_under_the_environment(folder: Path) -> None:
    (folder / ".env").write_text(
        "PARLEY_SERVER__PORT=2\nPARLEY_SERVER__HOST=0.0.0.0\nOPENAI_API_KEY='k1' # mine\n"
    )
    config = configured(folder, "[server]\nport = 1\nhost = 'h'\n", {"PARLEY_SERVER__PORT": "3"})
    assert (config.server.port, config.server.host) == (3, "0.0.0.0")
    assert config.keys["OPENAI_API_KEY"] == "k1"


def test_a_file_can_be_named(folder: Path) -> None:
    (folder / "other.toml").write_text("[server]\nport = 9001\n")
    (folder / "config.toml").write_text("[server]\nport = 9000\n")
    config = load("other.toml", {}, folder)
    assert (config.server.port, config.source) == (9001, "other.toml")
    assert load(str(folder / "other.toml"), {}, Path("/")).server.port == 9001


def test_paths_are_seen_from_the_working_folder(folder: Path) -> None:
    config = load(None, {"PARLEY_STORAGE__AUDIO_DIR": "/elsewhere"}, folder)
    assert config.path(config.storage.conversations_dir) == folder / "conversations"
    assert config.path(config.storage.audio_dir) == Path("/elsewhere")


def test_secrets_do_not_show_in_the_representation(folder: Path) -> None:
    assert "sk-123" not in repr(load(None, {"OPENAI_API_KEY": "sk-123"}, folder))


# -- values in the environment --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("PARLEY_STT__PLUGIN", "scripted", "stt", "plugin", ("scripted",)),
        ("PARLEY_STT__PLUGIN", '["scripted", "pocketsphinx"]', "stt", "plugin", ("scripted", "pocketsphinx")),
        ("PARLEY_TOOLS__ENABLED", "[]", "tools", "enabled", ()),
        ("PARLEY_TOOLS__ENABLED", "", "tools", "enabled", ()),
        ("PARLEY_ACCOUNTS__GUESTS", "false", "accounts", "guests", False),
        ("PARLEY_ACCOUNTS__GUESTS", "1", "accounts", "guests", True),
        ("PARLEY_ACCOUNTS__SESSION_DAYS", "0.5", "accounts", "session_days", 0.5),
        ("PARLEY_ACCOUNTS__SESSION_DAYS", "7", "accounts", "session_days", 7.0),
        ("PARLEY_PIPELINE__GREETING", "", "pipeline", "greeting", ""),
        ("PARLEY_PIPELINE__GREETING", "true", "pipeline", "greeting", "true"),
        ("PARLEY_PIPELINE__GREETING", 'Say "hi", 2 of [you]', "pipeline", "greeting", 'Say "hi", 2 of [you]'),
        ("PARLEY_VAD__MODE", "3", "vad", "mode", 3),
        ("PARLEY_PRICES__STT", '{"openai/whisper-1" = 0.006}', "prices", "stt", {"openai/whisper-1": 0.006}),
    ],
)
def test_a_variable_is_read_as_its_keys_type(
    folder: Path, variable: str, text: str, section: str, key: str, value: Any
) -> None:
    assert getattr(getattr(load(None, {variable: text}, folder), section), key) == value


def test_options_of_plugins_can_be_set_too(folder: Path) -> None:
    environ = {"PARLEY_STT__SCRIPTED__FINAL_MS": "50", "PARLEY_STT__SCRIPTED__TEXT": "yes, please"}
    config = configured(folder, "[stt.scripted]\nfinal_ms = 10\n", environ)
    assert config.stt.options_of("scripted") == {"final_ms": 50, "text": ["yes, please"]}
    assert config.stt.options_of("pocketsphinx") == {}


def test_a_hyphen_in_a_plugins_name_is_an_underscore_in_its_variable(folder: Path) -> None:
    config = load(None, {"PARLEY_STT__FASTER_WHISPER__MODEL": "tiny"}, folder)
    assert config.stt.options_of("faster-whisper") == {"model": "tiny"}


def test_the_mode_of_vad_is_webrtcs(folder: Path) -> None:
    config = configured(folder, "[vad]\nmode = 3\n")
    assert config.vad.options_of("webrtc") == {"mode": 3}
    assert config.vad.options_of("silero") == {}


def test_the_secret_key_and_strangers_variables_are_no_settings(folder: Path) -> None:
    environ = {
        "PARLEY_SECRET_KEY": "x" * 32,
        "PARLEY_TOKEN": "t",
        "PARLEY_REQUIRE_BROWSER": "1",
        "SERVER__PORT": "1",
    }
    assert load(None, environ, folder).server.port == 8000


def test_prices_are_read(folder: Path) -> None:
    prices = configured(folder, '[prices.llm]\n"openai/gpt" = { input = 1, output = 2.5 }\n').prices
    assert prices.llm == {"openai/gpt": TokenPrice(1.0, 2.5)}


# -- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        pytest.param("[servr]", "config.toml: [servr] is not a section; did you mean 'server'?"),
        pytest.param("server = 1", "config.toml: server is a section; write [server] on its own line"),
        pytest.param("[server]\nprot = 1", "config.toml: [server] prot is not a key; did you mean 'port'?"),
        pytest.param(
            "[llm]\nallowed_origins = []",
            "config.toml: [llm] allowed_origins is not a key; it belongs in [server]",
        ),
        pytest.param("[server]\nport = '8000'", "config.toml: [server] port = '8000' must be a whole number"),
        pytest.param("[server]\nport = 70000", "config.toml: [server] port = 70000 must be from 0 to 65535"),
        pytest.param(
            "[server]\nmax_sessions = 0", "config.toml: [server] max_sessions = 0 must be 1 or more"
        ),
        pytest.param("[accounts]\nguests = 1", "config.toml: [accounts] guests = 1 must be true or false"),
        pytest.param("[vad]\nmode = 4", "config.toml: [vad] mode = 4 must be from 0 to 3"),
        pytest.param(
            "[pipeline]\nmode = 'open'",
            "config.toml: [pipeline] mode = 'open' must be one of 'open-mic', 'hold-to-talk'",
        ),
        pytest.param(
            "[llm]\nplugin = 'rulez'", "config.toml: [llm] plugin 'rulez' is unknown; did you mean 'rules'?"
        ),
        pytest.param(
            "[tools]\nenabled = ['clok']",
            "config.toml: [tools] plugin 'clok' is unknown; did you mean 'clock'?",
        ),
        pytest.param(
            "[stt.scripted]\nfinal = 1",
            "config.toml: [stt.scripted] final is not a key of this plug-in; did you mean 'final_ms'?",
        ),
        pytest.param(
            "[stt.scripted]\nfinal_ms = 'x'",
            "config.toml: [stt.scripted] final_ms = 'x' must be a whole number",
        ),
        pytest.param(
            "[llm.openai]\napi_key = 'sk-1'",
            "config.toml: [llm.openai] api_key is a secret and is not read from here; "
            "set OPENAI_API_KEY in the environment or .env",
        ),
        pytest.param(
            "DEEPGRAM_API_KEY = 'sk-1'",
            "config.toml: DEEPGRAM_API_KEY is a secret and is not read from here; "
            "set DEEPGRAM_API_KEY in the environment or .env",
        ),
        pytest.param(
            "[server]\nsecret_key = 'x'",
            "config.toml: [server] secret_key is a secret and is not read from here; "
            "set PARLEY_SECRET_KEY in the environment or .env",
        ),
        pytest.param(
            "[vad]\nstop_ms = 2000\n[turn]\nmax_silence_ms = 1000",
            "config.toml: [turn] max_silence_ms = 1000 must be at least [vad] stop_ms = 2000",
        ),
        pytest.param(
            "[server]\npublic_url = 'talk.example.org'",
            "config.toml: [server] public_url = 'talk.example.org' must be a URL, "
            'such as "https://talk.example.org"',
        ),
        pytest.param(
            "[server]\nallowed_origins = 'https://example.org/'",
            "config.toml: [server] allowed_origins = ('https://example.org/',) must be "
            'origins without a path, such as ["https://example.org"]',
        ),
        pytest.param(
            "[server]\ntrusted_proxies = ['proxy']",
            "config.toml: [server] trusted_proxies = ('proxy',) must be addresses or networks, "
            'such as ["10.0.0.0/8"]',
        ),
        pytest.param(
            "[storage]\nurl = 'mysql://me:hunter2@db/x'",
            'config.toml: [storage] url must be a database URL, such as "sqlite+aiosqlite:///parley.db"',
        ),
        pytest.param(
            "[prices.llm]\nx = 3",
            "config.toml: [prices] llm.x = 3 must be { input = 0.15, output = 0.60 }, per million tokens",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_line(folder: Path, toml: str, line: str) -> None:
    assert complaint(folder, toml) == line


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        pytest.param("PARLEY_SERVER__PORT", "http", "PARLEY_SERVER__PORT = 'http' must be a whole number"),
        pytest.param("PARLEY_SERVER__PORT", "1.5", "PARLEY_SERVER__PORT = 1.5 must be a whole number"),
        pytest.param("PARLEY_SERVER__PORT", "-1", "PARLEY_SERVER__PORT = -1 must be from 0 to 65535"),
        pytest.param(
            "PARLEY_SERVER__PROT",
            "1",
            "PARLEY_SERVER__PROT: [server] has no key 'prot'; did you mean 'port'?",
        ),
        pytest.param(
            "PARLEY_SRVER__PORT",
            "1",
            "PARLEY_SRVER__PORT: there is no section 'srver'; did you mean 'server'?",
        ),
        pytest.param(
            "PARLEY_SERVER_PORT",
            "1",
            "PARLEY_SERVER_PORT has one underscore too few; write PARLEY_SERVER__PORT",
        ),
        pytest.param(
            "PARLEY_SERVER__PORT__X",
            "1",
            "PARLEY_SERVER__PORT__X is not the name of a key; write PARLEY_<SECTION>__<KEY>",
        ),
        pytest.param(
            "PARLEY_ACCOUNTS__GUESTS", "maybe", "PARLEY_ACCOUNTS__GUESTS = 'maybe' must be true or false"
        ),
        pytest.param(
            "PARLEY_STT__PLUGIN",
            "scripted,pocketsphinx",
            "PARLEY_STT__PLUGIN = 'scripted,pocketsphinx' must be a list; "
            'write ["scripted", "pocketsphinx"]',
        ),
        pytest.param(
            "PARLEY_STT__PLUGIN",
            "[scripted]",
            'PARLEY_STT__PLUGIN = \'[scripted]\' must be a list, such as ["one", "two"]',
        ),
        pytest.param(
            "PARLEY_STT__PLUGIN",
            "scriptd",
            "PARLEY_STT__PLUGIN: [stt] plugin 'scriptd' is unknown; did you mean 'scripted'?",
        ),
        pytest.param(
            "PARLEY_STT__SCRIPTD__TEXT",
            "x",
            "PARLEY_STT__SCRIPTD__TEXT: there is no plug-in 'scriptd' for stt; did you mean 'scripted'?",
        ),
        pytest.param(
            "PARLEY_STT__SCRIPTED__FINAL",
            "1",
            "PARLEY_STT__SCRIPTED__FINAL: [stt.scripted] has no key 'final'; did you mean 'final_ms'?",
        ),
        pytest.param(
            "PARLEY_STT__SCRIPTED__FINAL_MS",
            "soon",
            "PARLEY_STT__SCRIPTED__FINAL_MS = 'soon' must be a whole number",
        ),
        pytest.param(
            "PARLEY_PIPELINE__LANGUAGE",
            "english!",
            'PARLEY_PIPELINE__LANGUAGE = \'english!\' must be a language tag, such as "en" or "pt-BR"',
        ),
    ],
)
def test_a_mistake_in_the_environment_is_told_in_one_line(
    folder: Path, variable: str, text: str, line: str
) -> None:
    assert complaint(folder, environ={variable: text}) == line


def test_a_mistake_in_dotenv_names_dotenv(folder: Path) -> None:
    (folder / ".env").write_text("PARLEY_SERVER__PORT=http\n")
    assert complaint(folder) == ".env: PARLEY_SERVER__PORT = 'http' must be a whole number"


def test_a_chain_without_plugins_is_refused(folder: Path) -> None:
    assert complaint(folder, "[stt]\nplugin = []").startswith(
        "config.toml: [stt] plugin = () names no plug-in; write one of: "
    )


def test_a_stage_without_a_stall_time_has_no_such_key(folder: Path) -> None:
    assert "stall_ms is not a key" in complaint(folder, "[stt]\nstall_ms = 1")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"[server", "config.toml is not valid TOML: Expected ']' at the end of a table declaration"),
        (b"\xff\xfe", "config.toml cannot be read: it is not UTF-8 text"),
    ],
)
def test_an_unreadable_file_is_named(folder: Path, content: bytes, line: str) -> None:
    (folder / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(None, {}, folder)
    assert str(caught.value).startswith(line)


def test_a_named_file_must_exist(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^nowhere\.toml does not exist"):
        load("nowhere.toml", {}, folder)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(".", {}, folder)


# -- the three silences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "silences"),
    [
        ("", (300, 500, 1500)),
        ("[vad]\nstop_ms = 200", (200, 200, 1500)),
        ("[vad]\nstop_ms = 2000", (300, 2000, 2000)),
        ("[turn]\nmin_silence_ms = 700", (700, 700, 1500)),
        ("[turn]\nmax_silence_ms = 200", (200, 200, 200)),
        ("[turn]\nmin_silence_ms = 100\nmax_silence_ms = 400", (100, 400, 400)),
    ],
)
def test_setting_one_silence_moves_the_ones_left_alone(
    folder: Path, toml: str, silences: tuple[int, int, int]
) -> None:
    config = configured(folder, toml)
    assert (config.turn.min_silence_ms, config.vad.stop_ms, config.turn.max_silence_ms) == silences


# -- .env -----------------------------------------------------------------------------------------------


def test_dotenv_lines_are_read_as_people_write_them() -> None:
    text = "\n".join(
        [
            "\ufeff# a comment",
            "",
            "A=1",
            "export B = two words # a remark",
            'C="with # and \\"quotes\\" and \\n"',
            "D='as $it \\n is' # remark",
            "E=",
            "F=a#b$c",
            "G=# only a remark",
        ]
    )
    assert read_dotenv(text) == {
        "A": "1",
        "B": "two words",
        "C": 'with # and "quotes" and \n',
        "D": "as $it \\n is",
        "E": "",
        "F": "a#b$c",
        "G": "",
    }


@pytest.mark.parametrize("line", ["sk-secret", "A B=1", "=x", "A='x", 'A="x" y'])
def test_a_bad_dotenv_line_is_named_but_not_shown(folder: Path, line: str) -> None:
    (folder / ".env").write_text(f"\n{line}\n")
    text = complaint(folder)
    assert text.startswith(".env line 2 ")
    assert "secret" not in text


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
ONE_LINE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="'"))


@given(st.dictionaries(NAMES, ONE_LINE))
def test_any_value_in_single_quotes_comes_back_as_it_is(variables: dict[str, str]) -> None:
    assert read_dotenv("\n".join(f"{k}='{v}'" for k, v in variables.items())) == variables


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_makes_reading_crash(text: str) -> None:
    with suppress(ConfigError):
        assert all(isinstance(value, str) for value in read_dotenv(text).values())


# -- one model for speech to speech ------------------------------------------------------------------------


def test_one_model_can_be_named_in_place_of_the_stages_and_takes_its_own_keys(folder: Path) -> None:
    config = configured(
        folder,
        '[pipeline]\nengine = "gemini-live"\n[talk]\nstall_ms = 1\n[talk.gemini-live]\nvoice = "Kore"\n',
    )
    assert config.talks_by_itself
    assert config.talk.options_of("gemini-live") == {"voice": "Kore"}
    assert not Config().talks_by_itself


def test_a_model_that_is_not_there_is_told_what_is_meant(folder: Path) -> None:
    line = complaint(folder, '[pipeline]\nengine = "openai-realtme"\n')
    assert line == (
        "config.toml: [pipeline] engine = 'openai-realtme' is unknown; did you mean 'openai-realtime'?"
    )


def test_a_wrong_key_of_a_model_is_named(folder: Path) -> None:
    assert "[talk.gemini-live] voise" in complaint(folder, '[talk.gemini-live]\nvoise = "Kore"\n')
