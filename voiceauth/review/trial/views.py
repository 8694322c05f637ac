"""The page ``/try`` and what its buttons do. Every answer is the whole page, so that it also works without its script.

The page alone may use the microphone; every other page's ``Permissions-Policy`` forbids it.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from enrollment import selectors
from enrollment.models import Customer
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.exceptions import note
from voiceauth.platform.api.middleware import PERMISSIONS_POLICY
from voiceauth.platform.errors import DomainError
from voiceauth.review.trial import services
from voiceauth.review.trial.answers import answer_of

CALL_SECONDS = 5  # of speech that the page records for a verification

View = Callable[[HttpRequest], HttpResponse]


def _for_staff(view: View) -> Any:
    """Let in who may try, and record who may not; a stranger is sent to the sign-in."""

    def checked(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("review.try_voice"):
            raise PermissionDenied
        return view(request)

    return admin.site.admin_view(checked)


@_for_staff
@require_GET
def show(request: HttpRequest) -> HttpResponse:
    """Show the step that the person is at."""
    return _page(request)


@_for_staff
@require_POST
def agree(request: HttpRequest) -> HttpResponse:
    """Record the consent."""
    return _and_back(request, lambda: services.agree(request.user, actor=actor_of(request)))


@_for_staff
@require_POST
def forget(request: HttpRequest) -> HttpResponse:
    """Erase everything that was recorded."""
    return _and_back(request, lambda: services.forget(request.user, actor=actor_of(request)))


@_for_staff
@require_POST
def enroll(request: HttpRequest) -> HttpResponse:
    """Enroll a recording."""
    try:
        sample = services.enroll(request.user, _audio(request), actor=actor_of(request))
    except DomainError as error:
        return _refused(request, error)
    return _page(request, sample=sample)


@_for_staff
@require_POST
def verify(request: HttpRequest) -> HttpResponse:
    """Verify a recording."""
    try:
        decision = services.verify(request.user, _audio(request), actor=actor_of(request))
    except DomainError as error:
        return _refused(request, error)
    return _page(request, answer=answer_of(decision))


def _audio(request: HttpRequest) -> bytes:
    given = request.FILES.get("audio")
    return b"" if given is None else given.read()  # an empty recording is refused like any that is none


def _and_back(request: HttpRequest, service: Callable[[], object]) -> HttpResponse:
    try:
        service()
    except DomainError as error:
        return _refused(request, error)
    return HttpResponseRedirect(reverse("try"))


def _refused(request: HttpRequest, error: DomainError) -> HttpResponse:
    failure = note(error, request)  # the middleware records the refusal
    return _page(request, failure=failure, status=failure.status)


def _page(request: HttpRequest, *, status: int = 200, **context: Any) -> HttpResponse:
    customer = services.trial_of(request.user)
    needed = settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS
    known = {
        **admin.site.each_context(request),
        "title": "Try it with your own voice",
        "customer": customer,
        "needed_seconds": needed,
        "kept_hours": services.KEPT_HOURS,
        "call_seconds": CALL_SECONDS,
    }
    if customer is not None:
        known["remaining_seconds"] = selectors.remaining_seconds(customer)
        known["held"] = customer.samples.exclude(held_for=[]).exists()
        known["step"] = "verify" if customer.state in (Customer.State.ENROLLED, Customer.State.LOCKED) else "enroll"
    response = TemplateResponse(request, "review/try.html", known | context, status=status)
    response["Permissions-Policy"] = PERMISSIONS_POLICY.replace("microphone=()", "microphone=(self)")
    response["Cache-Control"] = "no-store"
    return response
