import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.config import Config
from mltraining.speech.network import build_network
from mltraining.speech.scoring import pipeline as pipelines
from mltraining.speech.scoring import score
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort
from mltraining.speech.scoring.encoder import fingerprint_of
from mltraining.speech.scoring.folder import PipelineError
from mltraining.speech.scoring.pipeline import ScoringPipeline, export
from mltraining.speech.scoring.quality_measures import QualityMeasures
from mltraining.speech.scoring.voiceprints import cosine
from tests.support.audio import encode, voice, wav
from tests.support.model import small_config

CLASSES = ["ada", "ben", "eve"]
COHORT = np.random.default_rng(7).normal(size=(40, 96)).astype(np.float32)


def build(folder: Path, *, seed: int = 1, loss: str = "CosineBCE", head: bool = True, **described: Any) -> str:
    config = small_config(folder, training={"loss_function": loss}, prediction={"inference_chunk_seconds": 2.0})
    torch.manual_seed(seed)
    network = build_network(config, len(CLASSES)).eval()
    rows = np.random.default_rng(3).normal(size=(3, network.dimensions)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return export(
        folder,
        network=network,
        config=described.pop("config", config),
        classes=CLASSES,
        class_rows=rows if head else None,
        calibration=described.pop("calibration", Calibration.of(16, -8, 0.3)),
        threshold=described.pop("threshold", 0.5),
        metrics={"eer": 0.1},
        data_hash="d",
        **described,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "pipeline"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(exported: Path) -> ScoringPipeline:
    return ScoringPipeline.load(exported)


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def spoken(seconds: float = 1.5, take: int = 0, speaker: int = 1) -> Waveform:
    return Waveform(voice(speaker, seconds=seconds, take=take), 16_000)


def test_a_pipeline_carries_what_it_was_exported_with(exported: Path, pipeline: ScoringPipeline) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "classes.json", "encoder.safetensors", "head.safetensors", "pipeline.json",
    ]  # fmt: skip
    assert len(pipeline.fingerprint) == 64
    assert pipeline.calibration == Calibration.of(16, -8, 0.3)
    assert (pipeline.threshold, pipeline.metrics, pipeline.data_hash) == (0.5, {"eer": 0.1}, "d")
    assert {value.dtype for value in load_file(exported / "encoder.safetensors").values()} <= {
        torch.float32, torch.int64,
    }  # fmt: skip


def test_an_embedding_has_unit_length_and_is_the_same_each_time_and_after_another_load(
    exported: Path, pipeline: ScoringPipeline
) -> None:
    embedding = pipeline.embed(spoken())
    assert embedding.shape == (pipeline.dimensions,)
    assert embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(pipeline.embed(spoken()), embedding)
    np.testing.assert_array_equal(ScoringPipeline.load(exported).embed(spoken()), embedding)
    assert not np.allclose(pipeline.embed(spoken(take=5)), embedding)


def test_the_exported_network_embeds_as_the_one_that_was_trained(exported: Path, pipeline: ScoringPipeline) -> None:
    config, features = pipeline.own.config, pipeline.own.features
    assert features is not None
    torch.manual_seed(1)
    trained = build_network(config, len(CLASSES)).eval()
    samples = resample(spoken().samples, 16_000, config.audio.sample_rate)
    with torch.inference_mode():
        expected = trained.embed(features(torch.from_numpy(samples)[None]))[0].numpy()
    np.testing.assert_allclose(pipeline.embed(spoken()), expected, atol=1e-5)


def test_audio_at_another_rate_gives_nearly_the_same_embedding(pipeline: ScoringPipeline) -> None:
    narrow = resample(spoken().samples, 16_000, 8_000)
    assert cosine(pipeline.embed(spoken()), pipeline.embed(Waveform(narrow, 8_000))[None])[0] > 0.999


def test_long_audio_is_the_mean_of_its_chunks_weighed_by_their_length(pipeline: ScoringPipeline) -> None:
    waveform = Waveform(voice(2, seconds=3.5, sample_rate=8_000), 8_000)
    first, rest = (Waveform(part, 8_000) for part in (waveform.samples[:16_000], waveform.samples[16_000:]))
    mean = 2.0 * pipeline.embed(first) + 1.5 * pipeline.embed(rest)
    np.testing.assert_allclose(pipeline.embed(waveform), mean / np.linalg.norm(mean), atol=1e-5)


def test_the_shortest_audio_that_decodes_embeds(pipeline: ScoringPipeline) -> None:
    assert np.isfinite(pipeline.embed(spoken(0.1))).all()


def test_samples_beyond_full_scale_are_clamped(pipeline: ScoringPipeline) -> None:
    loud = spoken().samples * 4
    np.testing.assert_allclose(
        pipeline.embed(Waveform(resample(loud, 16_000, 8_000), 8_000)),
        pipeline.embed(Waveform(np.clip(resample(loud, 16_000, 8_000), -1, 1), 8_000)),
        atol=1e-6,
    )


def test_class_probabilities_are_calibrated_cosines_to_the_class_rows(pipeline: ScoringPipeline) -> None:
    found = pipeline.classify(spoken())
    assert pipeline.class_rows is not None
    ratios = pipeline.calibration.log_likelihood_ratio(cosine(pipeline.embed(spoken()), pipeline.class_rows))
    assert list(found) == CLASSES
    np.testing.assert_allclose(list(found.values()), pipeline.calibration.probability(ratios), atol=1e-6)


def test_a_linear_head_gives_its_sigmoids(tmp_path: Path) -> None:
    build(tmp_path / "linear", loss="BCE")
    pipeline = ScoringPipeline.load(tmp_path / "linear")
    features = pipeline.own.features
    assert features is not None
    torch.manual_seed(1)
    trained = build_network(pipeline.own.config, len(CLASSES)).eval()
    samples = torch.from_numpy(resample(spoken().samples, 16_000, 8_000))[None]
    with torch.inference_mode():
        expected = torch.sigmoid(trained(features(samples))[0])[0].tolist()
    np.testing.assert_allclose(list(pipeline.classify(spoken()).values()), expected, atol=1e-5)


def test_without_its_head_a_pipeline_embeds_the_same_and_knows_no_class(copy: Path, pipeline: ScoringPipeline) -> None:
    (copy / "head.safetensors").unlink()
    (copy / "classes.json").unlink()
    encoder = ScoringPipeline.load(copy)
    assert encoder.fingerprint == pipeline.fingerprint
    np.testing.assert_array_equal(encoder.embed(spoken()), pipeline.embed(spoken()))
    with pytest.raises(PipelineError, match="no class rows"):
        encoder.classify(spoken())


def test_the_fingerprint_is_that_of_the_embedding_space(tmp_path: Path) -> None:
    config = small_config(tmp_path, prediction={"inference_chunk_seconds": 2.0})

    def fingerprint(**changes: Any) -> str:
        return build(tmp_path / "one", **changes)

    def changed(**sections: Any) -> Config:
        return config.with_values(**sections)

    same = fingerprint()
    assert fingerprint(calibration=Calibration.of(20, -9, 0.1), threshold=0.9) == same
    assert fingerprint(head=False) == same
    assert fingerprint(cohort=COHORT) == same
    assert fingerprint(config=changed(training={"epochs": 9}, dataset={"data_folder": "elsewhere"})) == same
    assert fingerprint(seed=2) != same
    assert fingerprint(config=changed(audio={"minimum_frequency": 60})) != same
    assert fingerprint(config=changed(audio={"spectrogram_normalization": "Mean"})) != same
    assert fingerprint(config=changed(prediction={"inference_chunk_seconds": 4.0})) != same


def damage_weights(folder: Path) -> None:
    data = bytearray((folder / "encoder.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "encoder.safetensors").write_bytes(data)


def damage_cohort(folder: Path) -> None:
    save_file({"cohort": torch.ones(3, 95)}, folder / "cohort.safetensors")
    edit(folder, cohort_sha256=hashlib.sha256((folder / "cohort.safetensors").read_bytes()).hexdigest())


def damage_head(folder: Path) -> None:
    head = load_file(folder / "head.safetensors")
    head["class_rows"][0] = head["class_rows"][1]
    save_file(head, folder / "head.safetensors")


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "pipeline.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "damage",
    [
        damage_weights,
        damage_head,
        damage_cohort,
        lambda folder: edit(folder, cohort_sha256="0" * 64),
        lambda folder: (folder / "encoder.safetensors").unlink(),
        lambda folder: (folder / "head.safetensors").unlink(),
        lambda folder: (folder / "pipeline.json").unlink(),
        lambda folder: (folder / "pipeline.json").write_text("{"),
        lambda folder: (folder / "pipeline.json").write_text("[]"),
        lambda folder: (folder / "encoder.safetensors").write_bytes(b"nothing"),
        lambda folder: (folder / "classes.json").write_text('{"classes": []}'),
        lambda folder: edit(folder, fingerprint="0" * 64),
        lambda folder: edit(folder, threshold=1.5),
        lambda folder: edit(folder, threshold="high"),
        lambda folder: edit(folder, config={"unknown": 1}),
        lambda folder: edit(folder, calibration={"slope": 1, "offset": 0, "prior": 0.5, "version": "wrong"}),
        lambda folder: edit(folder, calibration=None),
    ],
)
def test_a_damaged_folder_is_refused(copy: Path, damage: Callable[[Path], object]) -> None:
    damage(copy)
    with pytest.raises(PipelineError):
        ScoringPipeline.load(copy)


def test_weights_of_another_architecture_are_refused_even_under_their_own_fingerprint(copy: Path) -> None:
    save_file({"backbone.weight": torch.zeros(3)}, copy / "encoder.safetensors")
    config = Config.from_dict(json.loads((copy / "pipeline.json").read_text())["config"])
    edit(copy, fingerprint=fingerprint_of(copy / "encoder.safetensors", config))
    with pytest.raises(PipelineError, match="damaged"):
        ScoringPipeline.load(copy)


def test_an_export_replaces_the_one_before_and_leaves_no_draft(tmp_path: Path) -> None:
    build(tmp_path / "pipeline", seed=1)
    second = build(tmp_path / "pipeline", seed=2, head=False)
    assert ScoringPipeline.load(tmp_path / "pipeline").fingerprint == second
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]


def test_threads_share_a_pipeline(pipeline: ScoringPipeline) -> None:
    waveforms = [spoken(1.0, take) for take in range(4)]
    expected = [pipeline.embed(waveform) for waveform in waveforms]
    found: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        found[number] = pipeline.embed(waveforms[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_allclose(found[number], expected[number], atol=1e-6)


def test_a_file_is_scored_from_the_command_line(
    exported: Path, pipeline: ScoringPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call, reference = tmp_path / "call.wav", tmp_path / "reference.ogg"
    call.write_bytes(wav(spoken().samples))
    reference.write_bytes(encode(spoken(take=2).samples, "ogg_opus"))
    arguments = [str(exported), str(call), "--against", str(reference), "--embedding", "--top", "2"]
    assert score.main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    verification = printed["verification"]
    assert printed["model"] == pipeline.fingerprint
    assert len(printed["classes"]) == 2
    assert printed["classes"][0]["probability"] >= printed["classes"][1]["probability"]
    assert len(printed["embedding"]) == pipeline.dimensions
    assert verification["log_likelihood_ratio"] == pytest.approx(16 * verification["score"] - 8)
    assert verification["accepted"] == (verification["probability"] >= 0.5)


def test_the_command_line_says_what_it_refuses_and_scores_the_rest(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    (tmp_path / "good.wav").write_bytes(wav(spoken().samples))
    paths = [str(tmp_path / name) for name in ("bad.wav", "missing.wav", "good.wav")]
    assert score.main([str(exported), *paths]) == 2
    bad, missing, good = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (bad["error"]["code"], missing["error"]["code"]) == ("not_audio", "unreadable_file")
    assert good["classes"]
    assert score.main([str(tmp_path), paths[2]]) == 2
    assert "missing" in capsys.readouterr().err


def test_without_a_cohort_a_score_is_the_cosine(pipeline: ScoringPipeline) -> None:
    vectors = Cohort(COHORT).means
    embedding = pipeline.embed(spoken())
    np.testing.assert_array_equal(pipeline.score(embedding, vectors), cosine(embedding, vectors))


def test_a_cohort_that_does_not_normalise_leaves_the_cosine_and_is_kept_as_decoys(tmp_path: Path) -> None:
    settings = small_config(tmp_path, prediction={"normalise_scores": False})
    build(tmp_path / "one", cohort=COHORT, config=settings)
    pipeline = ScoringPipeline.load(tmp_path / "one")
    vectors = Cohort(COHORT).means
    assert pipeline.decoys is not None
    np.testing.assert_allclose(pipeline.decoys, vectors, atol=1e-6)
    embedding = pipeline.embed(spoken())
    np.testing.assert_array_equal(pipeline.score(embedding, vectors), cosine(embedding, vectors))


@pytest.mark.parametrize("half", [False, True])
def test_with_a_cohort_a_score_is_normalised_by_it(tmp_path: Path, half: bool) -> None:
    calibration = Calibration.of(2, -5, 0.3, (0.5, 0.25, 0.1))
    build(tmp_path / "one", cohort=COHORT, half=half, calibration=calibration)
    pipeline = ScoringPipeline.load(tmp_path / "one")
    cohort = Cohort(COHORT)
    assert pipeline.cohort is not None
    np.testing.assert_allclose(pipeline.cohort.means, cohort.means, atol=1e-3 if half else 1e-6)
    embedding, voiceprints = pipeline.embed(spoken()), np.stack([pipeline.embed(spoken(take=take)) for take in (1, 2)])
    statistics = pipeline.cohort.statistics(voiceprints)
    expected = Cohort.normalise(cosine(embedding, voiceprints), statistics, pipeline.cohort.statistics(embedding[None]))
    np.testing.assert_allclose(pipeline.score(embedding, voiceprints), expected)
    np.testing.assert_array_equal(pipeline.score(embedding, voiceprints, statistics), expected)

    quality = Quality(5.0, 4.0, 25.0, 0.0)
    found = pipeline.compare(embedding, quality, voiceprints, np.array([10.0, 30.0]))
    np.testing.assert_allclose(found.score, expected)
    ratios = calibration.log_likelihood_ratio(expected, QualityMeasures(4.0, np.array([10.0, 30.0]), 25.0))
    np.testing.assert_allclose(found.log_likelihood_ratio, ratios)
    np.testing.assert_allclose(found.probability, calibration.probability(ratios))
    assert set(pipeline.classify(spoken())) == set(CLASSES)


def test_half_precision_weighs_half_and_embeds_nearly_the_same(
    exported: Path, pipeline: ScoringPipeline, tmp_path: Path
) -> None:
    build(tmp_path / "half", half=True)
    assert (tmp_path / "half" / "encoder.safetensors").stat().st_size < 0.51 * (
        exported / "encoder.safetensors"
    ).stat().st_size
    half = ScoringPipeline.load(tmp_path / "half")
    assert half.own.network is not None
    assert {value.dtype for value in half.own.network.state_dict().values()} <= {torch.float32, torch.int64}
    assert cosine(half.embed(spoken()), pipeline.embed(spoken())[None])[0] > 0.9999
    assert half.fingerprint != pipeline.fingerprint  # other weights, to the bit


def test_another_calibration_needs_no_other_weights(copy: Path, pipeline: ScoringPipeline) -> None:
    other = Calibration.of(20, -9, 0.1, (0.1, 0.2, 0.3))
    pipelines.recalibrate(copy, other, 0.25)
    found = ScoringPipeline.load(copy)
    assert (found.calibration, found.threshold, found.fingerprint) == (other, 0.25, pipeline.fingerprint)
    assert (found.metrics, found.data_hash) == (pipeline.metrics, pipeline.data_hash)
    assert not list(copy.glob(".*"))
    with pytest.raises(ValueError, match="threshold"):
        pipelines.recalibrate(copy, other, 1.0)

    shared = pipeline.recalibrated(other, 0.25)
    assert (shared.calibration, shared.encoder) == (other, pipeline.encoder)
    assert pipeline.calibration == Calibration.of(16, -8, 0.3)  # whoever scores with it goes on as before
