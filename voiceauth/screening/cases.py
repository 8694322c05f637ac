"""Services on review cases: open, assign, comment, close, reopen. Each is one transaction with its audit event.

The case's row is locked first, and the event is written last.
"""

from collections.abc import Collection, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.screening.errors import AnotherCaseOpen, CaseClosed, CaseNotClosed, CaseNotFound
from voiceauth.screening.models import CaseComment, ReviewCase

State = ReviewCase.State
MAX_EVIDENCE = 50  # entries kept for one case: the first, and the latest


@transaction.atomic
def open_case(
    *,
    kind: str,
    customer_id: str,
    evidence: Mapping[str, Any],
    subject: str = "",
    among: Collection[str] = (),
    actor: Actor,
) -> ReviewCase:
    """Open a case, or add the evidence to the open one of the same kind, customer and subject.

    ``among`` names further customers whose open case counts as the same one. Raises ``ValueError`` for an unknown kind.
    """
    case = file(kind=kind, customer_id=customer_id, evidence=evidence, subject=subject, among=among)
    record_filed(case, evidence, actor)
    return case


def file(
    *, kind: str, customer_id: str, evidence: Mapping[str, Any], subject: str = "", among: Collection[str] = ()
) -> ReviewCase:
    """Do what ``open_case`` does, without the event.

    The caller's transaction calls ``record_filed`` once all its rows are written, so that nobody who already holds the
    audit trail's lock waits for the lock of a case.
    """
    kind = ReviewCase.Kind(kind)
    dated = {"at": timezone.now().isoformat(), **evidence}
    for _ in range(2):  # retry once: another transaction may have opened the same case at this moment
        rows = ReviewCase.objects.select_for_update().exclude(state=State.CLOSED).order_by("number")
        case = rows.filter(kind=kind, subject=subject, customer_id__in={customer_id, *among}).first()
        if case is not None:
            case.evidence = [*case.evidence[:1], *case.evidence[1:][2 - MAX_EVIDENCE :], dated]
            case.hits += 1
            case.save(update_fields=["evidence", "hits"])
            return case
        try:
            with transaction.atomic():
                return ReviewCase.objects.create(kind=kind, customer_id=customer_id, subject=subject, evidence=[dated])
        except IntegrityError:
            continue
    raise AssertionError("the open case cannot be found")


def record_filed(case: ReviewCase, evidence: Mapping[str, Any], actor: Actor) -> None:
    """Record the audit event of ``file``."""
    record(
        action="case.opened" if case.hits == 1 else "case.evidence_added",
        actor=actor,
        customer_id=case.customer_id,
        target=f"case:{case.number}",
        after={"state": case.state, "hits": case.hits},
        data={"kind": case.kind, "subject": case.subject, **evidence},
    )


@transaction.atomic
def assign(*, number: int, to: str, actor: Actor) -> ReviewCase:
    """OPEN, ASSIGNED -> ASSIGNED. Raises ``CaseNotFound`` and ``CaseClosed``."""
    case = _open(number)
    before = _figures(case)
    case.state, case.assigned_to = State.ASSIGNED, to
    case.save(update_fields=["state", "assigned_to"])
    _record("case.assigned", case, actor, before=before)
    return case


@transaction.atomic
def comment(*, number: int, text: str, actor: Actor) -> CaseComment:
    """Add a comment. Raises ``CaseNotFound`` and ``CaseClosed``."""
    case = _open(number)
    made = CaseComment.objects.create(case=case, text=text, author=actor.name)
    _record("case.commented", case, actor, data={"comment": made.pk})
    return made


@transaction.atomic
def close(*, number: int, resolution: str, comment: str, actor: Actor) -> ReviewCase:
    """OPEN, ASSIGNED -> CLOSED. The comment says why. Raises ``CaseNotFound`` and ``CaseClosed``."""
    case = _open(number)
    before = _figures(case)
    CaseComment.objects.create(case=case, text=comment, author=actor.name)
    case.state, case.resolution = State.CLOSED, ReviewCase.Resolution(resolution)
    case.closed_at, case.closed_by = timezone.now(), actor.name
    case.save(update_fields=["state", "resolution", "closed_at", "closed_by"])
    _record("case.closed", case, actor, before=before)
    return case


@transaction.atomic
def reopen(*, number: int, reason: str, actor: Actor) -> ReviewCase:
    """CLOSED -> OPEN, without its resolution. The reason becomes a comment.

    Raises ``CaseNotFound``; ``CaseNotClosed``; ``AnotherCaseOpen`` where the suspicion was raised again since, because
    there is one open case for each kind, customer and subject.
    """
    case = _locked(number)
    if case.state != State.CLOSED:
        raise CaseNotClosed(state=case.state)
    before = _figures(case)
    case.state, case.resolution, case.assigned_to = State.OPEN, "", ""
    case.closed_at, case.closed_by = None, ""
    try:
        with transaction.atomic():
            case.save(update_fields=["state", "resolution", "assigned_to", "closed_at", "closed_by"])
    except IntegrityError as error:
        same = ReviewCase.objects.filter(kind=case.kind, customer_id=case.customer_id, subject=case.subject)
        numbers = same.exclude(state=State.CLOSED).values_list("number", flat=True)
        raise AnotherCaseOpen(number=numbers.first()) from error
    CaseComment.objects.create(case=case, text=reason, author=actor.name)
    _record("case.reopened", case, actor, before=before, data={"reason": reason})
    return case


def _open(number: int) -> ReviewCase:
    case = _locked(number)
    if case.state == State.CLOSED:
        raise CaseClosed(resolution=case.resolution)
    return case


def _locked(number: int) -> ReviewCase:
    case = ReviewCase.objects.select_for_update().filter(number=number).first()
    if case is None:
        raise CaseNotFound
    return case


def _figures(case: ReviewCase) -> dict[str, Any]:
    return {"state": case.state, "assigned_to": case.assigned_to, "resolution": case.resolution}


def _record(action: str, case: ReviewCase, actor: Actor, **more: Any) -> None:
    record(
        action=action,
        actor=actor,
        customer_id=case.customer_id,
        target=f"case:{case.number}",
        after=_figures(case),
        **more,
    )
