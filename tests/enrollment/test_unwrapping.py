"""How often a customer's data key is unwrapped: each time is a read of the key files or a call of the key service."""

import io
import shutil
import uuid
import zipfile
from pathlib import Path

import pytest

from enrollment import audio_exports, heard, samples
from enrollment.gallery import Gallery, folder
from enrollment.models import HeardRecording
from tests.support.batches import carried_out, line, said, submitted
from tests.support.customers import IVR, TELLER, enrolled, enrolled_customer
from tests.support.model import activate_model, register_untrained
from tests.support.stand_in import DIMENSIONS, StandInWorker, recording
from voiceauth.platform.approvals import services as approvals
from voiceauth.platform.audit import Actor
from voiceauth.retraining import promotion
from voiceauth.retraining import services as retraining
from voiceauth.retraining.models import Promotion
from voiceauth.verification import services as verification

pytestmark = pytest.mark.django_db
HEARD = 40
ADMIN = Actor(name="root", role="admin")


def test_a_call_unwraps_the_claimed_customers_key_once_in_each_process(
    worker: StandInWorker, unwrapped: list[str]
) -> None:
    activate_model()
    ann = enrolled_customer("ann")
    for number in range(HEARD):
        heard.remember(ann, decision_id=uuid.uuid4(), acoustic_fingerprint=bytes(6 * number))
    assert HeardRecording.objects.count() == HEARD + 1
    unwrapped.clear()
    decision = verification.verify(customer_id="ann", audio=recording("ann", 3), actor=IVR)
    assert decision.decision == "ACCEPT"
    assert unwrapped == [f"customer:{ann.pk}"] * 2  # in the worker, to compare; in the web process, to store


def test_an_enrollment_unwraps_the_customers_key_once_for_each_time_it_reads_the_customer(
    worker: StandInWorker, unwrapped: list[str]
) -> None:
    activate_model()
    ann = enrolled_customer("ann")
    for take in range(1, 4):
        samples.enroll_sample(customer_id="ann", audio=recording("ann", take), actor=TELLER)
        unwrapped.clear()
    samples.enroll_sample(customer_id="ann", audio=recording("ann", 9), actor=TELLER)
    # Before the analysis; in the worker, to compare and to follow the gallery; and locked afterwards, to store.
    assert unwrapped == [f"customer:{ann.pk}"] * 4


def test_a_refresh_of_the_gallery_unwraps_each_customers_key_once(worker: StandInWorker, unwrapped: list[str]) -> None:
    model = activate_model()
    everybody = [enrolled_customer(f"C-{number}") for number in range(5)]
    shutil.rmtree(folder())
    unwrapped.clear()
    gallery = Gallery(model.fingerprint, DIMENSIONS)
    assert gallery.current().count == len(everybody)
    assert sorted(unwrapped) == sorted(f"customer:{each.pk}" for each in everybody)


def test_an_audio_export_unwraps_the_customers_key_once(worker: StandInWorker, unwrapped: list[str]) -> None:
    enrolled_customer("ann")
    for take in range(1, 5):
        samples.enroll_sample(customer_id="ann", audio=recording("ann", take), actor=TELLER)
    approval = audio_exports.request_audio_export(customer_id="ann", reason="asked for", actor=ADMIN)
    approvals.approve(approval_id=approval.pk, actor=Actor(name="rita", role="reviewer"))
    unwrapped.clear()
    archive = audio_exports.export_audio(customer_id="ann", approval_id=approval.pk, actor=ADMIN)
    assert len(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == 5 + 1
    assert len(unwrapped) == 1


@pytest.mark.usefixtures("small_recogniser")
def test_a_promotion_unwraps_a_key_once_for_each_recording_and_each_voiceprint(
    tmp_path: Path, unwrapped: list[str]
) -> None:
    enrolled(1, clips=3)
    model = register_untrained(tmp_path)
    retraining.request_promotion(version=model.version, actor=ADMIN)
    unwrapped.clear()
    promotion.execute(Promotion.objects.get(model=model).pk)
    assert len(unwrapped) == 3 + 1


def test_a_batch_unwraps_as_often_for_a_customer_with_many_recordings(
    worker: StandInWorker, unwrapped: list[str], storage: Path
) -> None:
    activate_model()
    carried_out(submitted(line("ann", *(said(storage, "ann", take) for take in range(1, 3)))))
    two = len(unwrapped)
    unwrapped.clear()
    carried_out(submitted(line("bob", *(said(storage, "bob", take) for take in range(1, 7)))))
    # For each further recording what a teller's enrollment takes, and once ann's new voiceprint in the gallery.
    assert len(unwrapped) - two == 4 * 4 + 1
