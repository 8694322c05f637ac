import shutil
from pathlib import Path

import numpy as np
import pytest

from mltraining import recordings, registry, scorer, worker_client
from mltraining.errors import AudioTooLong, EmptyAudio, ModelUnavailable, NotAudio, SilentAudio
from mltraining.messages import PING, Ping, Recording
from mltraining.models import ModelVersion
from tests.support.audio import voice, wav
from tests.support.echo_tasks import EMBED
from tests.support.model import put_into_service, register_untrained
from tests.support.waiting import until
from tests.support.workers import running_worker

pytestmark = pytest.mark.usefixtures("models_folder")


@pytest.mark.django_db
def test_without_a_promoted_model_there_is_none_to_score_with(tmp_path: Path) -> None:
    register_untrained(tmp_path)
    assert scorer.active_model() is None


@pytest.mark.django_db
def test_the_active_model_embeds_a_recording_to_unit_length_and_measures_it(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    put_into_service(model)
    loaded = scorer.active_model()
    assert loaded is not None
    assert loaded.fingerprint == model.fingerprint
    recording = wav(voice(1, seconds=2.5, sample_rate=8000), 8000)
    analysis = recordings.analyse(Recording(audio=recording))
    embedded = recordings.voice_of(analysis, loaded)
    assert embedded.vector.shape == (loaded.pipeline.dimensions,)
    assert np.linalg.norm(embedded.vector) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(embedded.vector, recordings.embed(recording, loaded))
    report = analysis.report()
    assert report.duration_seconds == pytest.approx(2.5)
    assert (report.container, report.codec, report.sample_rate) == ("wav", "pcm_s16le", 8000)
    assert analysis.remainder() is None  # the upload itself may be stored


@pytest.mark.django_db
def test_what_is_redacted_is_cut_out_before_anything_is_embedded_or_kept(tmp_path: Path) -> None:
    put_into_service(register_untrained(tmp_path))
    samples, model = voice(1, seconds=4, sample_rate=8000), scorer.active_model()
    assert model is not None
    left = wav(np.concatenate([samples[:8000], samples[20_000:24_000]]), 8000)
    analysis = recordings.analyse(Recording(audio=wav(samples, 8000), redact=((1, 2.5), (3, 9))))
    assert analysis.remainder() == left
    assert analysis.report().duration_seconds == pytest.approx(1.5)
    assert np.array_equal(recordings.voice_of(analysis, model).vector, recordings.embed(left, model))
    assert analysis.acoustic_fingerprint() == recordings.analyse(Recording(audio=left)).acoustic_fingerprint()
    with pytest.raises(EmptyAudio):
        recordings.analyse(Recording(audio=wav(samples, 8000), redact=((0, 4),)))


@pytest.mark.django_db
def test_a_model_is_read_once_and_two_are_kept(tmp_path: Path) -> None:
    versions = [register_untrained(tmp_path, seed=seed).version for seed in range(3)]
    first = scorer.load(versions[0])
    assert scorer.load(versions[0]) is first
    for version in versions[1:]:
        scorer.load(version)
    assert scorer.loaded_versions() == versions[1:]


@pytest.mark.django_db
@pytest.mark.parametrize("damage", ["missing", "truncated weights", "no description", "another model's weights"])
def test_a_damaged_model_is_unavailable_and_is_not_kept(tmp_path: Path, damage: str) -> None:
    model = register_untrained(tmp_path)
    folder = registry.folder_of(model.version)
    match damage:
        case "missing":
            shutil.rmtree(folder)
        case "truncated weights":
            (folder / "encoder.safetensors").write_bytes(b"short")
        case "no description":
            (folder / "pipeline.json").write_text("{}")
        case "another model's weights":
            other = registry.folder_of(register_untrained(tmp_path, seed=1).version)
            shutil.copyfile(other / "encoder.safetensors", folder / "encoder.safetensors")
    with pytest.raises(ModelUnavailable):
        scorer.load(model.version)
    assert scorer.loaded_versions() == []


@pytest.mark.django_db
def test_a_sound_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    """Its fingerprint is right for its own weights, but it is not the one that the registry knows."""
    model, other = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    shutil.rmtree(registry.folder_of(model.version))
    shutil.copytree(registry.folder_of(other.version), registry.folder_of(model.version))
    with pytest.raises(ModelUnavailable):
        scorer.load(model.version)


@pytest.mark.parametrize(
    ("recording", "failure"),
    [
        (b"", EmptyAudio),
        (b"not a sound in here, just words" * 20, NotAudio),
        (wav(np.zeros(16_000, dtype=np.float32)), SilentAudio),
        (wav(np.tile(voice(1, seconds=1, sample_rate=8000), 130), 8000), AudioTooLong),
    ],
)
def test_what_is_wrong_with_a_recording_is_said_by_its_own_class(recording: bytes, failure: type[Exception]) -> None:
    with pytest.raises(failure):
        recordings.analyse(Recording(audio=recording))


@pytest.mark.django_db(transaction=True)
def test_a_scoring_worker_has_the_active_and_the_next_model_in_memory_before_a_call_needs_them(tmp_path: Path) -> None:
    first, second = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    recording = Recording(audio=wav(voice(1, seconds=2, sample_rate=8000), 8000))

    def in_memory() -> tuple[str, ...]:
        return worker_client.call(PING, Ping(), deadline_seconds=60).models

    with running_worker(tmp_path / "scoring.log", "scoring", include=["tests.support.echo_tasks"]):
        assert in_memory() == ()
        put_into_service(first)
        until(lambda: in_memory() == (first.version,))
        ModelVersion.objects.filter(pk=second.pk).update(state=ModelVersion.State.PROMOTING)
        until(lambda: in_memory() == (first.version, second.version))
        answer = worker_client.call(EMBED, recording, deadline_seconds=60)
        assert (answer.model_version, answer.model_fingerprint) == (first.version, first.fingerprint)
        here = recordings.embed(recording.audio, scorer.load(first.version))
        np.testing.assert_allclose(answer.vector, here, atol=1e-6)
        (registry.folder_of(first.version) / "encoder.safetensors").unlink()  # it is in memory
        assert worker_client.call(EMBED, recording, deadline_seconds=60).model_version == first.version
        with pytest.raises(EmptyAudio):
            worker_client.call(EMBED, Recording(audio=b""), deadline_seconds=60)
