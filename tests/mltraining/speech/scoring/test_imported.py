"""Encoders from elsewhere: what they embed, what is refused, and what their pipeline records."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from mltraining.speech import cli
from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.benchmarks import scoring as benchmark
from mltraining.speech.features.front_ends import features_of
from mltraining.speech.scoring import importing
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.folder import PipelineError
from mltraining.speech.scoring.imported import Description, EncoderRefused, ImportedEncoder
from mltraining.speech.scoring.importing import About, import_encoder
from mltraining.speech.scoring.pipeline import ScoringPipeline, recalibrate
from mltraining.speech.scoring.timing import one_thread
from mltraining.speech.settings_reader import ConfigError
from tests.support.audio import voice, wav
from tests.support.foreign import (
    BANDS,
    DESCRIPTION,
    DIMENSIONS,
    EXAMPLE,
    MEL,
    Random,
    Statistics,
    onnx_of,
    statistics,
)

ABOUT = About(name="small", origin="made in a test", licence="MIT", licence_text="As you like.")
FBANK = {"kind": "kaldi_fbank", "bands": BANDS}


def described(**changes: Any) -> Description:
    return Description.from_dict(DESCRIPTION | changes)


def spoken(seconds: float = 1.5, take: int = 0, speaker: int = 1, rate: int = 8000) -> Waveform:
    return Waveform(voice(speaker, seconds=seconds, sample_rate=rate, take=take), rate)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def by_hand(frames: np.ndarray, network: nn.Module) -> np.ndarray:
    """The unit-length embedding of frames (frames, bands) by the network under torch."""
    with torch.inference_mode():
        return unit(network(torch.from_numpy(frames)[None])[0].numpy())


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported") / "pipeline"
    import_encoder(statistics(), described(), folder, ABOUT)
    return folder


@pytest.fixture
def copy(imported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(imported, tmp_path / "copy"))


@pytest.mark.parametrize(
    "features", [{"kind": "waveform"}, FBANK, MEL, MEL | {"logarithm": "none"}, MEL | {"kind": "mfcc", "cepstra": 12}]
)
def test_an_imported_encoder_embeds_what_its_front_end_gives(features: dict[str, Any], tmp_path: Path) -> None:
    bands = features_of(features).width
    network, axes = Statistics(bands), ["batch", "frames", "bands"]
    if features["kind"] == "waveform":
        axes = axes[:2]
        model = onnx_of(nn.Sequential(nn.Unflatten(1, (-1, 1)), network), torch.randn(2, 500))
    else:
        model = onnx_of(network, torch.randn(2, 500, bands))
    description = described(features=features, sample_rate=16_000, tensors={"axes": axes})
    fingerprint = import_encoder(model, description, tmp_path / "pipeline", ABOUT)
    pipeline = ScoringPipeline.load(tmp_path / "pipeline")
    assert (pipeline.fingerprint, pipeline.dimensions) == (fingerprint, DIMENSIONS)
    found = pipeline.embed(spoken())
    assert found.dtype == np.float32 and np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    samples = np.clip(resample(spoken().samples, 8000, 16_000), -1, 1)
    frames = description.front_end()(torch.from_numpy(samples)).numpy()
    np.testing.assert_allclose(found, by_hand(frames, network), atol=1e-4)
    np.testing.assert_array_equal(pipeline.embed(spoken()), found)


@pytest.mark.parametrize(
    ("axes", "permutation"),
    [
        (["batch", "frames", "bands"], (0, 1, 2)),
        (["batch", "bands", "frames"], (0, 2, 1)),
        (["batch", "channel", "frames", "bands"], (0, 2, 3)),
        (["batch", "channel", "bands", "frames"], (0, 3, 2)),
    ],
)
def test_the_axes_may_stand_in_any_order(axes: list[str], permutation: tuple[int, ...], imported: Path) -> None:
    class Ordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Statistics()

        def forward(self, features: Tensor) -> Tensor:
            features = features.squeeze(1) if "channel" in axes else features
            return self.inner(features.transpose(1, 2) if axes[-1] == "frames" else features)

    sizes = {"batch": 2, "channel": 1, "frames": 100, "bands": BANDS}
    model = onnx_of(Ordered(), torch.randn(*[sizes[name] for name in axes]), free={0: "b", axes.index("frames"): "f"})
    encoder = ImportedEncoder(model, described(tensors={"axes": axes}), None)
    expected = ScoringPipeline.load(imported).embed(spoken())
    np.testing.assert_allclose(encoder.embed(encoder.samples(spoken()))[0], expected, atol=1e-5)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(
    ("seconds", "starts"), [(1.0, [0]), (1.5, [0, 50]), (1.7, [0, 50]), (1.8, [0, 50, 81]), (0.3, [0]), (9.0, None)]
)
def test_chunks_are_embedded_alone_and_their_unit_vectors_averaged(
    batch: bool, seconds: float, starts: list[int] | None
) -> None:
    network = Statistics()
    free = {0: "batch"} if batch else {}
    model = onnx_of(network, torch.randn(2 if batch else 1, 100, BANDS), free=free)  # of 100 frames alone
    encoder = ImportedEncoder(model, described(chunks={"frames": 100, "hop": 50}), None)
    samples = encoder.samples(spoken(seconds))
    frames = encoder.front_end(torch.from_numpy(samples)).numpy()
    if starts is None:
        starts = list(range(0, len(frames) - 99, 50))
        assert len(starts) == 17
    parts = [by_hand(frames[start : start + 100], network) for start in starts]
    np.testing.assert_allclose(encoder.embed(samples)[0], unit(np.mean(parts, axis=0)), atol=1e-5)


def test_an_encoder_can_be_told_how_many_frames_there_are() -> None:
    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Statistics()

        def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
            return self.inner(features) * (lengths / features.shape[1]).unsqueeze(1)

    model = onnx_of(Told(), (torch.randn(2, 100, BANDS), torch.tensor([100, 100])), inputs=("audio", "length"))
    description = described(tensors={"input": "audio", "lengths": "length"})
    encoder = ImportedEncoder(model, description, None)
    plain = ImportedEncoder(statistics(), described(), None)
    importing.check(encoder)
    samples = plain.samples(spoken())
    np.testing.assert_allclose(encoder.embed(samples)[0], plain.embed(samples)[0], atol=1e-5)


def test_pauses_are_cut_out_and_long_recordings_cut_short_where_the_description_says_so() -> None:
    pause = np.random.default_rng(0).normal(0, 1e-4, 16_000).astype(np.float32)
    waveform = Waveform(np.concatenate([spoken(2.0).samples, pause, spoken(2.0, take=1).samples]), 8000)
    encoder = ImportedEncoder(statistics(), described(speech_only=True), None)
    np.testing.assert_array_equal(encoder.samples(waveform), quality.speech_only(waveform).samples)
    assert len(encoder.samples(waveform)) < len(waveform.samples)
    short = ImportedEncoder(statistics(), described(max_seconds=1.5), None)
    assert len(short.samples(waveform)) == 12_000
    assert short.max_seconds == 1.5


def test_the_mean_of_speech_is_subtracted_and_belongs_to_the_fingerprint(imported: Path, tmp_path: Path) -> None:
    speech = [spoken(take=take, speaker=speaker) for speaker in (1, 2) for take in (1, 2)]
    fingerprint = import_encoder(statistics(), described(), tmp_path / "centred", ABOUT, speech)
    plain, centred = ScoringPipeline.load(imported), ScoringPipeline.load(tmp_path / "centred")
    centre = np.mean([plain.embed(each) for each in speech], axis=0)
    np.testing.assert_allclose(load_file(tmp_path / "centred" / "centre.safetensors")["centre"], centre, atol=1e-6)
    np.testing.assert_allclose(centred.embed(spoken()), unit(plain.embed(spoken()) - centre), atol=1e-5)
    assert fingerprint == centred.fingerprint != plain.fingerprint
    save_file({"centre": np.zeros(DIMENSIONS, dtype=np.float32)}, tmp_path / "centred" / "centre.safetensors")
    with pytest.raises(PipelineError, match="fingerprint"):
        ScoringPipeline.load(tmp_path / "centred")


def test_the_fingerprint_covers_the_file_and_the_whole_description(imported: Path, tmp_path: Path) -> None:
    def fingerprint(model: bytes, **changes: Any) -> str:
        return import_encoder(model, described(**changes), tmp_path / "other", ABOUT)

    first = ScoringPipeline.load(imported).fingerprint
    assert fingerprint(statistics()) == first
    assert import_encoder(statistics(), described(), tmp_path / "other", replace(ABOUT, name="renamed")) == first
    others = [
        fingerprint(statistics(seed=1)),
        fingerprint(statistics(), speech_only=True),
        fingerprint(statistics(), features=MEL | {"window": "hamming"}),
        fingerprint(statistics(), signal={"level_dbfs": -30}),
        fingerprint(statistics(), normalisation="mean"),
        fingerprint(statistics(), chunks={"frames": 100, "hop": 50}),
    ]
    assert len({first, *others}) == len(others) + 1


def test_the_pipeline_says_what_it_is_and_accepts_nobody_until_it_is_calibrated(imported: Path) -> None:
    written = json.loads((imported / "pipeline.json").read_text())
    assert sorted(path.name for path in imported.iterdir()) == ["encoder.onnx", "pipeline.json"]
    assert written["imported"] == asdict(ABOUT) | {"opset": 17, "centred": False}
    assert Description.from_dict(written["config"]) == described()
    assert written["config"]["features"]["logarithm"] == "natural"  # what was left out stands there, too
    pipeline = ScoringPipeline.load(imported)
    found = pipeline.compare(
        pipeline.embed(spoken()), quality.measure(spoken()), pipeline.embed(spoken())[None], np.array([30.0])
    )
    assert found.log_likelihood_ratio == pytest.approx([0.0])
    assert found.probability[0] < pipeline.threshold
    with pytest.raises(PipelineError, match="was imported"):
        _ = pipeline.own


def test_a_calibration_can_be_put_into_an_imported_pipeline(copy: Path) -> None:
    recalibrate(copy, Calibration.of(16, -8, 0.3), 0.5)
    assert ScoringPipeline.load(copy).calibration == Calibration.of(16, -8, 0.3)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "pipeline.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "encoder.onnx").unlink(),
        lambda folder: (folder / "encoder.onnx").write_bytes(b"nothing"),
        lambda folder: (folder / "encoder.onnx").write_bytes(statistics(seed=1)),
        lambda folder: edit(folder, imported={"centred": True}),
        lambda folder: edit(folder, imported={}),
        lambda folder: edit(folder, config=DESCRIPTION | {"max_seconds": 3}),
        lambda folder: edit(folder, config=DESCRIPTION | {"unknown": 3}),
        lambda folder: edit(folder, config=None),
    ],
)
def test_a_damaged_folder_is_refused(copy: Path, damage: Callable[[Path], object]) -> None:
    damage(copy)
    with pytest.raises(PipelineError):
        ScoringPipeline.load(copy)


class BatchNormalised(Statistics):
    """Subtracts the mean over the clips that are embedded together."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features - 0.5 * features.mean(dim=0, keepdim=True))


class Undefined(Statistics):
    """The logarithm of a negative number, on silence alone."""

    def forward(self, features: Tensor) -> Tensor:
        quiet = features.mean(dim=(1, 2)) < -20
        return torch.log(torch.where(quiet, -1.0, 2.0)).unsqueeze(1) * super().forward(features)


class Constant(Statistics):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features * 0)


class PerFrame(Statistics):
    def forward(self, features: Tensor) -> Tensor:
        return self.map(torch.cat([features, features], dim=2))


def other_operator() -> bytes:
    """A model with an operator that nobody has."""
    model = onnx.load_model_from_string(statistics())
    model.graph.node[0].domain = "elsewhere"
    model.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))
    return model.SerializeToString()


def later_opset() -> bytes:
    model = onnx.load_model_from_string(statistics())
    model.opset_import[0].version = 999
    return model.SerializeToString()


def external() -> bytes:
    model = onnx.load_model_from_string(statistics())
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "/etc/hostname")
    tensor.ClearField("raw_data")
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("model", "changes", "code", "said"),
    [
        (lambda: b"", {}, "not_onnx", "holds no operator"),
        (lambda: b"PK\x03\x04 no model", {}, "not_onnx", "is not an ONNX model"),
        (lambda: statistics()[:500], {}, "not_onnx", "is not an ONNX model"),
        (external, {}, "external_data", "another file"),
        (later_opset, {}, "unsupported_opset", "999"),
        (other_operator, {}, "unsupported_opset", "elsewhere"),
        (statistics, {"tensors": {"input": "mel"}}, "unknown_tensor", "inputs are features; the description has mel"),
        (statistics, {"tensors": {"output": "e"}}, "unknown_tensor", "outputs are embedding; the description has e"),
        (statistics, {"tensors": {"lengths": "length"}}, "unknown_tensor", "length"),
        (
            statistics,
            {"features": MEL | {"bands": 24}},
            "wrong_shape",
            "20 bands alone; the description gives 24",
        ),
        (statistics, {"tensors": {"axes": ["batch", "bands", "frames"]}}, "wrong_shape", "20 frames alone"),
        (
            statistics,
            {"tensors": {"axes": ["batch", "channel", "bands", "frames"]}},
            "wrong_shape",
            "has 3 axes; tensors.axes names 4",
        ),
        (lambda: onnx_of(Statistics(), EXAMPLE, free={0: "batch"}), {}, "wrong_shape", "takes 100 frames alone"),
        (lambda: onnx_of(Statistics(), EXAMPLE, free={1: "frames"}), {}, "wrong_shape", "takes 2 batch alone"),
        (lambda: onnx_of(PerFrame(), EXAMPLE), {}, "wrong_shape", "for 1 clips, not one vector each"),
        (
            lambda: onnx_of(nn.Sequential(nn.AvgPool1d(2), Statistics(10), nn.Unflatten(1, (3, 8))), EXAMPLE),
            {},
            "wrong_shape",
            "embedding is 1x3x8 for 1 clips",
        ),
        (lambda: onnx_of(Undefined(), EXAMPLE), {}, "not_finite", "embedding of silence"),
        (lambda: onnx_of(Random(), EXAMPLE), {}, "not_deterministic", "second time"),
        (lambda: onnx_of(BatchNormalised(), EXAMPLE), {}, "depends_on_batch", "when others are embedded with it"),
        (lambda: onnx_of(Constant(), EXAMPLE), {}, "constant_output", "noise and a voice"),
    ],
)
def test_an_encoder_that_cannot_serve_is_refused_by_a_code(
    model: Callable[[], bytes], changes: dict[str, Any], code: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(EncoderRefused, match=said) as refused:
        import_encoder(model(), described(**changes), tmp_path / "pipeline", ABOUT)
    assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_cannot_take_a_short_sound_is_refused_unless_it_is_repeated(tmp_path: Path) -> None:
    convolution = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv2d(1, 1, (15, 1)), nn.Flatten(1, 2))
    network = nn.Sequential(convolution, Statistics())
    model = onnx_of(network, EXAMPLE)
    with pytest.raises(EncoderRefused) as refused:
        import_encoder(model, described(chunks={"min_frames": 1}), tmp_path / "pipeline", ABOUT)
    assert refused.value.code == "wrong_shape"
    import_encoder(model, described(chunks={"min_frames": 20}), tmp_path / "pipeline", ABOUT)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"unknown": 1}, "unknown: is not a key"),
        ({"features": None}, "features.kind"),
        ({"chunks": {"frames": 100}}, "chunks.hop: must be from 1 to chunks.frames"),
        ({"chunks": {"frames": 100, "hop": 101}}, "chunks.hop"),
        ({"tensors": {"axes": ["batch", "frames"]}}, "tensors.axes: must name bands, batch, frames once each"),
        ({"tensors": {"axes": ["batch", "frames", "frames", "bands"]}}, "tensors.axes"),
        ({"tensors": {"axes": ["frames", "time"]}}, "tensors.axes"),
        ({"normalisation": "median"}, "normalisation: 'median' is not one of none, mean, mean_deviation"),
        ({"signal": {"dither": 1.0}}, "signal.dither: is not a key"),
        ({"sample_rate": 0}, "sample_rate: 0 must be at least 4000"),
    ],
)
def test_a_description_that_does_not_hold_together_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        described(**changes)


def test_what_is_no_number_during_a_call_is_an_error_and_not_an_embedding(copy: Path) -> None:
    pipeline = ScoringPipeline.load(copy)
    with pytest.raises(PipelineError, match="no number"):
        pipeline.encoder.embed(np.full(8000, np.nan, dtype=np.float32))


def test_the_command_makes_a_pipeline_and_says_its_fingerprint(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(statistics())
    (tmp_path / "front_end.yaml").write_text(yaml.safe_dump(DESCRIPTION))
    (tmp_path / "LICENSE").write_text("As you like.")
    (tmp_path / "audio").mkdir()
    for take in range(3):
        (tmp_path / "audio" / f"{take}.wav").write_bytes(wav(spoken(take=take).samples, 8000))
    table = pd.DataFrame({"audio": ["0.wav", "1.wav", "absent.wav"], "split": ["train", "train", "dev"]})
    table.to_csv(tmp_path / "clips.csv")
    arguments = ["import-encoder", *(str(tmp_path / name) for name in ("model.onnx", "front_end.yaml", "pipeline"))]
    arguments += ["--name", "small", "--origin", "made in a test", "--licence", "MIT"]
    arguments += ["--licence-file", str(tmp_path / "LICENSE")]
    assert cli.main(arguments) == 0
    fingerprint = ScoringPipeline.load(imported).fingerprint
    assert capsys.readouterr().out == f"{tmp_path / 'pipeline'}: fingerprint {fingerprint}\n"
    written = json.loads((tmp_path / "pipeline" / "pipeline.json").read_text())
    assert written["imported"]["licence_text"] == "As you like."

    assert cli.main([*arguments, "--centre-on", str(tmp_path / "clips.csv"), str(tmp_path / "audio")]) == 0
    plain, centred = ScoringPipeline.load(imported), ScoringPipeline.load(tmp_path / "pipeline")
    clips = [plain.embed(spoken(take=take)) for take in (0, 1, 0, 1, 2)]
    assert isinstance(centred.encoder, ImportedEncoder) and centred.encoder.centre is not None
    np.testing.assert_allclose(centred.encoder.centre, np.mean(clips, axis=0), atol=1e-3)
    capsys.readouterr()

    (tmp_path / "audio" / "0.wav").write_bytes(b"no sound")
    assert cli.main([*arguments, "--centre-on", str(tmp_path / "audio")]) == 2
    assert capsys.readouterr().err.startswith("not_audio: ")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("not_onnx: ")
    (tmp_path / "front_end.yaml").write_text("features: {kind: plp}")
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("invalid_configuration: features.kind")
    (tmp_path / "model.onnx").unlink()
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("unreadable_file: ")
    assert ScoringPipeline.load(tmp_path / "pipeline").fingerprint == centred.fingerprint  # nothing was replaced


def test_the_stages_of_scoring_are_timed(imported: Path) -> None:
    with one_thread():
        found = benchmark.stages(benchmark.runtimes(imported), seconds=1, repeats=1)
    assert list(found) == ["decode", "VAD", "features", "fp32"]
    assert all(value > 0 for value in found.values())


def test_exports_of_an_imported_encoder_are_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (copy / "pipeline.json").read_text()
    assert cli.main(["export-onnx", str(copy)]) == 2
    assert "was imported" in capsys.readouterr().err
    assert (copy / "pipeline.json").read_text() == before


def test_every_code_is_documented() -> None:
    source = Path(importing.__file__).parent
    guide = (source.parents[2] / "docs" / "importing-encoders.md").read_text()
    raised = {
        word
        for name in ("importing.py", "imported.py")
        for word in re.findall(r"EncoderRefused\(\s*\"(\w+)\"", (source / name).read_text())
    }
    assert len(raised) == 9
    assert {code for code in raised if f"| `{code}` |" not in guide} == set()


def test_onnx_runtime_keeps_to_the_threads_it_is_given() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = ImportedEncoder(statistics(), described(), None, threads=1)
    finally:
        torch.set_num_threads(before)
    assert isinstance(encoder._session, onnxruntime.InferenceSession)
    assert encoder._session.get_session_options().intra_op_num_threads == 1
