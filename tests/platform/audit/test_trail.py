"""The trail is append-only, numbered without gaps, and part of the transaction that it tells of."""

import threading
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.transaction import TransactionManagementError

from tests.support.trail import before
from voiceauth.platform.audit import Actor, chain
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record

TELLER = Actor(name="branch-7", role="teller", ip_address="192.0.2.7", request_id="request-0001")


def test_events_are_numbered_without_gaps_and_carry_the_hash_of_the_one_before(db: None) -> None:
    first, second = record(action="a", actor=TELLER), record(action="b", actor=TELLER)
    assert (first.sequence, second.sequence) == (1, 2)
    assert first.previous_hash == chain.GENESIS_HASH
    assert second.previous_hash == first.hash


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
        assert record(action="b", actor=TELLER).sequence == 1


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


def test_concurrent_writers_get_distinct_consecutive_numbers_also_for_the_first_event(transactional_db: None) -> None:
    barrier, failures = threading.Barrier(4), []

    def write() -> None:
        try:
            barrier.wait(timeout=30)
            for _ in range(5):
                with transaction.atomic():
                    record(action="a", actor=TELLER)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(1, 21))
    assert chain.verify().intact


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


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert chain.canonical({"b": 1.0, "a": "é"}) == '{"a":"é","b":1}'.encode()
