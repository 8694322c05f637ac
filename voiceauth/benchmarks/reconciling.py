"""Whether each call that was accepted ended in exactly one decision and one row of the audit trail."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from voiceauth.benchmarks.callers import Call
from voiceauth.benchmarks.service import Service

DECISIONS = "SELECT request_id, id::text FROM verification_decision WHERE request_id = ANY(%s)"
EVENTS = (
    "SELECT substr(target, 10), count(*) FROM audit_auditevent "
    "WHERE action = 'decision.made' AND target LIKE 'decision:%%' GROUP BY 1"
)


@dataclass(frozen=True)
class Books:
    """``unanswered`` calls were given up by their client; of them, ``kept`` have a decision, which a repeat would get.

    ``lost`` were answered and have no decision; ``doubled`` have several; ``unaudited`` decisions do not have exactly
    one event.
    """

    calls: int
    unanswered: int
    kept: int
    lost: int
    doubled: int
    unaudited: int

    @property
    def balanced(self) -> bool:
        """Whether nothing is lost or doubled."""
        return not (self.lost or self.doubled or self.unaudited)


def reconcile(service: Service, calls: Sequence[Call]) -> Books:
    """Compare what callers were told with what stands in the database."""
    made: dict[str, list[str]] = {}
    for request_id, decision in service.query(DECISIONS, [call.request_id for call in calls]):
        made.setdefault(request_id, []).append(decision)
    events = Counter(dict(service.query(EVENTS)))
    answered = [call for call in calls if call.answer]
    unanswered = [call for call in calls if not call.answer]
    return Books(
        calls=len(calls),
        unanswered=len(unanswered),
        kept=sum(call.request_id in made for call in unanswered),
        lost=sum(call.answer.decision_id not in made.get(call.request_id, []) for call in answered if call.answer),
        doubled=sum(len(each) > 1 for each in made.values()),
        unaudited=sum(events[decision] != 1 for each in made.values() for decision in each),
    )
