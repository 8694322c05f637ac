"""The trail is append-only, numbered, and part of the transaction that it tells of; writers do not wait."""

import threading
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.transaction import TransactionManagementError

from tests.support.trail import before, newest_event, number_from_one, write_together
from tests.support.waiting import at_once, until
from voiceauth.platform.audit import Actor, chain
from voiceauth.platform.audit.models import AuditEvent, LaneHead
from voiceauth.platform.audit.services import TrailBroken, record

TELLER = Actor(name="branch-7", role="teller", ip_address="192.0.2.7", request_id="request-0001")


def test_events_one_after_the_other_are_a_chain_in_one_lane(transactional_db: None) -> None:
    number_from_one()
    events = []
    for action in ("a", "b"):
        with transaction.atomic():
            events.append(record(action=action, actor=TELLER))
    first, second = events
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.lane, first.follows, second.lane, second.follows) == (1, [0], 1, [1])
    assert first.previous_hash == chain.digest_of([chain.GENESIS_HASH])
    assert second.previous_hash == chain.digest_of([first.hash])


def test_an_event_names_the_last_events_of_all_lanes(transactional_db: None) -> None:
    with transaction.atomic():
        record(action="a", actor=TELLER)  # the lanes begin with it
    write_together(3)
    together = {event.lane: event for event in AuditEvent.objects.order_by("sequence")}
    assert set(together) == {1, 2, 3}
    with transaction.atomic():
        event = record(action="a", actor=TELLER)
    assert (event.lane, event.follows) == (1, [together[lane].sequence for lane in (1, 2, 3)])
    assert event.previous_hash == chain.digest_of(together[lane].hash for lane in (1, 2, 3))


def test_an_event_says_who_and_from_where_as_text(db: None) -> None:
    event = AuditEvent.objects.get(pk=record(action="a", actor=TELLER, customer_id="c1").pk)
    assert (event.actor, event.role, event.ip_address, event.request_id) == (
        "branch-7",
        "teller",
        "192.0.2.7",
        "request-0001",
    )
    assert (event.customer_id, event.outcome, event.data) == ("c1", "success", {})


def test_recording_outside_a_transaction_is_refused(transactional_db: None) -> None:
    with pytest.raises(TransactionManagementError):
        record(action="a", actor=TELLER)
    assert not AuditEvent.objects.exists()


def test_an_event_vanishes_with_the_change_that_is_rolled_back(transactional_db: None) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        record(action="a", actor=TELLER)
        raise RuntimeError
    with transaction.atomic():
        assert record(action="b", actor=TELLER).follows == [0]
    assert chain.verify().intact


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET action = 'x'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "SET LOCAL session_replication_role = replica; DELETE FROM audit_auditevent",
    ],
)
def test_the_database_refuses_to_change_the_trail(db: None, statement: Any) -> None:
    record(action="a", actor=TELLER)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEvent.objects.get().action == "a"


def test_events_of_one_transaction_follow_each_other_also_across_savepoints(transactional_db: None) -> None:
    with transaction.atomic():
        first = record(action="a", actor=TELLER)
        with pytest.raises(RuntimeError), transaction.atomic():
            record(action="never", actor=TELLER)
            raise RuntimeError
        second = record(action="b", actor=TELLER)
    assert (second.lane, second.follows) == (first.lane, [first.sequence])
    assert chain.verify().count == 2 and chain.verify().intact


def test_writers_do_not_wait_for_each_other_also_for_the_first_event(transactional_db: None) -> None:
    with transaction.atomic():
        record(action="a", actor=TELLER)  # the lanes begin with it
    write_together(chain.LANES)  # all have recorded before any commits
    assert set(AuditEvent.objects.values_list("lane", flat=True)) == set(range(1, chain.LANES + 1))
    assert chain.verify().intact


def test_of_first_writers_at_once_one_begins_the_lanes(transactional_db: None) -> None:
    def write() -> None:
        with transaction.atomic():
            record(action="a", actor=TELLER)

    assert at_once(*[write] * 4) == [None] * 4
    assert (LaneHead.objects.count(), chain.verify().count, chain.verify().intact) == (chain.LANES, 4, True)


def test_a_writer_who_finds_all_lanes_held_waits_for_one(transactional_db: None) -> None:
    with transaction.atomic():
        record(action="a", actor=TELLER)
    all_held, one_waits = threading.Barrier(chain.LANES + 1, timeout=60), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            record(action="a", actor=TELLER)
            all_held.wait()
            until(lambda: one_waits.is_set() or somebody_waits())
            one_waits.set()

    def come_last() -> None:
        all_held.wait()
        with transaction.atomic():
            record(action="last", actor=TELLER)

    assert at_once(come_last, *[hold] * chain.LANES) == [None] * (chain.LANES + 1)
    assert newest_event().action == "last"
    assert chain.verify().intact


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_numbers_that_were_set_back_are_noticed_at_once(transactional_db: None) -> None:
    for _ in range(2):
        with transaction.atomic():
            record(action="a", actor=TELLER)
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE audit_event_number RESTART")
    with pytest.raises(TrailBroken), transaction.atomic():
        record(action="b", actor=TELLER)


def test_what_is_recorded_survives_the_round_trip_through_the_database(db: None) -> None:
    content = {
        "floats": [-0.0, 1.0, 0.1, 1e22, 1e-7, 5e-324, 1.7976931348623157e308],
        "number": 2**70,
        "text": "ünï\u2028 \x00 \ud800",
        "nested": {"none": None, "true": True, "id": uuid.UUID(int=7), "when": datetime(2026, 1, 2, tzinfo=UTC)},
    }
    record(action="a", actor=TELLER, threshold=0.1 + 0.2, before=content, after={}, data={"\x00": "\x00"})
    assert chain.verify().findings == []
    stored = AuditEvent.objects.get()
    assert before(stored)["floats"] == [0, 1, 0.1, 10**22, 1e-7, 5e-324, int(1.7976931348623157e308)]
    assert before(stored)["nested"]["when"] == "2026-01-02T00:00:00.000000+00:00"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_know_are_refused(db: None, value: Any) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        record(action="a", actor=TELLER, data={"score": value})
    with pytest.raises(ValueError, match="cannot hold"):
        record(action="a", actor=TELLER, threshold=value)


def test_bytes_are_refused_so_that_no_voice_ends_up_in_the_trail(db: None) -> None:
    with pytest.raises(TypeError, match="bytes"):
        record(action="a", actor=TELLER, data={"audio": b"RIFF"})


def test_a_hash_does_not_depend_on_the_order_of_keys(db: None) -> None:
    event = record(action="a", actor=TELLER, data={"b": 1.0, "a": "é"})
    event.data = {"a": "é", "b": 1}
    assert chain.event_hash(event) == event.hash
