"""Error rates by subgroup, on calls of which somebody found out later who was calling.

Genuine are calls that another factor confirmed and those of cases that were closed as a false alarm; impostors those of
cases that were closed as fraud. Such calls are no sample of all calls, so a rate says how the model did on these: read
it beside its interval, and against the other subgroups rather than by itself.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from enrollment.models import AudioSample, ConfirmedCall
from mltraining.models import ModelVersion
from voiceauth.screening.selectors import labelled_trials
from voiceauth.verification.models import Decision
from voiceauth.verification.selectors import decided_by_score

MOST_CALLS = 50_000  # labelled ones, the latest
SPEECH_SECONDS, SNR_DB = (3.0, 6.0), (15.0, 20.0)  # between the subgroups
AT_ONCE = 5000  # ids in one query
Part = tuple[int, str]  # a subgroup: its place among the others, and its name


def by_subgroup(model: ModelVersion) -> list[dict[str, Any]]:
    """Count the errors of ``model`` since it went into service, on labelled verifications.

    Each row: ``group`` and ``value``, ``genuine`` and ``false_rejects``, ``impostors`` and ``false_accepts``. The first
    row is that of all calls; a group of one value is left out. The list is empty where no call is labelled.
    """
    assert model.activated_at is not None
    labels = _labels()
    ids, calls = list(labels), list[Decision]()
    for start in range(0, len(ids), AT_ONCE):
        rows = decided_by_score(model.version, since=model.activated_at).filter(pk__in=ids[start : start + AT_ONCE])
        calls += rows.only("decision", "customer_id", "speech_seconds", "snr_db", "actor", "tier", "created_at")
    if not calls:
        return []
    calls = sorted(calls, key=lambda call: call.created_at)[-MOST_CALLS:]
    origins = _origins({call.customer_id for call in calls})
    groups: dict[str, Callable[[Decision], Part]] = {
        "all": lambda call: (0, "all calls"),
        "net speech": lambda call: _range(call.speech_seconds, SPEECH_SECONDS, "s"),
        "signal to noise": lambda call: _range(call.snr_db, SNR_DB, "dB"),
        "called through": lambda call: (0, call.actor),
        "tier": lambda call: (0, call.tier or "none"),
        "enrolled through": lambda call: (0, origins.get(call.customer_id, "not known")),
    }
    found = []
    for group, part_of in groups.items():
        parts: dict[Part, list[Decision]] = defaultdict(list)
        for call in calls:
            parts[part_of(call)].append(call)
        if len(parts) > 1 or group == "all":
            found += [{"group": group, "value": part[1]} | _errors(parts[part], labels) for part in sorted(parts)]
    return found


def _labels() -> dict[UUID, bool]:
    """Return whether each labelled call was genuine. One that is both confirmed and fraud is left out."""
    labels = labelled_trials()
    for pk in ConfirmedCall.objects.values_list("pk", flat=True):
        if labels.setdefault(pk, True) is False:
            del labels[pk]
    return labels


def _origins(customer_ids: Iterable[str]) -> dict[str, str]:
    """Return where each customer's first recording came from: phone, branch, app."""
    samples = AudioSample.objects.filter(customer__customer_id__in=customer_ids, held_for=[], confirmation=None)
    return dict(samples.order_by("-created_at").values_list("customer__customer_id", "origin"))


def _range(value: float | None, edges: tuple[float, float], unit: str) -> Part:
    low, high = edges
    if value is None:
        return 3, "not known"
    if value < low:
        return 0, f"below {low:g} {unit}"
    return (1, f"{low:g} to {high:g} {unit}") if value < high else (2, f"{high:g} {unit} and more")


def _errors(calls: list[Decision], labels: dict[UUID, bool]) -> dict[str, int]:
    accepted = Decision.Result.ACCEPT
    genuine = [call for call in calls if labels[call.pk]]
    impostors = [call for call in calls if not labels[call.pk]]
    return {
        "genuine": len(genuine),
        "false_rejects": sum(call.decision != accepted for call in genuine),
        "impostors": len(impostors),
        "false_accepts": sum(call.decision == accepted for call in impostors),
    }
