"""The command `parley`. Each command parses, calls one function, and turns its errors into one line."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pipeline.contracts import ParleyError
from server.config import Config, ConfigError, load
from server.terminal import Terminal

# Commands import what they run when they run it: `parley --help` needs no server.

EXAMPLES = """\
examples:
  parley serve                                  on http://127.0.0.1:8000, with config.toml if there is one
  parley serve --host 0.0.0.0 --port 9000
  PARLEY_STT__PLUGIN=pocketsphinx parley check  what would run here, and what is missing
  parley talk question.wav --out answer.wav     speak a recording into the running server
  parley talk --text "What time is it?"
  parley models fetch small                     download a model or a voice

Every key of config.toml can be set in the environment: PARLEY_<SECTION>__<KEY>. API keys come only from the
environment or from a file .env."""

TALK_EXAMPLES = """\
examples:
  parley talk question.wav
  parley talk question.wav --url wss://talk.example.org --token "$TOKEN" --out answer.wav
  parley talk question.wav --mode hold-to-talk --json
  parley talk --text "Book me a slot on Monday"

The recording may have any rate and any number of channels. The exit status is 0 only if a reply was heard."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    args = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        return command(args)
    except ParleyError as error:
        print(f"parley: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell expects of a program that Ctrl-C ended
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); nothing more can be said, also not while closing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="parley",
        description="A self-hosted, real-time voice-agent server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"parley {version('parley')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_check(commands)
    _add_talk(commands)
    _add_models(commands)
    return top


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", help="read this file instead of ./config.toml")


def _config_of(args: argparse.Namespace) -> Config:
    return load(args.config, os.environ, Path.cwd())


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least} to {most}")
        return int(text)

    return read


# -- serve ----------------------------------------------------------------------------------------------


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="run the server", description="Run the server until Ctrl-C.")
    _add_config(serve)
    serve.add_argument("--host", metavar="H", help="address to listen on (default: [server] host)")
    serve.add_argument("--port", metavar="P", type=_whole(0, 65535), help="port (default: [server] port)")
    serve.add_argument(
        "--workers", metavar="N", type=_whole(1, 256), default=1, help="server processes sharing the port"
    )
    serve.set_defaults(command=_serve)


def _serve(args: argparse.Namespace) -> int:
    config = _config_of(args)
    server = config.server
    if args.host is not None:
        if not args.host:
            raise ConfigError("--host must be an address, such as 127.0.0.1")
        server = replace(server, host=args.host)
    if args.port is not None:
        server = replace(server, port=args.port)
    gc.disable()  # what is imported stays: looking for garbage in it would be a sixth of the start
    try:
        from server.serving import run
    finally:
        gc.enable()
    return run(replace(config, server=server), workers=args.workers)


# -- check ----------------------------------------------------------------------------------------------


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "check",
        help="say what would run here and what is missing",
        description="Load the configuration, try every plug-in it names, look at folders, database and port. "
        "The exit status is 1 when the server could not do its work.",
    )
    _add_config(check)
    check.set_defaults(command=_check)


def _check(args: argparse.Namespace) -> int:
    from server.check import check

    return 0 if asyncio.run(check(_config_of(args), Terminal(sys.stdout))) else 1


# -- talk -----------------------------------------------------------------------------------------------


def _add_talk(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    talk = commands.add_parser(
        "talk",
        help="speak a recording into a running server",
        description="Play a recording into a running server in real time; show the transcript, what was "
        "answered and where the time went; write the spoken reply to a file.",
        epilog=TALK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    talk.add_argument("wav", metavar="WAV", nargs="?", type=Path, help="the recording")
    talk.add_argument("--url", default="ws://127.0.0.1:8000", help="the server (default: %(default)s)")
    talk.add_argument("--out", type=Path, default=Path("reply.wav"), help="the reply (default: %(default)s)")
    talk.add_argument("--text", default="", metavar="MESSAGE", help="a typed message to begin with")
    talk.add_argument("--mode", choices=("open-mic", "hold-to-talk"), default="open-mic")
    talk.add_argument("--voice", default="", help="the agent's voice")
    talk.add_argument("--language", default="", help="the language spoken, such as en or de")
    talk.add_argument("--token", default=os.environ.get("PARLEY_TOKEN", ""), help="access or session token")
    talk.add_argument("--wait", type=float, default=30.0, metavar="S", help="longest wait for a reply")
    talk.add_argument("--json", action="store_true", help="print the server's events, one JSON object a line")
    talk.set_defaults(command=_talk)


def _talk(args: argparse.Namespace) -> int:
    from server.talk import TalkError, TalkOptions, run

    if args.wav is None and not args.text:
        raise TalkError('there is nothing to say; name a WAV file, or write --text "a message"')
    start = {"mode": args.mode, "voice": args.voice, "language": args.language}
    options = TalkOptions(
        url=args.url,
        wav=args.wav,
        text=args.text,
        out=args.out,
        token=args.token,
        wait_s=args.wait,
        as_json=args.json,
        start={key: value for key, value in start.items() if value},
    )
    asyncio.run(run(options, sys.stdout))
    if not args.json:
        print(f"The reply is in {args.out}.")
    return 0


# -- models ---------------------------------------------------------------------------------------------


def _add_models(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    models = commands.add_parser(
        "models",
        help="list or download local models",
        description="Without an action: which models are there. `fetch` downloads one.",
    )
    actions = models.add_subparsers(metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download a model")
    fetch.add_argument("name", metavar="NAME", help="a name from the list of `parley models`")
    fetch.set_defaults(command=_fetch_model)
    models.set_defaults(command=_list_models)


def _list_models(args: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its arguments
    from server.models import list_models

    print(f"{'NAME':<20} {'FOR':<20} {'SIZE':>8}  WHERE")
    for row in list_models():
        user = f"{row.kind} {row.plugin}"
        where = row.where or f"not here; parley models fetch {row.name}"
        note = f"  ({row.note})" if row.note else ""
        print(f"{row.name:<20} {user:<20} {row.megabytes:>5} MB  {where}{note}")
    return 0


def _fetch_model(args: argparse.Namespace) -> int:
    from server.models import fetch

    fetch(args.name, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
