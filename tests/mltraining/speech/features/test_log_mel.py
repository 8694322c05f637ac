import logging
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from mltraining.speech.config import Audio, ConfigError, Prediction
from mltraining.speech.features.chunks import chunks
from mltraining.speech.features.log_mel import FLOOR, LogMel, MatrixLogMel, mel_filters, tile, top_frequency

AUDIO = Audio(sample_rate=8000, stft_window_size=512, hop_size=128, mel_frequency_bins=24, maximum_frequency=4000)


def test_a_tone_lights_the_row_that_holds_its_frequency() -> None:
    features = LogMel(AUDIO)
    filters = features.filters.numpy()  # (bins, rows)
    for frequency in (250.0, 1000.0, 3000.0):
        tone = 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(8000) / 8000)
        logmel = features(tone[None])
        assert logmel.shape == (1, 1, 24, 1 + 8000 // 128)
        brightest = int(logmel[0, 0].mean(dim=1).argmax())
        assert brightest == int(filters[round(frequency / 8000 * 512)].argmax())


def test_silence_is_the_floor_and_never_infinite() -> None:
    logmel = LogMel(AUDIO)(torch.zeros(1, 4000))
    assert torch.allclose(logmel, torch.full_like(logmel, float(np.log(FLOOR))))


def test_float_and_16_bit_samples_give_the_same_bits() -> None:
    random = np.random.default_rng(0)
    samples = random.uniform(-0.9, 0.9, 4000).astype(np.float32)
    pcm = np.round(samples * 32768).astype(np.int16)
    features = LogMel(AUDIO)
    assert torch.equal(features(torch.from_numpy(samples)[None]), features(torch.from_numpy(pcm)[None]))


@pytest.mark.parametrize(
    ("window", "fft", "normalization"), [(512, 0, "No"), (200, 256, "Mean"), (201, 512, "Channel")]
)
def test_as_matrix_products_it_is_the_same(
    window: int, fft: int, normalization: Literal["No", "Mean", "Channel"]
) -> None:
    audio = replace(
        AUDIO, stft_window_size=window, stft_size=fft, maximum_frequency=3800, spectrogram_normalization=normalization
    )
    features = LogMel(audio)
    for samples in (fft or window, 4000, 4001, 24_079):
        clip = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
        torch.testing.assert_close(MatrixLogMel(features)(clip), features(clip), atol=1e-4, rtol=1e-4)


def test_the_filters_are_triangles_on_the_htk_mel_scale() -> None:
    filters = mel_filters(AUDIO, 512, 4000.0).numpy()
    mel = np.linspace(2595 * np.log10(1 + 50 / 700), 2595 * np.log10(1 + 4000 / 700), 26)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.linspace(0, 4000, 257)
    for row in (0, 10, 23):
        expected = np.interp(bins, edges[row : row + 3], [0, 1, 0])
        np.testing.assert_allclose(filters[:, row], expected, atol=1e-5)


def test_the_top_frequency_is_clamped_to_both_rates_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    audio = Audio()  # 16,000 Hz asked for at a rate of 22,050
    with caplog.at_level(logging.WARNING):
        assert top_frequency(audio) == 11025
        assert top_frequency(audio, source_rate=8000) == 4000
    assert [record.message for record in caplog.records if "audio.maximum_frequency" in record.message]
    caplog.clear()
    assert top_frequency(Audio(maximum_frequency=3800), source_rate=8000) == 3800
    assert not caplog.records


def test_custom_parameters_are_never_clamped() -> None:
    with pytest.raises(ConfigError, match="audio.maximum_frequency: .*Custom"):
        top_frequency(Audio(audio_parameters="Custom"))


def test_the_reference_parameters_leave_no_row_empty_even_for_telephone_audio() -> None:
    for source_rate in (22050, 16000, 8000):
        assert (LogMel(Audio(), source_rate=source_rate).filters.sum(dim=0) > 0).all()


def test_rows_that_would_be_empty_are_refused() -> None:
    with pytest.raises(ConfigError, match="audio.mel_frequency_bins: .* would be empty"):
        LogMel(Audio(sample_rate=8000, stft_window_size=256, hop_size=80, mel_frequency_bins=128))


def test_normalisations_do_what_they_say() -> None:
    samples = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, (2, 4000)).astype(np.float32))

    def normalized(kind: Literal["No", "Mean", "Channel", "Spectrogram"]) -> torch.Tensor:
        return LogMel(replace(AUDIO, spectrogram_normalization=kind))(samples)[:, 0]

    plain = normalized("No")
    torch.testing.assert_close(normalized("Mean"), plain - plain.mean(dim=2, keepdim=True))
    channel = normalized("Channel")
    torch.testing.assert_close(channel.mean(dim=2), torch.zeros(2, 24), atol=1e-4, rtol=0)
    torch.testing.assert_close(channel.std(dim=2, correction=0), torch.ones(2, 24), atol=1e-3, rtol=0)
    whole = normalized("Spectrogram")
    torch.testing.assert_close(whole.std(dim=(1, 2), correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_audio_shorter_than_a_window_is_repeated() -> None:
    assert LogMel(AUDIO)(torch.ones(1, 100)).shape == (1, 1, 24, 1 + 512 // 128)
    assert tile(torch.tensor([1, 2, 3]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]


def test_long_audio_is_scored_in_fixed_chunks_up_to_the_maximum() -> None:
    audio = Audio(sample_rate=4000)
    prediction = Prediction(inference_chunk_seconds=2, max_inference_chunk_seconds=5)

    def lengths(seconds: float) -> list[float]:
        return [len(piece) / 4000 for piece in chunks(np.zeros(round(seconds * 4000)), audio, prediction)]

    assert lengths(1.5) == [1.5]  # its own length: no padding
    assert lengths(4) == [2, 2]
    assert lengths(4.5) == [2, 2]  # the last half second is left out
    assert lengths(5) == [2, 2, 1]
    assert lengths(60) == [2, 2, 1]
