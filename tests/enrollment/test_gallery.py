"""The scoring worker's gallery follows the database."""

from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from enrollment import keys, services
from enrollment.gallery import Gallery
from enrollment.models import Customer, Voiceprint
from mltraining.gallery import Compare
from mltraining.speech.audio.quality import Quality
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort
from tests.support.customers import TELLER
from tests.support.stand_in import StandInPipeline

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


def found(gallery: Gallery, vector: np.ndarray, candidates: list[str] | None = None) -> dict[str, float]:
    return dict(best(gallery, compare(vector), candidates=candidates))


def compare(vector: np.ndarray, pipeline: StandInPipeline | None = None) -> Compare:
    return partial((pipeline or StandInPipeline()).compare, vector, Quality(6.0, 5.0, 25.0, 0.0))


def best(
    gallery: Gallery, compare: Compare, candidates: list[str] | None = None, limit: int = 100
) -> list[tuple[str, float]]:
    return [(each.name, each.score) for each in gallery.nearest(compare, names=candidates, limit=limit)]


@pytest.fixture
def gallery() -> Gallery:
    return Gallery(MODEL, dimensions=4)


def test_an_empty_gallery_finds_nobody(gallery: Gallery) -> None:
    assert best(gallery, compare(axis(0))) == []


def test_the_best_come_first_and_equals_by_identifier(gallery: Gallery) -> None:
    enrolled("b", axis(1), revision=1)
    enrolled("a", axis(1), revision=2)
    enrolled("c", axis(0), revision=3)
    assert best(gallery, compare(axis(0)), limit=5) == [("c", 1.0), ("a", 0.0), ("b", 0.0)]
    assert best(gallery, compare(axis(0)), limit=1) == [("c", 1.0)]


def test_the_best_is_the_likeliest_and_not_the_highest_score(gallery: Gallery) -> None:
    close, far = (np.array(each, dtype=np.float32) for each in ([0.8, 0.6, 0, 0], [0.6, 0.8, 0, 0]))
    place_voiceprint(enrolled("briefly", close, revision=1), close, revision=2, speech_seconds=4.0)
    place_voiceprint(enrolled("at-length", far, revision=3), far, revision=4, speech_seconds=20.0)
    pipeline = StandInPipeline(calibration=Calibration.of(5.0, -2.0, 0.5, (0.0, 1.0, 0.0)))
    first, second = gallery.nearest(compare(axis(0), pipeline), limit=2)
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

    assert dict(best(gallery, compare(axis(0), pipeline))) == expected(list(range(30)))
    customers[4].delete()
    vectors[7] = axis(2)
    place_voiceprint(customers[7], axis(2), revision=31)
    rows = [row for row in range(30) if row != 4]
    assert dict(best(gallery, compare(axis(0), pipeline))) == expected(rows)
    assert dict(best(gallery, compare(axis(0), pipeline), candidates=["C-29", "C-07"])) == expected([7, 29])
    assert not gallery._measures[29:].any()


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
    for number, name in enumerate("abc"):
        enrolled(name, axis(number), revision=number + 1)
    assert found(gallery, axis(0)).keys() == {"a", "b", "c"}
    services.erase_customer(customer_id="a", actor=TELLER)
    assert found(gallery, axis(0)) == {"b": 0.0, "c": 0.0}
    assert not np.any(gallery._vectors[2:]), "the erased vector must not stay in memory"


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


def test_an_unchanged_gallery_costs_one_query_and_a_new_voiceprint_one_more(gallery: Gallery) -> None:
    for number in range(40):
        enrolled(f"C-{number:02}", axis(number % 4), revision=number + 1)
    found(gallery, axis(0))
    with CaptureQueriesContext(connection) as unchanged:
        assert len(found(gallery, axis(0))) == 40
    enrolled("C-40", axis(0), revision=41)
    with CaptureQueriesContext(connection) as grown:
        assert len(found(gallery, axis(0))) == 41
    assert (len(unchanged), len(grown)) == (1, 2)


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
