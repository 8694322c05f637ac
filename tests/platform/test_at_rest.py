"""What lies in the database, the storage, the queue and the working folders: read as a thief would, byte by byte."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as service
from django.db import connection
from pytest_django import Settings

from enrollment import heard as heard_recordings
from enrollment import keys, selectors, services, voiceprints
from enrollment.models import Customer, HeardRecording, SealedAudio, Voiceprint
from mltraining import worker_client
from mltraining.messages import Recording
from mltraining.speech.audio.replay import acoustic_fingerprint
from tests.support.audio import voice, wav
from tests.support.customers import TELLER, enrolled, run_erasures
from tests.support.model import activate_model
from tests.support.waiting import until
from voiceauth.platform import storage as audio_store
from voiceauth.platform import vault
from voiceauth.platform.audit import chain
from voiceauth.platform.errors import ScoringUnavailable
from voiceauth.retraining import training_data
from voiceauth.retraining.models import TrainingRun
from voiceauth.verification import call_audio
from voiceauth.verification.messages import VERIFY, OneVoice, VerifyCall
from voiceauth.verification.models import CallAudio, Decision

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_recogniser")]

CLIPS = 3
MODEL = "f" * 64


@pytest.fixture
def append_only_file() -> Iterator[Path]:
    """Redis writes every command to its append-only file, as it does in production."""
    redis = worker_client.connection()
    redis.flushdb()
    redis.config_set("appendonly", "yes")
    until(lambda: redis.info("persistence")["aof_rewrite_in_progress"] == 0)
    yield Path(str(redis.config_get("dir")["dir"]))
    redis.config_set("appendonly", "no")


def clip(number: int, take: int) -> bytes:
    return wav(voice(number, seconds=1.5, sample_rate=8000, take=take), 8000)


def vector_of(number: int, take: int) -> np.ndarray:
    vector = np.random.default_rng([number, take]).normal(size=192).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def customer_with_a_voice(number: int) -> Customer:
    """Recordings, embeddings, a voiceprint, and a call of theirs that was kept, and its fingerprint."""
    customer = enrolled(number, clips=CLIPS)
    for take, sample in enumerate(customer.samples.order_by("created_at")):
        voiceprints.store_embedding(sample, MODEL, vector_of(number, take))
    voiceprints.refresh_voiceprint(customer, MODEL)
    call = Decision.objects.create(kind="verify", decision="ACCEPT", customer_id=customer.customer_id, actor="ivr")
    call_audio.keep(call, customer, clip(number, 90))
    heard_recordings.remember(customer, decision_id=call.pk, acoustic_fingerprint=heard(number))
    return customer


def heard(number: int) -> bytes:
    """What that call left, to be told again."""
    return acoustic_fingerprint(voice(number, seconds=1.5, sample_rate=8000, take=90))


def ask_a_worker_that_is_not_there(number: int) -> None:
    """A verification as the queue holds it."""
    question = VerifyCall(
        recording=Recording(audio=clip(number, 91)),
        claimed=f"BANK-{number}",
        customer=None,
        target_far=0.01,
        rules=OneVoice(min_llr=0.0, min_speech_seconds=1.0),
        promised=False,
    )
    with pytest.raises(ScoringUnavailable):
        worker_client.call(VERIFY, question, deadline_seconds=0.3)


def voice_bytes(number: int, customer: Customer) -> set[bytes]:
    """What gives the voice away: pieces of every recording, as bytes, base64 and numbers, and of every vector."""
    found = {heard(number)[:48], heard(number)[300:348]}
    for take in [*range(CLIPS), 90, 91]:
        audio = clip(number, take)
        for start in (3000, 9000, 15000):  # behind the header
            piece = audio[start : start + 48]
            samples = np.frombuffer(piece, dtype="<i2")
            found |= {piece, samples[:6].astype("<f4").tobytes(), (samples[:6] / 32768).astype("<f4").tobytes()}
            found |= {base64.b64encode(audio[start + shift : start + 48]) for shift in range(3)}
    known = voiceprints.voiceprint_of(customer, MODEL)
    assert known is not None
    for vector in [known.vector, *(vector_of(number, take) for take in range(CLIPS))]:
        raw = np.asarray(vector, dtype="<f4").tobytes()
        found |= {
            raw[:16],
            raw[400:416],
            np.asarray(vector[:3], dtype="<f8").tobytes(),
            repr(float(vector[0])).encode(),
        }
        found |= {base64.b64encode(raw[shift:48]) for shift in range(3)}
    assert all(len(piece) >= 12 for piece in found)
    return found


def sealed_bytes(customer: Customer) -> set[bytes]:
    """The customer's ciphertexts and their wrapped key, wherever they are kept."""
    found = {bytes(customer.data_key)}
    found |= {audio_store.read(row.content) for row in SealedAudio.objects.filter(sample__customer=customer)}
    found |= {audio_store.read(row.content) for row in CallAudio.objects.filter(customer=customer)}
    found |= {bytes(row.content) for row in Voiceprint.objects.filter(customer=customer)}
    found |= {bytes(row.content) for row in HeardRecording.objects.filter(customer=customer)}
    for sample in customer.samples.all():
        found |= {bytes(row.content) for row in sample.embeddings.all()}
    return found


def everything(redis_folder: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """All that is stored, by its place: each table, each file, each key of the queue, the queue's own file."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'")
        for schema, table in cursor.fetchall():
            with cursor.copy(f'COPY "{schema}"."{table}" TO STDOUT (FORMAT binary)') as rows:
                yield f"table {table}", b"".join(bytes(part) for part in rows)
    folders = [Path(service.STATE_DIR), Path(service.VOICEAUTH_RUNS_DIR), Path(service.VOICEAUTH_MODELS_DIR)]
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        yield f"file {path}", path.read_bytes()
    redis = worker_client.connection()
    for name in redis.scan_iter("*"):
        yield f"queue {name!r}", bytes(name) + (redis.dump(name) or b"")
    for path in redis_folder.rglob("appendonly*") if redis_folder else []:
        if path.is_file():
            yield f"queue's file {path.name}", path.read_bytes()


def places(needles: set[bytes], redis_folder: Path | None = None) -> set[str]:
    """Where any of ``needles`` is."""
    return {place for place, content in everything(redis_folder) if any(each in content for each in needles)}


def test_a_stolen_dump_without_the_master_key_yields_no_audio_and_no_voiceprint(
    append_only_file: Path, settings: Settings, tmp_path: Path
) -> None:
    ann = customer_with_a_voice(1)
    training_data.export_manifest(training_data.folder_of(TrainingRun.objects.create(requested_by="ops").id))
    ask_a_worker_that_is_not_there(1)
    assert places(voice_bytes(1, ann), append_only_file) == set()
    found = {place.split(" ")[0] for place in places(sealed_bytes(ann), append_only_file)}
    assert found == {"table", "file"}  # so the search does look where the voice lies
    assert any(b"question:" in content for place, content in everything(append_only_file) if "queue's file" in place)

    settings.VOICEAUTH_MASTER_KEYS_DIR, settings.VOICEAUTH_MASTER_KEY = tmp_path / "the thief's", "t" * 64
    (tmp_path / "the thief's").mkdir()
    for key_file in Path(service.SECRETS_DIR).glob("voiceauth_master_key*"):  # the ids are no secret
        (tmp_path / "the thief's" / key_file.name).write_text("t" * 64)
    ann = Customer.objects.get(pk=ann.pk)  # as the dump has it
    for sample in ann.samples.select_related("audio"):
        with pytest.raises((vault.Unsealable, vault.UnknownMasterKey)):
            selectors.sample_audio(sample)
    with pytest.raises((vault.Unsealable, vault.UnknownMasterKey)):
        voiceprints.voiceprint_of(ann, MODEL)
    stolen = [content for _, content in everything() if content]
    guesses = {bytes(ann.data_key)[start : start + 32] for start in range(len(ann.data_key) - 31)}
    guesses |= {hashlib.sha256(each).digest() for each in [*guesses, ann.pk.bytes, str(ann.pk).encode(), *stolen]}
    for kept, context in _ciphertexts(ann):
        for guess in guesses:
            with pytest.raises(vault.Unsealable):
                vault.unseal(guess, kept, context)


def _ciphertexts(customer: Customer) -> Iterator[tuple[bytes, str]]:
    """Each with the context that the source tells anybody."""
    sample = customer.samples.select_related("audio").first()
    assert sample is not None
    yield audio_store.read(sample.audio.content), f"audio:{customer.pk}:{sample.pk}"
    yield bytes(customer.voiceprints.get().content), f"voiceprint:{customer.pk}:{MODEL}"


def test_after_an_erasure_no_place_holds_a_byte_of_the_voice_and_the_trail_still_verifies(
    append_only_file: Path,
) -> None:
    activate_model()
    ann, bob = customer_with_a_voice(1), customer_with_a_voice(2)
    run = TrainingRun.objects.create(requested_by="ops")
    folder = training_data.folder_of(run.id)
    training_data.export_manifest(folder)
    ask_a_worker_that_is_not_there(1)
    of_ann = voice_bytes(1, ann) | sealed_bytes(ann) | {path.read_bytes() for path in _exported(folder, ann)}
    of_bob = sealed_bytes(bob) | {path.read_bytes() for path in _exported(folder, bob)}
    data_key = keys._data_key(ann)
    kept_by_ann = {str(name) for name in _names(ann)}
    before = places(of_ann, append_only_file)
    names = ("voiceprint", "sampleembedding", "heardrecording", "customer")
    assert {f"table enrollment_{name}" for name in names} < before
    assert sum(place.startswith("file ") for place in before) == 2 * CLIPS + 1

    erasure = services.erase_customer(customer_id=ann.customer_id, actor=TELLER)
    assert not any(place.startswith("table ") for place in places(of_ann | {data_key}))  # at once
    run_erasures()
    until(lambda: not list(worker_client.connection().scan_iter("question:*")))  # they live as long as the call

    assert places(of_ann | {data_key}, append_only_file) == set()
    erasure.refresh_from_db()
    assert (erasure.state, erasure.recordings) == ("SUCCEEDED", [])
    assert erasure.counts == {"samples": CLIPS, "voiceprints": 1, "call_recordings": 1}
    assert not any(audio_store.storage().exists(name) for name in kept_by_ann)
    assert not (folder / "data" / str(ann.pk)).exists()
    with pytest.raises(vault.Unsealable):
        keys._data_key(Customer.objects.get(pk=ann.pk))
    assert places(of_bob, append_only_file)  # the neighbour is untouched
    assert [selectors.sample_audio(each) for each in bob.samples.order_by("created_at")] == [
        clip(2, take) for take in range(CLIPS)
    ]
    assert chain.verify().intact


def _exported(folder: Path, customer: Customer) -> list[Path]:
    return sorted((folder / "data" / str(customer.pk)).iterdir())


def _names(customer: Customer) -> list[str]:
    samples = SealedAudio.objects.filter(sample__customer=customer).values_list("content", flat=True)
    return [*samples, *CallAudio.objects.filter(customer=customer).values_list("content", flat=True)]
