"""The gallery of a machine follows the database."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from enrollment import gallery as module
from enrollment import keys, services, tasks, voiceprints
from enrollment.gallery import Gallery
from enrollment.models import Customer, Voiceprint
from mltraining import index
from mltraining.index import FULL
from mltraining.recordings import Analysis, Voice
from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort
from tests.support.customers import TELLER
from tests.support.stand_in import StandInPipeline
from tests.support.waiting import until
from voiceauth.platform.errors import ScoringUnavailable

pytestmark = pytest.mark.django_db
MODEL, OTHER_MODEL = "a" * 64, "b" * 64


def axis(number: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[number]


def enrolled(customer_id: str, vector: np.ndarray, *, revision: int, model: str = MODEL) -> Customer:
    customer = Customer.objects.filter(customer_id=customer_id).first() or Customer(customer_id=customer_id)
    customer.state, customer.data_key = Customer.State.ENROLLED, keys.new_data_key(customer.pk)
    customer.save()
    place_voiceprint(customer, vector, revision=revision, model=model)
    return customer


def place_voiceprint(
    customer: Customer, vector: np.ndarray, *, revision: int, model: str = MODEL, speech_seconds: float = 30.0
) -> None:
    Voiceprint.objects.update_or_create(
        customer=customer,
        model_fingerprint=model,
        defaults={
            "content": keys.seal_voiceprint(customer, model, vector),
            "sample_count": 1,
            "speech_seconds": speech_seconds,
            "revision": revision,
        },
    )


def voice(vector: np.ndarray, pipeline: StandInPipeline | None = None) -> Voice:
    model: Any = SimpleNamespace(pipeline=pipeline or StandInPipeline())
    waveform = Waveform(np.zeros(8000, dtype=np.float32), 8000, "wav", "pcm_s16le")
    return Voice(Analysis(waveform, Quality(6.0, 5.0, 25.0, 0.0)), model, vector)


def found(gallery: Gallery, vector: np.ndarray, candidates: list[str] | None = None) -> dict[str, float]:
    return dict(best(gallery, voice(vector), candidates=candidates))


def best(
    gallery: Gallery, voice: Voice, candidates: list[str] | None = None, limit: int = 100
) -> list[tuple[str, float]]:
    return [(each.name, each.score) for each in gallery.nearest(voice, names=candidates, limit=limit)]


@pytest.fixture
def gallery() -> Gallery:
    return Gallery(MODEL, dimensions=4)


def test_an_empty_gallery_finds_nobody(gallery: Gallery) -> None:
    assert best(gallery, voice(axis(0))) == []


def test_the_best_come_first_and_equals_by_identifier(gallery: Gallery) -> None:
    enrolled("b", axis(1), revision=1)
    enrolled("a", axis(1), revision=2)
    enrolled("c", axis(0), revision=3)
    assert best(gallery, voice(axis(0)), limit=5) == [("c", 1.0), ("a", 0.0), ("b", 0.0)]
    assert best(gallery, voice(axis(0)), limit=1) == [("c", 1.0)]


def test_the_best_is_the_likeliest_and_not_the_highest_score(gallery: Gallery) -> None:
    close, far = (np.array(each, dtype=np.float32) for each in ([0.8, 0.6, 0, 0], [0.6, 0.8, 0, 0]))
    place_voiceprint(enrolled("briefly", close, revision=1), close, revision=2, speech_seconds=4.0)
    place_voiceprint(enrolled("at-length", far, revision=3), far, revision=4, speech_seconds=20.0)
    pipeline = StandInPipeline(calibration=Calibration.of(5.0, -2.0, 0.5, (0.0, 1.0, 0.0)))
    first, second = gallery.nearest(voice(axis(0), pipeline), limit=2)
    assert (first.name, second.name) == ("at-length", "briefly")
    assert first.score == pytest.approx(0.6) and second.score == pytest.approx(0.8)
    assert first.log_likelihood_ratio == pytest.approx(5 * 0.6 - 2 + np.log(20))
    assert first.probability == pytest.approx(1 / (1 + np.exp(-first.log_likelihood_ratio)))


def test_what_a_cohort_says_of_a_voiceprint_is_kept_beside_it_and_goes_with_it() -> None:
    random = np.random.default_rng(3)
    cohort = Cohort(random.normal(size=(20, 4)), top=5)
    gallery, pipeline = Gallery(MODEL, dimensions=4, cohort=cohort), StandInPipeline(cohort=cohort)
    vectors = Cohort(random.normal(size=(30, 4))).means
    customers = [enrolled(f"C-{row:02}", vector, revision=row + 1) for row, vector in enumerate(vectors)]

    def expected(rows: list[int]) -> dict[str, Any]:
        scores = pipeline.score(axis(0), vectors[rows])
        return {f"C-{row:02}": pytest.approx(score, rel=1e-4) for row, score in zip(rows, scores, strict=True)}

    assert dict(best(gallery, voice(axis(0), pipeline))) == expected(list(range(30)))
    customers[4].delete()
    vectors[7] = axis(2)
    place_voiceprint(customers[7], axis(2), revision=31)
    rows = [row for row in range(30) if row != 4]
    assert dict(best(gallery, voice(axis(0), pipeline))) == expected(rows)
    assert dict(best(gallery, voice(axis(0), pipeline), candidates=["C-29", "C-07"])) == expected([7, 29])


def test_candidates_narrow_the_search_and_unknown_ones_are_left_out(gallery: Gallery) -> None:
    for number, name in enumerate("abc"):
        enrolled(name, axis(number), revision=number + 1)
    assert found(gallery, axis(0), ["b", "b", "nobody"]) == {"b": 0.0}
    assert found(gallery, axis(0), ["nobody"]) == {}


def test_a_voiceprint_of_another_model_is_never_compared(gallery: Gallery) -> None:
    customer = enrolled("a", axis(0), revision=1, model=OTHER_MODEL)
    assert found(gallery, axis(0)) == {}
    place_voiceprint(customer, axis(1), revision=2)
    assert found(gallery, axis(0)) == {"a": 0.0}


@pytest.mark.parametrize("state", [state for state in Customer.State if state != Customer.State.ENROLLED])
def test_only_enrolled_customers_are_found(gallery: Gallery, state: str) -> None:
    customer = enrolled("a", axis(0), revision=1)
    assert found(gallery, axis(0)) == {"a": 1.0}
    Customer.objects.filter(pk=customer.pk).update(state=state)
    assert found(gallery, axis(0)) == {}
    Customer.objects.filter(pk=customer.pk).update(state=Customer.State.ENROLLED)
    assert found(gallery, axis(0)) == {"a": 1.0}


def test_an_erased_customer_is_gone_with_the_next_search(gallery: Gallery) -> None:
    gone = np.array([0.8, 0.0, 0.0, 0.6], dtype=np.float32)
    for number, (name, vector) in enumerate({"a": gone, "b": axis(1), "c": axis(2)}.items(), start=1):
        enrolled(name, vector, revision=number)
    assert found(gallery, axis(0)).keys() == {"a", "b", "c"}
    assert gone.tobytes() in gallery.path.read_bytes()
    services.erase_customer(customer_id="a", actor=TELLER)
    assert found(gallery, axis(0)) == {"b": 0.0, "c": 0.0}
    assert gone.tobytes() not in gallery.path.read_bytes(), "the erased vector must not stay in memory"


def test_an_identifier_given_again_is_the_new_customers(gallery: Gallery) -> None:
    enrolled("a", axis(0), revision=1)
    enrolled("b", axis(1), revision=2)
    found(gallery, axis(0))
    services.erase_customer(customer_id="a", actor=TELLER)
    enrolled("a", axis(2), revision=3)
    assert found(gallery, axis(2), ["a"]) == {"a": 1.0} and len(gallery) == 2


def test_a_changed_voiceprint_is_read_again(gallery: Gallery) -> None:
    customer = enrolled("a", axis(0), revision=1)
    found(gallery, axis(0))
    place_voiceprint(customer, axis(1), revision=2)
    assert found(gallery, axis(0)) == {"a": 0.0}


def test_a_change_that_commits_after_a_later_one_is_not_missed(gallery: Gallery) -> None:
    late = enrolled("late", axis(0), revision=1)
    enrolled("early", axis(1), revision=9)
    found(gallery, axis(0))
    place_voiceprint(late, axis(2), revision=5)  # took its revision before 9 was committed
    assert found(gallery, axis(2)) == {"late": 1.0, "early": 0.0}


def test_a_replacement_at_an_equal_count_is_not_missed(gallery: Gallery) -> None:
    gone = enrolled("gone", axis(0), revision=5)
    enrolled("stays", axis(1), revision=9)
    found(gallery, axis(0))
    gone.delete()
    enrolled("late", axis(0), revision=7)
    assert found(gallery, axis(0)) == {"late": 1.0, "stays": 0.0}


def test_a_search_costs_two_queries_and_asks_for_no_count(gallery: Gallery) -> None:
    for number in range(40):
        enrolled(f"C-{number:02}", axis(number % 4), revision=number + 1)
    for _ in range(2):  # within one transaction, what the index was made of is looked at once more
        found(gallery, axis(0))
    with CaptureQueriesContext(connection) as unchanged:
        assert len(found(gallery, axis(0))) == 40
    assert len(unchanged) == 2  # what has changed, and whether those who were found are still there
    assert not any("COUNT" in each["sql"].upper() for each in unchanged)


def test_a_long_history_of_changes_leaves_the_gallery_equal_to_the_database(gallery: Gallery) -> None:
    random = np.random.default_rng(3)
    customers: dict[UUID, Customer] = {}
    for step in range(120):
        revision = step + 1
        kind = random.choice(["add", "change", "remove", "lock"], p=[0.5, 0.2, 0.2, 0.1])
        if kind == "add" or not customers:
            made = enrolled(f"C-{step}", axis(int(random.integers(4))), revision=revision)
            customers[made.pk] = made
        else:
            pk = list(customers)[int(random.integers(len(customers)))]
            if kind == "change":
                place_voiceprint(customers[pk], axis(int(random.integers(4))), revision=revision)
            elif kind == "remove":
                customers.pop(pk).delete()
            else:
                Customer.objects.filter(pk=pk).update(state=Customer.State.LOCKED)
                del customers[pk]
        if step % 7 == 0:
            fresh = Gallery(MODEL, dimensions=4)
            assert found(gallery, axis(0)) == found(fresh, axis(0))
            assert found(gallery, axis(1)) == found(fresh, axis(1))


@pytest.fixture
def many() -> list[tuple[str, np.ndarray]]:
    """Enough enrolled customers that not all are compared in full, of varied net speech."""
    random = np.random.default_rng(5)
    vectors = 0.2 + random.normal(size=(FULL + 500, 16)) * np.linspace(2, 0.5, 16)
    vectors = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
    customers = [
        Customer(customer_id=f"C-{number:05}", state=Customer.State.ENROLLED) for number in range(len(vectors))
    ]
    for customer in customers:
        customer.data_key = keys.new_data_key(customer.pk)
    Customer.objects.bulk_create(customers)
    Voiceprint.objects.bulk_create(
        Voiceprint(
            customer=customer,
            model_fingerprint=MODEL,
            content=keys.seal_voiceprint(customer, MODEL, vector),
            sample_count=1,
            speech_seconds=float(random.uniform(3, 40)),
            revision=number,
        )
        for number, (customer, vector) in enumerate(zip(customers, vectors, strict=True))
    )
    return [(customer.customer_id, vector) for customer, vector in zip(customers, vectors, strict=True)]


@pytest.mark.parametrize("normalised", [False, True])
def test_the_likeliest_of_many_are_those_of_verifications_one_by_one(
    many: list[tuple[str, np.ndarray]], normalised: bool
) -> None:
    random = np.random.default_rng(6)
    cohort = Cohort(random.normal(size=(40, 16)), top=10) if normalised else None
    pipeline = StandInPipeline(calibration=Calibration.of(9.0, -2.0, 0.5, (0.5, -0.8, 0.1)), cohort=cohort)
    gallery = Gallery(MODEL, dimensions=16, cohort=cohort)
    known = Gallery(MODEL, dimensions=16).current()
    for _, vector in many[:: len(many) // 4]:
        call = voice(vector, pipeline)
        found = gallery.nearest(call, limit=10)
        everybody = call.compare(known.vectors[: known.count], known.speech_seconds[: known.count])
        best = np.argsort(-everybody.log_likelihood_ratio)[:10]
        assert [each.name for each in found] == [many[row][0] for row in best]
        for each in found:  # the same numbers, to the last bit
            customer = Customer.objects.get(customer_id=each.name)
            own = voiceprints.voiceprint_of(customer, MODEL)
            assert own is not None
            assert each == call.compare_one(each.name, own.vector, own.speech_seconds)


def test_a_gallery_too_large_for_a_search_to_make_is_unavailable_until_a_worker_has_made_it(
    many: list[tuple[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1000)
    gallery = Gallery(MODEL, dimensions=16)
    with pytest.raises(ScoringUnavailable):
        gallery.nearest(voice(many[0][1]), limit=1)
    Gallery(MODEL, dimensions=16).current(patient=True)
    (found,) = gallery.nearest(voice(many[0][1]), limit=1)
    assert found.name == many[0][0]


def test_two_processes_share_one_file_and_one_of_them_reads_a_change(gallery: Gallery, unwrapped: list[str]) -> None:
    other, opened = Gallery(MODEL, dimensions=4), 0
    for number, name in enumerate("abc"):
        enrolled(name, axis(number), revision=number + 1)
        unwrapped.clear()
        assert found(gallery, axis(0)) == found(other, axis(0))
        opened += len(unwrapped)
    assert opened == 3 and gallery.path == other.path
    assert [path.suffix for path in module.folder().iterdir()].count(".index") == 1


def test_a_customer_who_is_erased_after_the_index_was_read_is_not_named(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("ab"):
        enrolled(name, axis(number), revision=number + 1)
    found(gallery, axis(0))
    inner = gallery._names

    def erased_just_before(rows: Any) -> list[str]:
        if Customer.objects.get(customer_id="a").state == Customer.State.ENROLLED:
            services.erase_customer(customer_id="a", actor=TELLER)
        return inner(rows)

    monkeypatch.setattr(gallery, "_names", erased_just_before)
    assert found(gallery, axis(0)) == {"b": 0.0}


def test_rows_that_are_gone_make_room_again(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "ALLOCATED", 4)
    customers = [enrolled(f"C-{number}", axis(number % 4), revision=number + 1) for number in range(20)]
    found(gallery, axis(0))
    before = gallery.current()
    for customer in customers[:15]:
        customer.delete()
    assert len(found(gallery, axis(0))) == 5
    after = gallery.current()
    assert (after.count, after.inode != before.inode) == (5, True)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_commits_late_is_not_missed_and_an_open_one_is_not_read_twice(gallery: Gallery) -> None:
    late, early = enrolled("late", axis(0), revision=1), enrolled("early", axis(1), revision=2)
    found(gallery, axis(0))
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as open_one:
        open_one.execute(
            "UPDATE enrollment_voiceprint SET speech_seconds = 7, revision = 3 WHERE customer_id = %s", [late.pk]
        )
        place_voiceprint(early, axis(2), revision=4)
        assert found(gallery, axis(2)) == {"early": 1.0, "late": 0.0}
        assert found(gallery, axis(2)) == {"early": 1.0, "late": 0.0}
        with CaptureQueriesContext(connection) as again:
            found(gallery, axis(2))
        assert len(again) == 2
    assert found(gallery, axis(2)) == {"early": 1.0, "late": 0.0}
    at = gallery.current().find(np.array([late.voiceprints.get().pk]))
    assert gallery.current().speech_seconds[at].tolist() == [7.0]


@pytest.mark.django_db(transaction=True)
def test_a_process_that_did_not_read_the_log_before_it_was_forgotten_makes_its_index_anew(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled("a", axis(0), revision=1)
    found(gallery, axis(0))
    before = gallery.current()  # kept, because a file system gives the number of a file that is gone to the next
    enrolled("b", axis(1), revision=2)
    monkeypatch.setattr(module, "KEEP_CHANGES_SECONDS", -1)

    def forgotten() -> bool:
        tasks.forget_changes()
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM enrollment_voiceprintchange")
            return bool(cursor.fetchone() == (0,))

    until(forgotten)  # the transactions of other tests' databases hold the horizon back
    assert found(gallery, axis(0)) == {"a": 1.0, "b": 0.0}
    assert gallery.current().inode != before.inode
    tasks.forget_changes()
    assert found(gallery, axis(0)) == {"a": 1.0, "b": 0.0}


def test_the_index_of_a_model_out_of_service_goes(gallery: Gallery) -> None:
    enrolled("a", axis(0), revision=1)
    found(gallery, axis(0))
    gallery.path.with_suffix(".draft").touch()  # of a process that was killed
    module.keep([])
    assert not list(module.folder().glob("*-*"))


def test_a_folder_that_others_may_read_is_refused(gallery: Gallery) -> None:
    module.folder().chmod(0o755)
    with pytest.raises(ScoringUnavailable):
        found(gallery, axis(0))
