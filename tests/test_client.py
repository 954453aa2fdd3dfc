"""The client of the voice socket: its loudspeaker, and its words for what can go wrong."""

import asyncio
import socket

import pytest
from websockets.asyncio.server import serve

from server.client import Audio, ClientError, VoiceClient, voice_url
from server.player import Player
from tests.support.fake_server import fake_server, tone

pytestmark = pytest.mark.usefixtures("no_leaks")

SECOND = bytes(2 * 1000)  # at 1 kHz


def playing(seconds: int = 2) -> Player:
    player = Player()
    player.begin("a", 1000, 10.0)
    player.feed("a", SECOND * seconds, 10.0)
    return player


# -- the loudspeaker ------------------------------------------------------------------------------------


def test_it_plays_at_the_speed_of_the_clock() -> None:
    player = playing()
    assert player.reports(10.5) == [("a", 500)]
    assert player.reports(10.5) == []
    assert player.reports(11.0) == [("a", 1000)]


def test_a_reply_is_over_when_it_is_complete_and_played() -> None:
    player = playing()
    player.finish("a", 10.1)
    idle = []
    for now in (11.9, 12.0):
        player.advance(now)
        idle.append(player.is_idle)
    assert idle == [False, True]
    assert player.underruns == 0


def test_ducking_pauses_and_unducking_goes_on_where_it_paused() -> None:
    player = playing()
    player.duck(10.5)
    assert player.reports(11.5) == [("a", 500)]
    player.unduck(11.5)
    assert player.reports(12.0) == [("a", 1000)]


def test_an_interruption_drops_what_was_not_played() -> None:
    player = playing()
    player.interrupt("a", 10.25)
    assert player.is_idle
    assert player.reports(12.0) == [("a", 250)]
    assert len(player.replies["a"].pcm) == 500


def test_sound_that_comes_after_its_interruption_is_dropped() -> None:
    player = playing()
    player.interrupt("a", 10.25)
    player.feed("a", SECOND, 10.3)
    assert len(player.replies["a"].pcm) == 500


def test_running_dry_is_counted_once_a_gap_and_time_does_not_run_ahead() -> None:
    player = playing(1)
    player.advance(11.5)
    player.advance(11.6)
    assert player.underruns == 1
    player.feed("a", SECOND, 12.0)
    assert player.reports(12.5) == [("a", 1500)]


def test_a_second_reply_waits_for_the_first() -> None:
    player = playing(1)
    player.finish("a", 10.0)
    player.begin("b", 1000, 10.0)
    player.feed("b", SECOND, 10.0)
    player.finish("b", 10.0)
    assert player.reports(11.5) == [("a", 1000), ("b", 500)]


def test_a_reply_without_sound_does_not_block_the_next() -> None:
    player = Player()
    player.begin("a", 1000, 0.0)
    player.finish("a", 0.0)
    assert player.is_idle


# -- the wire -------------------------------------------------------------------------------------------


async def test_a_typed_turn_is_answered_and_its_playback_reported() -> None:
    async with fake_server() as server:
        async with await VoiceClient.connect(server.url, voice="anna") as call:
            assert call.session_id == "s1"
            await call.say("hello")
            sound = b""
            async for event in call:
                if isinstance(event, Audio):
                    sound += event.pcm
                    assert event.rate_hz == 24_000
                elif event.type == "audio.end":
                    break
            assert sound == tone(300)
            while not server.of_type("playback") or server.of_type("playback")[-1]["played_ms"] < 300:
                await asyncio.sleep(0.02)
            await call.end()
            last = [event async for event in call][-1]
            assert not isinstance(last, Audio)
            assert last.type == "ended"
        assert server.of_type("start") == [{"type": "start", "voice": "anna"}]


async def test_the_rates_are_those_that_were_asked_for() -> None:
    async with fake_server() as server, await VoiceClient.connect(server.url, input_rate=8000) as call:
        assert (call.input_rate_hz, call.connected["output_rate"]) == (8000, 24_000)
    async with fake_server() as server, await VoiceClient.connect(server.url, resume="r") as call:
        assert call.input_rate_hz == 16_000


async def test_the_credentials_travel_in_the_query() -> None:
    async with (
        fake_server() as server,
        await VoiceClient.connect(server.url, token="t&t", session_id="s", resume="r"),
    ):
        assert server.paths == ["/ws/voice?token=t%26t&session_id=s&resume=r"]


async def test_an_address_may_be_given_in_many_ways() -> None:
    assert voice_url("localhost:8000", {}) == "ws://localhost:8000/ws/voice"
    assert voice_url("https://example.org/", {}) == "wss://example.org/ws/voice"
    assert voice_url("ws://h/ws/s1?a=1", {"token": "t"}) == "ws://h/ws/s1?a=1&token=t"
    with pytest.raises(ClientError, match="not an address"):
        voice_url("ftp://example.org", {})


async def test_nobody_at_the_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ClientError, match=r"Nobody answers at ws://127.0.0.1:\d+/ws/voice\. .*parley serve"):
        await VoiceClient.connect(f"127.0.0.1:{port}", token="secret")


async def test_a_full_server_is_one_sentence() -> None:
    async with fake_server(close_at_once=(1013, "full")) as server:
        with pytest.raises(ClientError, match="The server is full") as caught:
            await VoiceClient.connect(server.url)
    assert caught.value.code == 1013


async def test_a_refused_token_gives_the_servers_reason() -> None:
    async with fake_server(close_at_once=(1008, "the token has expired")) as server:
        with pytest.raises(ClientError, match="does not let this client in: the token has expired"):
            await VoiceClient.connect(server.url)


async def test_another_kind_of_server_is_recognized() -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ClientError, match=r"has no voice socket \(it answered 404\)"):
            await VoiceClient.connect(f"127.0.0.1:{port}")


async def test_a_server_that_says_nothing_is_given_up() -> None:
    asked = asyncio.Event()

    async def mute(_: object) -> None:
        await asked.wait()

    async with serve(mute, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(ClientError, match="then said nothing"):
            await VoiceClient.connect(f"127.0.0.1:{port}", open_timeout_s=0.2)
        asked.set()


async def test_a_session_that_is_closed_on_us_raises_its_reason() -> None:
    async with (
        fake_server(close_after_audio=(4408, "")) as server,
        await VoiceClient.connect(server.url) as call,
    ):
        await call.send_audio(bytes(6400))
        with pytest.raises(ClientError, match="nothing happened for too long") as caught:
            _ = [event async for event in call]
        assert caught.value.code == 4408


async def test_a_lost_connection_raises() -> None:
    async with fake_server() as server, await VoiceClient.connect(server.url) as call:
        await call.drop()
        with pytest.raises(ClientError, match="was lost"):
            await call.say("hello?")
