"""Which channel of a recording is heard, on real bytes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mltraining import messages
from mltraining.speech.audio import channels, quality
from mltraining.speech.audio.channels import ChannelRequired
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import resample
from mltraining.speech.scoring import score
from tests.support.audio import encode, voice, wav
from tests.support.model import export_untrained
from voiceauth.platform.api import uploads

RATE = 16_000
AGENT, CUSTOMER = voice(1, seconds=4), 0.5 * voice(2, seconds=4)
CALL = wav(np.stack([AGENT, CUSTOMER]))
NOISE = np.random.default_rng(0).normal(0, 1, len(AGENT)).astype(np.float32)


def through(samples: np.ndarray, name: str) -> np.ndarray:
    """The samples after a codec, at 16 kHz."""
    decoded = decode(encode(samples, name))
    return resample(decoded.samples, decoded.sample_rate, RATE)[: len(samples)]


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() < 1e-3)


def test_two_voices_side_by_side_are_refused_with_the_speech_and_level_of_each() -> None:
    with pytest.raises(ChannelRequired) as caught:
        decode(CALL)
    assert caught.value.code == "channel_required" and "2 channels" in str(caught.value)
    agent, customer = quality.measure_channels(caught.value.channels)
    assert (agent.channel, customer.channel) == (0, 1)
    assert agent.level_dbfs > customer.level_dbfs + 3
    assert min(agent.speech_seconds, customer.speech_seconds) > 1


@pytest.mark.parametrize(("channel", "expected"), [("left", AGENT), ("0", AGENT), ("right", CUSTOMER), ("1", CUSTOMER)])
def test_a_named_channel_is_heard_alone(channel: str, expected: np.ndarray) -> None:
    waveform = decode(CALL, channel=channel)
    assert close(waveform.samples, expected)
    assert (waveform.channels, waveform.channel) == (2, channel)


def test_mono_mixes_what_differs() -> None:
    assert close(decode(CALL, channel="mono").samples, (AGENT + CUSTOMER) / 2)


def test_a_default_counts_only_where_the_channels_differ_and_none_is_named() -> None:
    assert close(decode(CALL, default_channel="right").samples, CUSTOMER)
    assert close(decode(CALL, channel="left", default_channel="right").samples, AGENT)
    mono = decode(wav(CUSTOMER), default_channel="right")
    assert close(mono.samples, CUSTOMER) and mono.channel == ""


@pytest.mark.parametrize("name", ["wav", "wav_mulaw", "mp3", "flac", "ogg_opus", "m4a"])
def test_two_voices_are_told_apart_through_every_codec(name: str) -> None:
    with pytest.raises(ChannelRequired):
        decode(encode(np.stack([AGENT, CUSTOMER]), name))


@pytest.mark.parametrize("name", ["wav", "wav_mulaw", "wav_8_bit", "wav_ima_adpcm", "mp3", "flac", "ogg_opus", "m4a"])
def test_the_same_voice_on_both_channels_is_one(name: str) -> None:
    waveform = decode(encode(np.stack([0.6 * AGENT, AGENT]), name))
    heard = resample(waveform.samples, waveform.sample_rate, RATE)
    assert waveform.channel == ""
    assert 0.8 < np.abs(heard).max() / np.abs(AGENT).max() < 1.2  # the louder one, and not the mean


@pytest.mark.parametrize(
    "other",
    [
        -AGENT,
        -0.3 * AGENT,
        through(AGENT, "wav_mulaw") * 0.7,
        AGENT + 10 ** (-30 / 20) * AGENT.std() * NOISE,
        np.zeros_like(AGENT),
        np.full_like(AGENT, 0.002),
    ],
    ids=["opposite phase", "quieter, opposite phase", "G.711 in one", "line noise in one", "muted", "silent A-law"],
)
def test_channels_that_differ_in_level_phase_or_codec_alone_are_one(other: np.ndarray) -> None:
    for planes in ([AGENT, other], [other, AGENT]):
        recording = wav(np.stack(planes))
        assert np.corrcoef(np.abs(decode(recording).samples), np.abs(AGENT))[0, 1] > 0.99
        mixed = decode(recording, channel="mono").samples  # opposite phases do not cancel
        assert np.abs(mixed).max() > 0.4


def test_the_customers_channel_with_the_agents_echo_is_still_another_one() -> None:
    for echo_db in (10, 20):
        with pytest.raises(ChannelRequired):
            decode(wav(np.stack([AGENT, CUSTOMER + 10 ** (-echo_db / 20) * AGENT])))


def test_a_customer_who_says_one_quiet_word_is_not_overheard() -> None:
    agent = np.tile(AGENT, 5)
    customer = np.zeros_like(agent)
    customer[40_000 : 40_000 + RATE] = 0.05 * voice(2, seconds=1)
    with pytest.raises(ChannelRequired):
        decode(wav(np.stack([agent, customer + 1e-4 * np.random.default_rng(0).normal(size=len(agent))])))


def test_a_recording_of_many_channels_is_treated_alike() -> None:
    silent = np.zeros_like(AGENT)
    conference = wav(np.stack([silent, AGENT, CUSTOMER, silent, -AGENT, silent]))
    with pytest.raises(ChannelRequired) as caught:
        decode(conference)
    assert len(caught.value.channels) == 6
    assert close(decode(conference, channel="2").samples, CUSTOMER)
    assert close(decode(wav(np.stack([silent, AGENT, silent, -0.5 * AGENT]))).samples, AGENT)


@pytest.mark.parametrize(("recording", "channel"), [(wav(AGENT), "right"), (wav(AGENT), "1"), (CALL, "2"), (CALL, "7")])
def test_a_channel_that_is_not_there_is_refused(recording: bytes, channel: str) -> None:
    with pytest.raises(AudioError) as caught:
        decode(recording, channel=channel)
    assert caught.value.code == "no_such_channel" and channel in str(caught.value)


def test_a_silent_channel_that_is_named_is_silent() -> None:
    with pytest.raises(AudioError) as caught:
        decode(wav(np.stack([AGENT, np.zeros_like(AGENT)])), channel="right")
    assert caught.value.code == "silent_audio"


def test_silence_on_all_channels_is_silent_and_asks_for_no_channel() -> None:
    with pytest.raises(AudioError) as caught:
        decode(wav(np.stack([NOISE * 1e-6, NOISE[::-1] * 1e-6])))
    assert caught.value.code == "silent_audio"


@pytest.mark.parametrize("name", ["", "8", "-1", "both", "Left", "1.0", "²"])
def test_a_word_that_names_no_channel_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="no channel"):
        channels.index_of(name)


def test_every_room_accepts_the_same_names_of_channels() -> None:
    names = ["left", "right", "mono", *"01234567", "8", "both", "left\n", ""]

    known = [name for name in names if re.match(channels.PATTERN, name)]
    assert known == ["left", "right", "mono", *"01234567"]
    assert [name for name in names if re.match(messages.CHANNEL, name)] == known
    assert [name for name in names if re.match(uploads.CHANNEL_OR_NOTHING, name)] == [*known, ""]


def test_the_score_command_asks_for_a_channel_and_takes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline, call = export_untrained(tmp_path / "pipeline", seed=0), tmp_path / "call.wav"
    call.write_bytes(CALL)
    assert score.main([str(pipeline), str(call)]) == score.REFUSED
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "channel_required" and [each["channel"] for each in error["channels"]] == [0, 1]
    assert score.main([str(pipeline), str(call), "--channel", "right"]) == score.DONE
    assert json.loads(capsys.readouterr().out)["seconds"] == 4
    with pytest.raises(SystemExit):
        score.main([str(pipeline), str(call), "--channel", "middle"])
