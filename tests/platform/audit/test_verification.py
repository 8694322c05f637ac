"""Tampering as the table's owner, with the triggers switched off, is found."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from tests.support.trail import newest_event, number_from_one, set_back, the_owner_at_work
from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.platform.audit.models import AuditEvent, LaneHead
from voiceauth.platform.audit.services import TrailBroken, record


@pytest.fixture
def trail(transactional_db: None) -> list[AuditEvent]:
    number_from_one()
    events = []
    for number in range(1, 7):
        with transaction.atomic():
            events.append(record(action=f"act.{number}", actor=SYSTEM, threshold=0.5, data={"n": number}))
    return events


def kinds(report: chain.Report) -> list[tuple[str, int]]:
    return [(finding.kind, finding.sequence) for finding in report.findings]


def test_an_untouched_trail_is_intact_and_ends_in_its_anchor(trail: list[AuditEvent]) -> None:
    report = chain.verify()
    assert report.intact
    assert report.count == 6
    assert str(report.last) == f"6:{trail[-1].hash}"


def test_an_empty_trail_is_intact(db: None) -> None:
    assert chain.verify().intact


@pytest.mark.parametrize(
    "change",
    [
        {"action": "other"},
        {"outcome": "refused"},
        {"actor": "somebody"},
        {"threshold": 0.4},
        {"threshold": None},
        {"data": {"n": 4}},
        {"customer_id": "c1"},
        {"hash": "0" * 64},
        {"previous_hash": "0" * 64},
    ],
    ids=str,
)
def test_a_changed_row_is_found(trail: list[AuditEvent], change: Any) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=3).update(**change)
    assert ("changed", 3) in kinds(chain.verify())


def test_a_removed_row_is_found(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=3).delete()
    assert kinds(chain.verify()) == [("removed", 3)]


def test_removed_rows_are_found_when_the_gap_is_closed_by_renumbering(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=3).delete()
        for number in (4, 5, 6):
            AuditEvent.objects.filter(sequence=number).update(sequence=number - 1)
    assert ("changed", 3) in kinds(chain.verify())


def test_the_first_row_cannot_be_removed_unseen(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=1).delete()
    assert kinds(chain.verify()) == [("removed", 1)]


def test_a_cut_off_tail_is_found(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence__gte=5).delete()
    assert kinds(chain.verify()) == [("removed", 6)]


def test_a_cut_off_tail_with_a_head_set_back_is_found_and_never_written_over(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence__gte=5).delete()
    LaneHead.objects.filter(lane=1).update(sequence=4, hash=trail[3].hash)
    assert kinds(chain.verify()) == [("head_forged", 4)]
    with pytest.raises(TrailBroken), transaction.atomic():
        record(action="next", actor=SYSTEM)


def test_a_removed_head_is_found_and_no_new_trail_begins(trail: list[AuditEvent]) -> None:
    LaneHead.objects.filter(lane=1).delete()
    assert kinds(chain.verify()) == [("head_missing", 6)]
    with pytest.raises(TrailBroken), transaction.atomic():
        record(action="next", actor=SYSTEM)
    LaneHead.objects.all().delete()
    assert ("head_missing", 6) in kinds(chain.verify())
    with pytest.raises(TrailBroken), transaction.atomic():
        record(action="next", actor=SYSTEM)
    assert not LaneHead.objects.exists()


def test_an_emptied_trail_is_found(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.all().delete()
    assert kinds(chain.verify()) == [("removed", 6)]


@pytest.mark.parametrize("number", [7, 0, -4])
def test_a_row_slipped_in_at_either_end_is_found(trail: list[AuditEvent], number: int) -> None:
    forged = AuditEvent.objects.get(sequence=3)
    forged.sequence, forged.previous_hash, forged.hash = number, trail[-1].hash, "f" * 64
    forged.save(force_insert=True)
    assert ("inserted", number) in kinds(chain.verify())


def test_a_row_slipped_into_the_middle_is_found(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        for number in (6, 5, 4):
            AuditEvent.objects.filter(sequence=number).update(sequence=number + 1)
    forged = AuditEvent.objects.get(sequence=3)
    forged.sequence, forged.previous_hash, forged.hash = 4, forged.hash, "f" * 64
    forged.save(force_insert=True)
    assert ("changed", 4) in kinds(chain.verify())


def test_a_genuine_row_of_another_trail_does_not_fit_in(trail: list[AuditEvent]) -> None:
    forged = AuditEvent.objects.get(sequence=3)
    forged.previous_hash, forged.action = "a" * 64, "of another trail"
    forged.hash = chain.event_hash(forged)
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=3).delete()
        forged.save(force_insert=True)
    assert kinds(chain.verify()) == [("unlinked", 3), ("unlinked", 4)]


def test_an_older_state_of_the_whole_trail_is_found_by_an_anchor(trail: list[AuditEvent]) -> None:
    saved = list(LaneHead.objects.all())
    with transaction.atomic():
        later = record(action="later", actor=SYSTEM)
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=later.sequence).delete()
    set_back(saved)
    assert chain.verify().intact  # nothing inside the database can tell
    report = chain.verify(anchors=[chain.Anchor(later.sequence, later.hash)])
    assert kinds(report) == [("anchor", 7)]


def test_an_anchor_notices_a_row_that_is_not_the_one_it_names(trail: list[AuditEvent]) -> None:
    assert kinds(chain.verify(anchors=[chain.Anchor(2, trail[2].hash)])) == [("anchor", 2)]
    assert chain.verify(anchors=[chain.Anchor(2, trail[1].hash)]).intact


def test_the_report_is_bounded_however_much_is_broken(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.update(role="x")
    assert len(chain.verify(max_findings=2).findings) == 2


def test_the_trail_is_read_with_a_fixed_number_of_queries(
    trail: list[AuditEvent], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(
        7
    ):  # BEGIN, COMMIT, the heads of the lanes and of the chain before them, twice, and the rows
        chain.verify()


def test_the_command_prints_the_anchor_and_records_that_it_ran(trail: list[AuditEvent]) -> None:
    out = StringIO()
    call_command("verify_audit_trail", stdout=out)
    event = newest_event()
    assert f"anchor 7:{event.hash}" in out.getvalue()  # which names all rows before it
    assert (event.action, event.outcome, event.data["rows"]) == ("audit.verified", "success", 6)


def test_the_command_records_nothing_with_no_record(trail: list[AuditEvent]) -> None:
    out = StringIO()
    call_command("verify_audit_trail", "--no-record", stdout=out)
    assert f"anchor 6:{trail[-1].hash}" in out.getvalue()
    assert AuditEvent.objects.count() == 6


def test_the_command_fails_with_a_report_where_the_trail_is_broken(trail: list[AuditEvent]) -> None:
    with the_owner_at_work():
        AuditEvent.objects.filter(sequence=2).update(actor="x")
    err = StringIO()
    with pytest.raises(CommandError, match="broken") as failure:
        call_command("verify_audit_trail", stderr=err)
    assert failure.value.returncode == 1
    assert "row 2" in err.getvalue()
    assert newest_event().outcome == "failed"


def test_the_command_refuses_a_malformed_anchor(db: None) -> None:
    with pytest.raises(CommandError, match="SEQUENCE:HASH"):
        call_command("verify_audit_trail", "--anchor", "7")
