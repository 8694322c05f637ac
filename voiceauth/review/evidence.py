"""What a reviewer sees of a suspicion at one glance: recordings side by side, the score among others, further attempts.

A recording is named only to those who may listen, a decision only to those who may see decisions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from enrollment.models import AudioSample
from mltraining import calibrations
from mltraining.models import Calibration
from voiceauth.review.charts import probability_bar, timeline
from voiceauth.review.trial_charts import score_distribution
from voiceauth.screening.models import FraudsterAudio, ReviewCase
from voiceauth.screening.risk import REPLAY
from voiceauth.verification.models import CallAudio, Decision

ENROLLMENTS = 3  # recordings of a customer that are shown beside a call
END = 1e6  # seconds: of any recording
ATTEMPTS = 30  # of a customer, of a voice and of a caller each
TONES = {"ACCEPT": "accepted", "MATCH": "accepted", "REJECT": "refused", "NO_MATCH": "refused"}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A recording to be compared: its address, where it begins on the common axis, and what is marked in it."""

    title: str
    source: str
    begins_at: float = 0.0  # seconds
    marks: Sequence[Sequence[float]] = ()  # (start, end) in seconds of the recording
    meaning: str = ""  # of the marks, and of where it begins


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A decision in the time line, and what it has in common with the case."""

    decision: Decision
    lane: str

    @property
    def bar(self) -> SafeString:
        """Its probability."""
        return probability_bar(
            self.decision.probability, self.decision.threshold, overruled=", ".join(self.decision.reasons)
        )


def of_case(request: HttpRequest, case: ReviewCase) -> dict[str, Any]:
    """Return the context of ``review/evidence.html`` for a case: that of its latest evidence."""
    latest: Mapping[str, Any] = case.evidence[-1] if case.evidence else {}
    decision = Decision.objects.filter(pk=latest["decision_id"]).first() if "decision_id" in latest else None
    return _shown(request, case.customer_id, decision, latest, case)


def of_decision(request: HttpRequest, decision: Decision) -> dict[str, Any]:
    """Return the context of ``review/evidence.html`` for a decision, with what a case says of a replay."""
    hit: Mapping[str, Any] = {}
    case = None
    if decision.fraud_risk.get("reasons") and request.user.has_perm("screening.view_reviewcase"):
        about = [{"decision_id": str(decision.pk)}]
        found = ReviewCase.objects.filter(evidence__contains=about).order_by("-number")
        if case := found.filter(kind=REPLAY).first() or found.first():
            hit = next(each for each in case.evidence if each.get("decision_id") == str(decision.pk))
    return _shown(request, decision.customer_id, decision, hit, case)


def _shown(
    request: HttpRequest,
    customer_id: str,
    decision: Decision | None,
    hit: Mapping[str, Any],
    case: ReviewCase | None,
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if request.user.has_perm("review.play_audio"):
        shown["recordings"] = _recordings(customer_id, decision, hit)
    if request.user.has_perm("verification.view_decision"):
        shown["distribution"] = _distribution(decision) if decision else None
        attempts = _attempts(customer_id, decision, case)
        shown["attempts"] = attempts
        shown["timeline"] = timeline([(each.lane, each.decision.created_at, _tone(each.decision)) for each in attempts])
    return shown


def _recordings(customer_id: str, decision: Decision | None, hit: Mapping[str, Any]) -> list[Recorded]:
    """List what is suspicious, what it is like, and the enrollment recordings, on one axis.

    All begin together, but for what a replay was taken from.

    ``hit`` is the evidence of the case: see ``screening.risk.Hit``.
    """
    offset, stretches = hit.get("offset_seconds", 0.0), hit.get("stretches", [])
    about: dict[str, Any] = {"begins_at": max(offset, 0.0)}
    if stretches:
        about |= {"marks": stretches, "meaning": "The marked part repeats the earlier recording."}
    elif decision is not None and decision.voice_changes_at is not None:
        about |= {"marks": [(decision.voice_changes_at, END)], "meaning": "Another voice speaks in the marked part."}
    earlier: dict[str, Any] = {"begins_at": max(-offset, 0.0)}
    earlier |= {"marks": [(start + offset, end + offset) for start, end in stretches]}
    earlier |= {"meaning": f"What was played begins {offset:.1f} s into it."}
    found = [
        *_calls("Call", decision.pk if decision else None, **about),
        *_samples("Enrollment in question", hit.get("sample_id"), **about),
        *_samples("Earlier enrollment", hit.get("heard_in_sample"), **earlier),
        *_calls("Earlier call", hit.get("heard_in_decision"), **earlier),
    ]
    if FraudsterAudio.objects.filter(pk=hit.get("fraudster_id")).exists():
        source = reverse("admin:screening_fraudster_audio", args=[hit["fraudster_id"]])
        found.append(Recorded(title="Fraudster on a watchlist", source=source, begins_at=about["begins_at"]))
    shown = [hit[name] for name in ("sample_id", "heard_in_sample") if name in hit]
    for owner in dict.fromkeys((customer_id, hit.get("customer_id", ""))):
        samples = AudioSample.objects.filter(customer__customer_id=owner, held_for=[]).exclude(pk__in=shown)
        latest = samples.order_by("-created_at").values_list("pk", flat=True)[:ENROLLMENTS]
        title = "Enrollment" if owner == customer_id else f"Enrollment of {owner}"
        found += _samples(title, *latest, begins_at=about["begins_at"])
    return found


def _calls(title: str, decision_id: Any, **about: Any) -> list[Recorded]:
    """Return the call of a decision, where its audio is kept."""
    kept = CallAudio.objects.filter(decision=decision_id).values_list("pk", flat=True)
    return [
        Recorded(title=title, source=reverse("admin:verification_decision_audio", args=[pk]), **about) for pk in kept
    ]


def _samples(title: str, *ids: Any, **about: Any) -> list[Recorded]:
    """Return the enrollment recordings among ``ids`` that are there, the latest first."""
    samples = AudioSample.objects.filter(pk__in=ids, audio__isnull=False).order_by("-created_at")
    return [
        Recorded(
            title=f"{title}, {each.created_at:%d %b %Y, %H:%M}",
            source=reverse("admin:enrollment_customer_sample_audio", args=[each.pk]),
            **about,
        )
        for each in samples
    ]


def _distribution(decision: Decision) -> dict[str, Any] | None:
    """Return where the decision's ratio stands among the trials of the calibration that read it."""
    ratio = decision.log_likelihood_ratio
    calibration = Calibration.objects.filter(model=decision.model_version, version=decision.calibration_version).first()
    if ratio is None or calibration is None:
        return None
    threshold = None if decision.threshold is None else calibrations.ratio_of(calibration, decision.threshold)
    chart, words = score_distribution(calibration.distribution, ratio, threshold)
    return {"chart": chart, "words": words, "calibration": calibration}


def _attempts(customer_id: str, decision: Decision | None, case: ReviewCase | None) -> list[Attempt]:
    """List the latest attempts on the customer, in this voice as far as cases tell, and of the same caller."""
    lanes: dict[str, Q] = {}
    if case is not None and case.subject:
        same = ReviewCase.objects.filter(kind=case.kind, subject=case.subject)
        lanes["this voice"] = Q(pk__in=_calls_in(each for row in same for each in row.evidence))
    elif case is not None:
        lanes["this case"] = Q(pk__in=_calls_in(case.evidence))
    if customer_id:
        lanes["this customer"] = Q(customer_id=customer_id)
    if decision is not None and decision.caller:
        lanes["this caller"] = Q(caller=decision.caller)
    found: dict[UUID, Attempt] = {}
    for lane, wanted in lanes.items():
        for each in Decision.objects.filter(wanted).order_by("-created_at")[:ATTEMPTS]:
            found.setdefault(each.pk, Attempt(decision=each, lane=lane))
    return sorted(found.values(), key=lambda each: each.decision.created_at, reverse=True)


def _calls_in(evidence: Iterable[Mapping[str, Any]]) -> list[str]:
    return [each["decision_id"] for each in evidence if "decision_id" in each]


def _tone(decision: Decision) -> str:
    return TONES.get(decision.decision, "undecided")
