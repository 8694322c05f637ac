"""The public page ``/retention``: how long voices are kept, and how they are destroyed (BIPA §15(a)).

It is made from the settings and the policy in force, so that it says what the service does. It needs no sign-in.
"""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from voiceauth.policies import selectors as policies
from voiceauth.policies.document import Policy
from voiceauth.review.trial.services import KEPT_HOURS


@dataclass(frozen=True)
class Kept:
    """One kind of data, and when it is destroyed."""

    what: str
    until: str


@require_safe
def show(request: HttpRequest) -> HttpResponse:
    """Show the schedule in force."""
    policy = policies.in_force()
    context = {"schedule": schedule(policy), "policy": policy.number, "now": timezone.now()}
    return render(request, "review/retention.html", context)


def schedule(policy: Policy) -> list[Kept]:
    """Return what is kept under the settings and ``policy``, and until when."""
    rows = [
        Kept(
            "Recordings made to enroll, and the voiceprint made from them",
            "When the voice was not used for "
            f"{_days(settings.VOICEAUTH_EXPIRE_UNUSED_DAYS)}: no enrollment, and no call in which it was accepted.",
        ),
        Kept(
            "Recordings of calls in which a voice was verified",
            f"{_days(settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS)} after the call."
            if settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS
            else "They are not kept.",
        ),
    ]
    if policy.enrichment.methods:
        rows.append(
            Kept(
                "Calls that joined a voiceprint, after another factor had confirmed the caller",
                f"{_days(policy.enrichment.max_age_days)} after the call, or when it is no longer among the latest "
                f"{policy.enrichment.max_calls}.",
            )
        )
    if settings.VOICEAUTH_VELOCITY_CUSTOMERS:
        rows.append(
            Kept(
                "What recent calls sounded like, to notice one voice that claims to be many customers",
                f"{_counted(settings.VOICEAUTH_VELOCITY_HOURS, 'hour')} after the call.",
            )
        )
    rows += [
        Kept(
            "Voices of known fraudsters",
            f"{_days(settings.VOICEAUTH_KEEP_FRAUDSTERS_DAYS)} after the voice was listed, or when it is removed.",
        ),
        Kept(
            "Recordings that staff make to try the service",
            f"{_counted(KEPT_HOURS, 'hour')} after the trial began, or at once on request.",
        ),
    ]
    return rows


def _days(days: int) -> str:
    """Return a number of days, in years where they are whole: 3 years (1095 days)."""
    years, rest = divmod(days, 365)
    return _counted(days, "day") if rest or not years else f"{_counted(years, 'year')} ({_counted(days, 'day')})"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
