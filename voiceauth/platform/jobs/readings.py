"""What the metrics tell of jobs of every kind."""

from collections.abc import Iterator, Mapping

from django.apps import apps
from django.db.models import Count, Min
from django.utils import timezone

from voiceauth.platform.jobs.models import Job
from voiceauth.platform.metrics import Reading


def _kinds() -> Iterator[type[Job]]:
    return (model for model in apps.get_models() if issubclass(model, Job))


def jobs() -> Mapping[tuple[str, ...], float]:
    """Count the jobs of each kind by state."""
    found: dict[tuple[str, ...], float] = {
        (kind.audit_name, state): 0.0 for kind in _kinds() for state in Job.State.values
    }
    for kind in _kinds():
        for state, number in kind._default_manager.order_by().values_list("state").annotate(Count("pk")):
            found[kind.audit_name, state] = float(number)
    return found


def oldest_open_seconds() -> Mapping[tuple[str, ...], float]:
    """Return for how long the oldest job of each kind has not ended; 0 where all have."""
    found: dict[tuple[str, ...], float] = {}
    now = timezone.now()
    for kind in _kinds():
        begun = kind._default_manager.filter(state__in=Job.OPEN).aggregate(Min("created_at"))["created_at__min"]
        found[(kind.audit_name,)] = (now - begun).total_seconds() if begun else 0.0
    return found


ALL = (
    Reading("voiceauth_jobs", "Jobs of each kind by state.", ("kind", "state"), jobs),
    Reading("voiceauth_oldest_open_job_seconds", "Since the oldest open job was made.", ("kind",), oldest_open_seconds),
)
