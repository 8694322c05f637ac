import importlib.util
import itertools
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mltraining.speech.audio import measures, quality, telephone
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.waveform import Waveform, resample
from tests.support.audio import encode, voice

# Recorded speech in the format of docs/speech-format.md, packed.
SPEECH = Path(os.environ.get("VOICEAUTH_TEST_SPEECH", "speech")) / "audio.tar"
RATE = 16_000


def real_clips(count: int) -> list[bytes]:
    if not SPEECH.exists():
        pytest.skip("VOICEAUTH_TEST_SPEECH is missing, or names no folder with audio.tar")
    with tarfile.open(SPEECH) as archive:
        sentences = (member for member in archive if "speechocean762/" in member.name and member.isfile())
        files = (archive.extractfile(member) for member in itertools.islice(sentences, count))
        return [file.read() for file in files if file]


def sound(samples: np.ndarray, rate: int = RATE) -> Waveform:
    return Waveform(samples.astype(np.float32), rate)


def talk(seconds: float = 4.0) -> np.ndarray:
    """A synthetic voice that the detector takes for speech."""
    return voice(3, seconds=seconds)


def tones(hertz: Sequence[float], seconds: float) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    return np.sum([0.2 * np.sin(2 * np.pi * each * at) for each in hertz], axis=0)


def tune(seconds: float) -> np.ndarray:
    """Plucked triads, a bass and a beat."""
    at = np.arange(RATE // 2) / RATE
    beat = np.random.default_rng(5).normal(0, 0.1, len(at)) * np.exp(-40 * at)
    bars = []
    for root in itertools.islice(itertools.cycle((220.0, 293.7, 329.6, 246.9, 196.0)), round(2 * seconds)):
        chord = sum(np.sin(2 * np.pi * root * m * h * at) / h for m in (1, 1.26, 1.5) for h in (1, 2, 3))
        bass = np.sin(np.pi * root * at)
        bars.append((0.08 * chord + 0.1 * bass) * np.exp(-2 * at) + beat)
    return np.concatenate(bars)


def in_band(samples: np.ndarray) -> float:
    """Power from 300 to 3,400 Hz."""
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[(hertz >= 300) & (hertz <= 3400)].sum())


def test_a_voice_is_speech_and_noise_is_not() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 4 * RATE)
    assert quality.measure(sound(talk())).speech_seconds > 3
    assert quality.measure(sound(noise)).speech_seconds < 0.3


def test_silence_around_a_voice_is_not_counted_as_speech() -> None:
    quiet = np.random.default_rng(1).normal(0, 1e-4, 3 * RATE)
    padded = quality.measure(sound(np.concatenate([quiet, talk(), quiet])))
    assert padded.duration_seconds == 10
    assert padded.speech_seconds == pytest.approx(quality.measure(sound(talk())).speech_seconds, abs=0.5)


def test_segments_bound_the_voice() -> None:
    quiet = np.random.default_rng(1).normal(0, 1e-4, 3 * RATE)
    segments = quality.speech_segments(sound(np.concatenate([quiet, talk(), quiet])))
    assert segments[0][0] == pytest.approx(3.1, abs=0.4)
    assert segments[-1][1] == pytest.approx(6.9, abs=0.4)


@pytest.mark.parametrize("before", ["nothing", "a muted line", "music", "ringing"])
@pytest.mark.parametrize("added", [0, 10])
def test_the_ratio_is_that_of_the_speech_whatever_came_before_it(added: float, before: str) -> None:
    head = {
        "nothing": np.zeros(0),
        "a muted line": np.random.default_rng(3).normal(0, 3e-4, 3 * RATE),
        "music": tune(4.0),
        "ringing": tones([440, 480], 3.0),
    }[before]
    speech, noise = voice(1, seconds=4.0), np.random.default_rng(2).normal(0, 1, 4 * RATE)
    ratio = np.sqrt(in_band(speech) / in_band(noise) / 10 ** (added / 10))
    found = quality.measure(sound(np.concatenate([head, speech + ratio * noise])))
    assert found.snr_db == pytest.approx(added, abs=3)


def test_noise_is_measured_in_the_speech_where_the_line_is_gated_between_the_words() -> None:
    speech = voice(1, seconds=4.0)
    loudness = np.convolve(speech**2, np.ones(1600) / 1600, "same")
    gate = loudness > 0.1 * loudness.max()
    noise = np.random.default_rng(2).normal(0, np.sqrt(np.mean(speech**2)), len(speech))
    assert quality.measure(sound(gate * (speech + noise))).snr_db < 6


def test_hum_that_no_telephone_carries_is_neither_noise_nor_clipping() -> None:
    at = np.arange(4 * RATE) / RATE
    hum = sum(0.3 / k * np.sin(2 * np.pi * 50 * k * at) for k in (1, 2))
    clean, humming = quality.measure(sound(talk())), quality.measure(sound(talk() + hum))
    assert humming.snr_db == pytest.approx(clean.snr_db, abs=6) and humming.clipping_ratio < 0.05
    assert humming.speech_seconds == pytest.approx(clean.speech_seconds, abs=0.3)


def test_digital_silence_on_a_muted_line_does_not_make_the_ratio_infinite() -> None:
    found = quality.measure(sound(np.concatenate([np.zeros(RATE), talk(), np.zeros(RATE)])))
    assert 0 < found.snr_db < 50


def test_without_speech_the_ratio_is_zero() -> None:
    assert quality.measure(sound(0.2 * np.sin(np.arange(RATE) * 0.4))).snr_db == 0


@pytest.mark.parametrize("name", ["music", "ringing", "a special information tone", "dialling"])
def test_no_tone_and_no_tune_is_speech(name: str) -> None:
    heard = {
        "music": tune(6.0),
        "ringing": tones([440, 480], 2.0),
        "a special information tone": np.concatenate([tones([each], 0.33) for each in (950, 1400, 1800)]),
        "dialling": np.concatenate([tones(pair, 0.2) for pair in ((697, 1209), (770, 1336), (852, 1477), (941, 1336))]),
    }[name]
    assert quality.measure(sound(heard)).speech_seconds == 0


@pytest.mark.parametrize("before", ["ringing", "music"])
def test_the_first_words_after_a_sound_are_heard(before: str) -> None:
    head = np.concatenate([tones([440, 480], 3.0) if before == "ringing" else tune(10.0), np.zeros(RATE // 3)])
    for clip in real_clips(8):
        wide = decode(clip)
        speech = 0.08 * wide.samples / np.sqrt(np.mean(wide.samples**2))
        speech = resample(speech.astype(np.float32), wide.sample_rate, RATE)
        alone, after = (quality.measure(sound(each)).speech_seconds for each in (speech, np.append(head, speech)))
        assert after == pytest.approx(alone, rel=0.15)


@pytest.mark.parametrize("gain_db", [0, -20, -40, -60])
def test_soft_speech_is_speech_and_sounds_the_same(gain_db: float) -> None:
    soft = quality.measure(sound(talk() * 10 ** (gain_db / 20)))
    assert soft.speech_seconds == pytest.approx(quality.measure(sound(talk())).speech_seconds, abs=0.1)


def test_direct_current_changes_nothing() -> None:
    plain, shifted = quality.measure(sound(0.05 * talk())), quality.measure(sound(0.05 * talk() + 0.3))
    assert shifted.speech_seconds == pytest.approx(plain.speech_seconds, abs=0.1)
    assert shifted.snr_db == pytest.approx(plain.snr_db, abs=1)


def overdriven(name: str) -> bytes:
    """Speech that was clipped at full scale, and then went on as ``name`` says."""
    hot = np.clip(voice(1, seconds=4.0) * 8, -1, 1).astype(np.float32)
    through: dict[str, Callable[[np.ndarray], bytes]] = {
        "as it is": lambda each: encode(each, "wav"),
        "softer": lambda each: encode(0.4 * each, "wav"),
        "8 kHz mu-law": lambda each: encode(0.9 * each, "wav_mulaw"),
        "Opus": lambda each: encode(0.9 * each, "ogg_opus"),
        "MP3": lambda each: encode(0.9 * each, "mp3"),
        "on direct current": lambda each: encode(0.4 * each + 0.2, "wav"),
    }
    return through[name](hot)


@pytest.mark.parametrize("name", ["as it is", "softer", "8 kHz mu-law", "Opus", "MP3", "on direct current"])
def test_clipping_is_found_whatever_came_after_it(name: str) -> None:
    assert quality.measure(decode(overdriven(name))).clipping_ratio > 0.05


@pytest.mark.parametrize("name", ["wav", "wav_mulaw", "ogg_opus", "mp3"])
def test_speech_that_was_not_clipped_is_not_said_to_be(name: str) -> None:
    assert quality.measure(decode(encode(talk(), name))).clipping_ratio < 0.05


def test_a_lone_peak_is_no_clipping_and_a_loud_beep_is_none_of_the_speech() -> None:
    click = talk()
    click[RATE] = 1.0
    square = np.sign(tones([1000], 2.0))
    assert quality.measure(sound(click)).clipping_ratio < 0.05
    assert quality.measure(sound(np.concatenate([square, np.zeros(RATE), 0.3 * talk()]))).clipping_ratio < 0.05


def test_real_speech_is_hardly_ever_missed_as_clipped_before_a_telephone_line_and_never_where_it_was_not() -> None:
    found = []
    for clip in real_clips(8):
        wide = decode(clip)
        speech = resample(wide.samples, wide.sample_rate, telephone.RATE)
        for gain in (1.0, 25.0):
            said = np.clip(gain * speech / np.abs(speech).max(), -1, 1)
            line = telephone.transmit(said.astype(np.float32), "mulaw")
            found.append(quality.measure(Waveform(line, telephone.RATE)).clipping_ratio > 0.05)
    assert not any(found[::2]) and sum(found[1::2]) >= 7


def test_a_short_pause_is_part_of_speaking_and_a_long_one_is_not() -> None:
    frames = lambda seconds: round(seconds * RATE / quality.FRAME)  # noqa: E731
    spoken, short, long = np.ones(frames(1)), np.zeros(frames(0.25)), np.zeros(frames(0.5))
    assert quality._smooth(np.concatenate([spoken, short, spoken])).all()
    assert quality._smooth(np.concatenate([spoken, long, spoken])).sum() == 2 * frames(1)


def test_a_burst_is_not_speech_and_speech_lasts_until_well_below_its_start() -> None:
    assert not quality._smooth(np.array([0, 0, 0.9, 0.9, 0, 0])).any()
    assert quality._smooth(np.array([0.1, 0.4, 0.6, 0.4, 0.4, 0.4, 0.1])).tolist() == [
        False, False, True, True, True, True, False,
    ]  # fmt: skip


def test_a_sound_before_the_words_changes_no_decision_about_them() -> None:
    heard, block = talk(), quality.BLOCK_FRAMES * quality.FRAME
    quiet = np.zeros(quality.QUIET_BLOCKS * block)
    alone = quality._probabilities(np.append(quiet, heard))[quality.QUIET_BLOCKS * quality.BLOCK_FRAMES :]
    after = quality._probabilities(np.concatenate([tune(30.0)[: 30 * block], quiet, heard]))
    np.testing.assert_allclose(after[-len(alone) :], alone, atol=1e-5)


def test_the_detector_keeps_its_memory_within_speech() -> None:
    """Started anew every second, it missed an eighth of real speech on a telephone line."""
    speech = telephone.transmit(resample(talk(), RATE, telephone.RATE), "mulaw")
    heard = resample(speech, telephone.RATE, RATE)
    count = -(-len(heard) // quality.FRAME)
    padded = np.pad(heard, (quality.CONTEXT, count * quality.FRAME - len(heard)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, quality.CONTEXT + quality.FRAME)[:: quality.FRAME]
    start = np.zeros((1, 1, 128), dtype=np.float32)
    once, _, _ = quality._detector().run(
        ["speech_probs", "hn", "cn"], {"input": np.ascontiguousarray(frames), "h": start, "c": start}
    )
    np.testing.assert_allclose(quality._probabilities(heard), once.reshape(-1), atol=1e-4)


def test_real_telephone_speech_gives_nearly_the_net_speech_of_its_wide_band_original() -> None:
    for clip in real_clips(8):
        wide = decode(clip)
        narrow = decode(encode(wide.samples, "wav_mulaw", source_rate=wide.sample_rate))
        expected = quality.measure(wide).speech_seconds
        assert quality.measure(narrow).speech_seconds == pytest.approx(expected, rel=0.15)


def test_the_detector_is_found_without_importing_its_package_or_torch() -> None:
    assert importlib.util.find_spec("silero_vad") is not None
    code = (
        "import sys, numpy as np; from mltraining.speech.audio import quality;"
        "from mltraining.speech.audio.decoding import decode; from mltraining.speech.audio.waveform import Waveform;"
        "quality.measure(Waveform(np.zeros(16000, dtype=np.float32), 16000));"
        "assert not {'torch', 'silero_vad'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])


@pytest.mark.parametrize("amplitude", [0.0, 1e-12, 1e-9, 1e-7])
def test_a_loud_sound_before_near_silence_has_a_measurable_ratio(amplitude: float) -> None:
    """A running mean of powers that differ by so much may come out below zero."""
    random = np.random.default_rng(1)
    samples = np.concatenate([random.normal(0, 0.3, 800), random.normal(0, amplitude, RATE)]).astype(np.float32)
    assert -20 <= measures.snr_db(samples, np.ones(-(-len(samples) // measures.FRAME), dtype=bool)) <= 80
