"""The front ends against their formulas, written out in numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dct

from mltraining.speech.features.front_ends import FrontEnd, Normalisation, Signal, features_of, kind_of
from mltraining.speech.settings_reader import ConfigError

RATE = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)


def frames_of(
    samples: np.ndarray,
    *,
    signal: Signal | None = None,
    normalisation: Normalisation = "none",
    min_frames: int = 1,
    **features: Any,
) -> np.ndarray:
    front_end = FrontEnd(
        features_of(features),
        sample_rate=RATE,
        signal=signal or Signal(),
        normalisation=normalisation,
        min_frames=min_frames,
    )
    return front_end(torch.from_numpy(samples)).numpy()


def spectra(samples: np.ndarray, window: np.ndarray, *, hop: int, size: int, padding: str | None) -> np.ndarray:
    """The magnitudes of the short-time Fourier transform: (frames, size // 2 + 1)."""
    samples = samples.astype(np.float64)
    if padding:
        samples = np.pad(samples, size // 2, mode="reflect" if padding == "reflect" else "constant")
    before = (size - len(window)) // 2
    window = np.pad(window, (before, size - len(window) - before))
    pieces = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    return np.abs(np.fft.rfft(pieces * window))


def htk(hz: Any) -> Any:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def htk_edges(bands: int, low: float, high: float) -> np.ndarray:
    return 700 * (10 ** (np.linspace(htk(low), htk(high), bands + 2) / 2595) - 1)


def slaney_edges(bands: int, low: float, high: float) -> np.ndarray:
    """Linear up to 1,000 Hz, and logarithmic above."""

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    points = np.linspace(mel(low), mel(high), bands + 2)
    return np.where(points < 15, points * 200 / 3, 1000 * np.exp((points - 15) * np.log(6.4) / 27))


def triangles(edges: np.ndarray, size: int) -> np.ndarray:
    """(size // 2 + 1, bands), each from the edge before to the edge after."""
    bins = np.linspace(0, RATE / 2, size // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def hann(size: int, *, symmetric: bool = False) -> np.ndarray:
    return np.hanning(size) if symmetric else np.hanning(size + 1)[:-1]


@pytest.mark.parametrize("padding", ["reflect", "constant", None])
def test_log_mel_is_the_logarithm_of_power_under_triangles_on_the_htk_scale(padding: str | None) -> None:
    given = {"centred": False} if padding is None else {"padding": padding}
    found = frames_of(
        NOISE, kind="mel", bands=40, window_size=320, hop_size=128, fft_size=512, low_hz=60, high_hz=7600, **given
    )
    power = spectra(NOISE, hann(320), hop=128, size=512, padding=padding) ** 2
    expected = np.log(np.maximum(power @ triangles(htk_edges(40, 60, 7600), 512), 1e-10))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_slaney_bands_have_the_same_area_and_can_stay_power() -> None:
    found = frames_of(
        NOISE, kind="mel", bands=40, mel_scale="slaney", mel_norm="slaney", logarithm="none", padding="constant"
    )
    edges = slaney_edges(40, 0, RATE / 2)
    filters = triangles(edges, 400) * 2 / (edges[2:] - edges[:-2])
    expected = spectra(NOISE, hann(400), hop=160, size=400, padding="constant") ** 2 @ filters
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_mfcc_are_the_cosine_transform_of_decibels_above_a_floor_under_the_maximum() -> None:
    quiet = NOISE * np.where(np.arange(len(NOISE)) < 4000, 1, 1e-6)
    found = frames_of(
        quiet,
        kind="mfcc",
        window="hamming",
        bands=44,
        triangles="even",
        logarithm="decibel",
        top_db=80,
        padding="constant",
        cepstra=24,
    )
    edges = htk_edges(44, 0, RATE / 2)
    bins = np.linspace(0, RATE / 2, 201)[:, None]
    even = np.maximum(0, 1 - np.abs(bins - edges[1:-1]) / (edges[1:-1] - edges[:-2]))
    power = spectra(quiet, np.hamming(401)[:-1], hop=160, size=400, padding="constant") ** 2
    decibels = 10 * np.log10(np.maximum(power @ even, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    assert (decibels == decibels.max() - 80).any()
    np.testing.assert_allclose(found, dct(decibels, norm="ortho")[:, :24], atol=0.02)


@pytest.mark.parametrize(("window", "edges"), [("povey", True), ("hamming", True), ("hann", False)])
def test_kaldi_fbank_is_kaldis(window: str, edges: bool) -> None:
    found = frames_of(NOISE, signal=Signal(scale=32768.0), kind="kaldi_fbank", window=window, snip_edges=edges)
    samples = NOISE.astype(np.float64) * 32768
    if not edges:  # the frames are centred on multiples of the hop, and the ends are mirrored
        count, before = (len(samples) + 80) // 160, 400 // 2 - 160 // 2
        mirrored = np.concatenate([samples[:before][::-1], samples, samples[::-1]])
        pieces = np.lib.stride_tricks.sliding_window_view(mirrored, 400)[::160][:count]
    else:
        pieces = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160]
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    pieces = pieces - 0.97 * np.concatenate([pieces[:, :1], pieces[:, :-1]], axis=1)
    windows = {"povey": np.hanning(400) ** 0.85, "hamming": np.hamming(400), "hann": np.hanning(400)}
    power = np.abs(np.fft.rfft(pieces * windows[window], 512)) ** 2

    def mel(hz: Any) -> Any:
        return 1127 * np.log(1 + hz / 700)

    points = np.linspace(mel(20), mel(8000), 82)
    bins = mel(np.arange(256) * RATE / 512)[:, None]  # triangles in mels, and not in hertz; no bin at half the rate
    filters = np.maximum(
        0,
        np.minimum(
            (bins - points[:-2]) / (points[1:-1] - points[:-2]), (points[2:] - bins) / (points[2:] - points[1:-1])
        ),
    )
    expected = np.log(np.maximum(power[:, :256] @ filters, np.finfo(np.float32).eps))
    assert found.shape == expected.shape == (len(pieces), 80)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("logarithm", ["natural", "base10", "decibel"])
def test_every_logarithm_tells_the_same_power(exponent: int, logarithm: str) -> None:
    found = frames_of(
        NOISE, kind="mel", bands=20, exponent=exponent, logarithm=logarithm, top_db=30, floor=1e-3, floor_is_added=True
    )
    filters = triangles(htk_edges(20, 0, 8000), 400)
    level = np.log10(spectra(NOISE, hann(400), hop=160, size=400, padding="reflect") ** exponent @ filters + 1e-3)
    level = np.maximum(level, level.max() - 30 / (20 / exponent))
    unit = {"natural": np.log(10), "base10": 1, "decibel": 20 / exponent}[logarithm]
    np.testing.assert_allclose(found, unit * level, atol=5e-3)


def test_windows_are_periodic_unless_they_are_said_to_be_symmetric() -> None:
    given: dict[str, Any] = {"kind": "mel", "bands": 20, "logarithm": "none", "symmetric_window": True}
    power = spectra(NOISE, hann(400, symmetric=True), hop=160, size=400, padding="reflect") ** 2
    expected = power @ triangles(htk_edges(20, 0, 8000), 400)
    np.testing.assert_allclose(frames_of(NOISE, **given), expected, rtol=1e-3, atol=1e-5)
    assert np.abs(frames_of(NOISE, **given | {"window": "rectangular"}) - expected).max() > 0.1


def test_a_waveform_is_levelled_pre_emphasised_and_scaled_in_this_order() -> None:
    given = Signal(level_dbfs=-30.0, preemphasis=0.9, scale=100.0)
    level = NOISE * (10 ** (-30 / 20) / np.sqrt(np.mean(NOISE**2)))
    expected = 100 * np.concatenate([level[:1], level[1:] - 0.9 * level[:-1]])
    found = frames_of(NOISE, signal=given, kind="waveform")
    assert found.shape == (len(NOISE), 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-3, atol=1e-5)
    assert not frames_of(np.zeros(100, dtype=np.float32), signal=given, kind="waveform").any()


def test_normalisation_is_of_each_band_over_the_clip() -> None:
    plain = frames_of(NOISE, kind="mel", bands=20)
    np.testing.assert_allclose(
        frames_of(NOISE, kind="mel", bands=20, normalisation="mean"), plain - plain.mean(axis=0), atol=1e-4
    )
    expected = (plain - plain.mean(axis=0)) / (plain.std(axis=0, ddof=1) + 1e-5)
    found = frames_of(NOISE, kind="mel", bands=20, normalisation="mean_deviation")
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["waveform", "kaldi_fbank", "mel", "mfcc"])
def test_a_clip_that_is_too_short_is_repeated(kind: str) -> None:
    tone = (0.1 * np.sin(2 * np.pi * 200 * np.arange(160) / RATE)).astype(np.float32)  # two periods, one hop
    found = frames_of(tone, kind=kind, min_frames=50)
    assert len(found) >= 50
    repeated = frames_of(np.tile(tone, 100), kind=kind)
    np.testing.assert_allclose(found[20:30], repeated[20:30], atol=1e-3)  # away from the ends
    assert np.isfinite(frames_of(tone[:7], kind=kind)).all()


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({"kind": "plp"}, "features.kind: must be one of waveform, kaldi_fbank, mel, mfcc"),
        (None, "features.kind"),
        ({"kind": "mel", "cepstra": 20}, "features.cepstra: is not a key"),
        ({"kind": "waveform", "bands": 20}, "features.bands: is not a key"),
        ({"kind": "mfcc", "bands": 10, "cepstra": 20}, "features.cepstra: 20 exceeds features.bands, 10"),
        ({"kind": "mel", "bands": 300}, "would be empty"),
        ({"kind": "mel", "fft_size": 256}, "features.fft_size: must be at least features.window_size"),
        ({"kind": "mel", "low_hz": 8000}, "features.low_hz: must be below"),
        ({"kind": "kaldi_fbank", "high_hz": 9000}, "within half of sample_rate"),
        ({"kind": "mel", "triangles": "even", "mel_scale": "slaney"}, "features.triangles: even goes with"),
        ({"kind": "mel", "window": "povey"}, "features.window: 'povey' is not one of hann"),
        ({"kind": "mel", "floor": 0}, "features.floor: 0.0 must be greater than 0"),
    ],
)
def test_features_that_cannot_be_computed_are_refused_by_name(features: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        FrontEnd(features_of(features), sample_rate=RATE, signal=Signal(), normalisation="none", min_frames=1)


@pytest.mark.parametrize("kind", ["waveform", "kaldi_fbank", "mel", "mfcc"])
def test_features_know_their_kind_and_their_width(kind: str) -> None:
    features = features_of({"kind": kind})
    assert kind_of(features) == kind
    assert frames_of(NOISE, kind=kind).shape[1] == features.width
