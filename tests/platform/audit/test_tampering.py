"""Whatever the owner of the tables does to a trail in several lanes is found: every row, every field, every head."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

import pytest
from django.db import connection, transaction
from django.db.models import F

from tests.support.trail import number_from_one, set_back, the_owner_at_work, write_together, write_without_lanes
from tests.support.waiting import at_once
from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.platform.audit.models import AuditEvent, ChainHead, LaneHead
from voiceauth.platform.audit.services import record

WIDTH, ROUNDS = 3, 3
CHANGES = {
    "sequence": F("sequence") + 1000,
    "occurred_at": "2020-01-01T00:00:00Z",
    "action": "other",
    "outcome": "refused",
    "actor": "somebody",
    "role": "teller",
    "ip_address": "192.0.2.1",
    "request_id": "r",
    "customer_id": "c",
    "target": "t",
    "model_version": "m",
    "threshold": 0.5,
    "before": {},
    "after": {},
    "data": {"n": 2},
    "lane": 16,
    "follows": [0, 5],
    "previous_hash": "0" * 64,
    "hash": "0" * 64,
}


class RolledBack(Exception):
    pass


@contextmanager
def tampering() -> Iterator[None]:
    """Let the owner of the tables change the trail; after the block it is as it was."""
    with pytest.raises(RolledBack), transaction.atomic():
        with the_owner_at_work():
            yield
        raise RolledBack


def write(action: str = "act") -> AuditEvent:
    with transaction.atomic():
        return record(action=action, actor=SYSTEM)


@pytest.fixture
def states(transactional_db: None) -> list[list[LaneHead]]:
    """A trail of a first event, rounds of events at the same time, a gap, and a last event; the heads after each."""
    number_from_one()
    write("first")
    states = [heads()]
    for _ in range(ROUNDS):
        write_together(WIDTH)
        states.append(heads())
    with pytest.raises(RolledBack), transaction.atomic():
        record(action="never", actor=SYSTEM)
        raise RolledBack
    write("last")
    assert chain.verify().intact and sequences() == [*range(1, 2 + WIDTH * ROUNDS), 3 + WIDTH * ROUNDS]
    return [*states, heads()]


def heads() -> list[LaneHead]:
    return list(LaneHead.objects.order_by("lane"))


def sequences() -> list[int]:
    return list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True))


def found() -> list[tuple[str, int]]:
    return [(finding.kind, finding.sequence) for finding in chain.verify().findings]


def test_no_field_of_any_row_can_be_changed(states: list[list[LaneHead]]) -> None:
    assert set(CHANGES) == {field.attname for field in AuditEvent._meta.concrete_fields}
    for number in sequences():
        for name, value in CHANGES.items():
            with tampering():
                AuditEvent.objects.filter(sequence=number).update(**{name: value})
                at = number + 1000 if name == "sequence" else number
                assert {("changed", at), ("inserted", at)} & set(found()), (number, name)


def test_no_row_can_be_removed(states: list[list[LaneHead]]) -> None:
    for number in sequences():
        with tampering():
            AuditEvent.objects.filter(sequence=number).delete()
            assert ("removed", number) in found()


def test_no_rows_can_be_exchanged(states: list[list[LaneHead]]) -> None:
    for one, other in combinations(sequences(), 2):
        with tampering():
            for number, new in ((one, 1000), (other, one), (1000, other)):
                AuditEvent.objects.filter(sequence=number).update(sequence=new)
            assert {("changed", one), ("changed", other)} <= set(found())


def test_no_row_can_be_put_in(states: list[list[LaneHead]]) -> None:
    gap = 2 + WIDTH * ROUNDS
    for number in sequences():
        for place in (-1, 0, gap, gap + 2):
            with tampering():
                copy = AuditEvent.objects.get(sequence=number)
                copy.sequence = place
                copy.save(force_insert=True)
                assert {("changed", place), ("inserted", place)} & set(found())


def test_the_end_of_no_lane_can_be_cut_off(states: list[list[LaneHead]]) -> None:
    for number in sequences():
        lane = AuditEvent.objects.get(sequence=number).lane
        with tampering():
            AuditEvent.objects.filter(sequence__gte=number, lane=lane).delete()
            assert "removed" in {kind for kind, _ in found()}


def test_no_lane_can_be_set_back_to_an_older_end(states: list[list[LaneHead]]) -> None:
    last = chain.Anchor.of(AuditEvent.objects.get(action="last"))
    for head in (head for state in states[:-1] for head in state):
        cut = AuditEvent.objects.filter(lane=head.lane, sequence__gt=head.sequence)
        numbers = {event.sequence for event in cut}
        kept = AuditEvent.objects.exclude(sequence__in=numbers)
        named = numbers & {number for event in kept for number in event.follows or []}
        with tampering():
            cut.delete()
            set_back([head])
            assert {number for kind, number in found() if kind == "removed"} == named
            assert not numbers or not chain.verify(anchors=[last]).intact


def test_the_ends_of_all_lanes_can_be_cut_off_but_not_without_the_heads_or_an_anchor_telling(
    states: list[list[LaneHead]],
) -> None:
    last = AuditEvent.objects.get(action="last")
    for state in states[:-1]:
        with tampering():
            AuditEvent.objects.filter(sequence__gt=max(head.sequence for head in state)).delete()
            assert "removed" in {kind for kind, _ in found()}
            set_back(state)
            assert chain.verify().intact
            report = chain.verify(anchors=[chain.Anchor.of(last)])
            assert [(finding.kind, finding.sequence) for finding in report.findings] == [("anchor", last.sequence)]


def test_no_head_can_be_changed_exchanged_or_removed(states: list[list[LaneHead]]) -> None:
    for head in heads():
        mine = LaneHead.objects.filter(lane=head.lane)
        for change in ({"sequence": F("sequence") + 1}, {"hash": "f" * 64}, {"seal": "f" * 64}):
            with tampering():
                mine.update(**change)
                assert ("head_forged", head.sequence + ("sequence" in change)) in found()
        with tampering():
            mine.delete()
            assert "head_missing" in {kind for kind, _ in found()}
    for one, other in combinations(heads(), 2):
        with tampering():
            LaneHead.objects.filter(lane__in=(one.lane, other.lane)).delete()
            one.lane, other.lane = other.lane, one.lane
            LaneHead.objects.bulk_create([one, other])
            assert {kind for kind, _ in found()} == {"head_forged"}
        one.lane, other.lane = other.lane, one.lane


def test_rows_that_are_put_back_after_the_trail_went_on_without_them_do_not_fit(states: list[list[LaneHead]]) -> None:
    cut = list(AuditEvent.objects.filter(action="last"))
    with the_owner_at_work():
        AuditEvent.objects.filter(action="last").delete()
    set_back(states[-2])
    with transaction.atomic():
        other = record(action="other", actor=SYSTEM)
    AuditEvent.objects.bulk_create(cut)
    assert found() == [("unlinked", other.sequence)]


def test_a_trail_of_the_version_before_goes_on_in_lanes_and_stays_verifiable(transactional_db: None) -> None:
    for _ in range(3):
        write_without_lanes("before")
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('audit_event_number', 100003)")  # as the migration does
    assert chain.verify().intact
    first = write()
    assert (first.sequence, first.lane, first.follows) == (100004, 1, [3])
    write_together(3)
    write_without_lanes("before")  # a process of the version before, which still runs
    write()
    assert chain.verify().count == 9 and chain.verify().intact


@pytest.mark.parametrize("number", [1, 2, 3])
def test_rows_of_the_version_before_are_protected_by_the_lanes(transactional_db: None, number: int) -> None:
    older = []
    for _ in range(3):
        write_without_lanes("before")
        older.append(ChainHead.objects.get())
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('audit_event_number', 100003)")
    write()
    for change in ({"action": "other"}, {"lane": 1, "follows": [number - 1]}):
        with tampering():
            AuditEvent.objects.filter(sequence=number).update(**change)
            assert ("changed", number) in found()
    with tampering():
        AuditEvent.objects.filter(sequence=number).delete()
        assert ("removed", number) in found()
    with tampering():
        AuditEvent.objects.filter(sequence__gte=number, lane=None).delete()
        assert ("removed", 3) in found()
        ChainHead.objects.all().delete()
        if number > 1:
            older[number - 2].save()  # an older genuine head
        assert ("removed", 3) in found()


def test_a_trail_is_verified_while_it_is_written(transactional_db: None) -> None:
    write()
    done = threading.Event()

    def keep_writing() -> None:
        while not done.is_set():
            with transaction.atomic():
                record(action="a", actor=SYSTEM)

    def keep_verifying() -> list[chain.Report]:
        try:
            return [chain.verify() for _ in range(20)]
        finally:
            done.set()

    reports, *others = at_once(keep_verifying, *[keep_writing] * 4)
    assert others == [None] * 4
    assert all(report.intact for report in reports), [report.findings for report in reports]
    assert reports[-1].count > reports[0].count
