import importlib.util
import itertools
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.waveform import Waveform
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


@pytest.mark.parametrize("added", [0, 10, 20])
def test_the_ratio_of_a_voice_in_noise_is_that_at_which_it_was_mixed(added: float) -> None:
    clean = np.concatenate([np.zeros(RATE), talk(), np.zeros(RATE)])
    speaking = np.concatenate([np.zeros(RATE), np.ones(4 * RATE), np.zeros(RATE)]) > 0
    power = np.mean(clean[speaking] ** 2)
    noise = np.random.default_rng(2).normal(0, np.sqrt(power / 10 ** (added / 10)), len(clean))
    assert quality._snr_db(clean + noise, speaking[:: quality.FRAME]) == pytest.approx(added, abs=1.5)


def test_noise_is_measured_between_words_where_there_is_hardly_a_pause() -> None:
    power = np.mean(talk() ** 2)
    noise = np.random.default_rng(2).normal(0, np.sqrt(power / 100), 4 * RATE)
    everything = np.ones(-(-4 * RATE // quality.FRAME), dtype=bool)
    assert 5 < quality._snr_db(talk() + noise, everything) <= 20.5


def test_digital_silence_on_a_muted_line_does_not_make_the_ratio_infinite() -> None:
    found = quality.measure(sound(np.concatenate([np.zeros(RATE), talk(), np.zeros(RATE)])))
    assert 0 < found.snr_db <= quality.MAX_SNR_DB


def test_without_speech_the_ratio_is_zero() -> None:
    assert quality.measure(sound(0.2 * np.sin(np.arange(RATE) * 0.4))).snr_db == 0


def test_clipping_counts_runs_at_full_scale_and_not_a_lone_peak() -> None:
    samples = 0.1 * np.ones(1000, dtype=np.float32)
    samples[10] = 1.0
    assert quality._clipping_ratio(sound(samples)) == 0
    samples[100:150] = -1.0
    assert quality._clipping_ratio(sound(samples)) == 0.05
    samples[500:505] = 1.0
    assert quality._clipping_ratio(sound(samples)) == 0.055
    assert quality._clipping_ratio(sound(samples, 48_000)) == 0.05  # there, five samples are an instant


def test_an_overdriven_telephone_recording_is_seen_as_clipped() -> None:
    clipped = np.clip(talk() * 8, -1, 1)
    assert quality.measure(decode(encode(clipped, "wav_mulaw"))).clipping_ratio > 0.05
    assert quality.measure(decode(encode(talk(), "wav_mulaw"))).clipping_ratio == 0


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


def test_long_audio_is_detected_block_by_block_as_if_in_one() -> None:
    samples = np.tile(talk(), 6)  # 24 s: over the 16 s of a block
    whole = quality._probabilities(samples)
    assert len(whole) == -(-len(samples) // quality.FRAME)
    first = quality._probabilities(samples[: quality.BLOCK_FRAMES * quality.FRAME])
    np.testing.assert_allclose(whole[: quality.BLOCK_FRAMES], first, atol=1e-5)


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
