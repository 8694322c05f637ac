"""The pages of a sign-in: the password, the code, and the setting up of a second factor."""

from collections.abc import Callable
from typing import Any

import segno
from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from voiceauth.platform.api import actor_of, throttling
from voiceauth.platform.api.exceptions import note
from voiceauth.platform.audit import Actor
from voiceauth.platform.errors import DomainError
from voiceauth.review.sign_in import provider, services, sessions
from voiceauth.review.sign_in.errors import SignInRefused, WrongCode

View = Callable[[HttpRequest], HttpResponse]


class PasswordForm(AdminAuthenticationForm):
    """Lets in whoever has a role."""

    def confirm_login_allowed(self, user: Any) -> None:
        """Raise ``ValidationError`` for a person who may not use the dashboard."""
        if not sessions.may_enter(user):
            raise ValidationError(
                self.error_messages["invalid_login"],
                code="invalid_login",
                params={"username": self.username_field.verbose_name},
            )


class CodeForm(forms.Form):
    """A code of the app, or a recovery code."""

    code = forms.CharField(
        max_length=40,
        help_text="The six digits that your authenticator app shows, or one of your recovery codes.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}),
    )


class FirstCodeForm(forms.Form):
    """The first code of a new app."""

    code = forms.CharField(
        max_length=10,
        help_text="The six digits that the app shows for voiceauth now.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


class PasswordView(LoginView):
    """Asks for the password, and then for the second factor where one is needed."""

    authentication_form = PasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        """Sign the person in, or send them to the next step."""
        next_page = self.get_success_url()
        if sessions.begin(self.request, form.get_user(), next_page):
            return HttpResponseRedirect(next_page)
        return HttpResponseRedirect(reverse("sign-in-code"))


def _private(view: View) -> Any:
    """Keep what a page shows out of caches, and codes out of error reports."""
    return never_cache(sensitive_post_parameters()(view))


def _throttled(request: HttpRequest) -> HttpResponse | None:
    """Count an attempt by its address, as the password's are. Return the refusal where there were too many."""
    try:
        throttling.admit_anonymous(request)
    except throttling.Throttled as error:
        failure = note(error, request)
        return HttpResponse(failure.message, "text/plain", failure.status, headers=failure.headers)
    return None


@_private
@require_http_methods(["GET", "POST"])
def code(request: HttpRequest) -> HttpResponse:
    """Ask for a code after the password."""
    user = sessions.pending(request)
    if user is None:
        return HttpResponseRedirect(reverse("admin:login"))
    if services.factor_of(user) is None:
        return HttpResponseRedirect(reverse("sign-in-set-up"))
    form = CodeForm(request.POST or None)
    if request.method == "POST":
        credentials = {"username": user.get_username()}
        if (refusal := _throttled(request)) is not None:
            return refusal
        if not AxesProxyHandler.is_allowed(request, credentials):  # five wrong passwords and codes together
            return get_lockout_response(request, credentials=credentials)
        if form.is_valid():
            try:
                services.check(user=user, code=form.cleaned_data["code"], actor=_actor_of(request, user))
            except DomainError as error:
                user_login_failed.send(sender=__name__, credentials=credentials, request=request, factor="second")
                form.add_error("code", error.detail)
            else:
                return HttpResponseRedirect(sessions.finish(request, user))
    return _page(request, "sign_in/code.html", "Enter your code", form=form)


@_private
@require_http_methods(["GET", "POST"])
def set_up(request: HttpRequest) -> HttpResponse:
    """Show the secret as a QR code and as text, and the recovery codes once the app's first code is right."""
    user = sessions.pending(request)
    is_pending = user is not None
    if user is None:
        if not admin.site.has_permission(request):
            return HttpResponseRedirect(reverse("admin:login"))
        user = _person(request)
        if not user.has_usable_password():  # the identity provider asks for it
            return HttpResponseRedirect(reverse("second-factor"))
    if services.factor_of(user) is not None:
        return HttpResponseRedirect(reverse("sign-in-code" if is_pending else "second-factor"))
    factor_id, form = sessions.offered(request), FirstCodeForm(request.POST or None)
    if request.method == "POST":
        if (refusal := _throttled(request)) is not None:
            return refusal
        if form.is_valid():
            actor = _actor_of(request, user)
            try:
                codes = services.set_up(user=user, factor_id=factor_id, code=form.cleaned_data["code"], actor=actor)
            except DomainError as error:
                form.add_error("code", error.detail)
            else:
                sessions.forget_offer(request)
                following = reverse("second-factor")
                if is_pending:
                    following = sessions.finish(request, user)
                else:
                    sessions.mark(request, services.factor_of(user))
                return _codes_page(request, codes, following)
    context = {
        "form": form,
        "qr_code": _qr_code(services.address_of(factor_id, user)),
        "secret": _in_fours(services.secret_of(factor_id)),
        "required": services.is_required_of(user),
        "is_pending": is_pending,
    }
    return _page(request, "sign_in/set_up.html", "Set up your second factor", **context)


@_private
@require_GET
def to_provider(request: HttpRequest) -> HttpResponse:
    """Send the browser to the identity provider."""
    if not provider.is_configured():
        raise Http404
    if (refusal := _throttled(request)) is not None:
        return refusal
    wanted = request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    request.session["sign_in_next"] = wanted if is_ours else reverse("admin:index")
    try:
        return provider.redirect(request, request.build_absolute_uri(reverse("sign-in-provider-answer")))
    except SignInRefused as error:
        return _refused(request, error)


@_private
@require_GET
def from_provider(request: HttpRequest) -> HttpResponse:
    """Take the identity provider's answer."""
    if not provider.is_configured():
        raise Http404
    if (refusal := _throttled(request)) is not None:
        return refusal
    try:
        person = provider.answer(request)
        user = provider.account_of(person, actor_of(request))
    except SignInRefused as error:
        return _refused(request, error)
    following = request.session.pop("sign_in_next", reverse("admin:index"))
    sessions.enter(request, user)
    return HttpResponseRedirect(following)


def _refused(request: HttpRequest, error: SignInRefused) -> HttpResponse:
    failure = note(error, request)  # the middleware records the refusal
    context = {**admin.site.each_context(request), "title": "Sign-in refused", "message": failure.message}
    return TemplateResponse(request, "sign_in/refused.html", context, status=failure.status)


def _signed_in(view: View) -> Any:
    return admin.site.admin_view(_private(view))


@_signed_in
def show(request: HttpRequest) -> HttpResponse:
    """Show whether the person has a second factor, and what can be done about it."""
    return _own_page(request, CodeForm())


@_signed_in
@require_POST
def renew(request: HttpRequest) -> HttpResponse:
    """Replace the recovery codes, and show the new ones once."""

    def run(user: User, actor: Actor) -> HttpResponse:
        codes = services.renew_recovery_codes(user=user, actor=actor)
        return _codes_page(request, codes, reverse("second-factor"))

    return _with_code(request, run)


@_signed_in
@require_POST
def remove(request: HttpRequest) -> HttpResponse:
    """Remove the second factor."""

    def run(user: User, actor: Actor) -> HttpResponse:
        services.remove(user=user, actor=actor)
        sessions.mark(request, None)
        messages.success(request, "Your second factor was removed.")
        return HttpResponseRedirect(reverse("second-factor"))

    return _with_code(request, run)


def _with_code(request: HttpRequest, run: Callable[[User, Actor], HttpResponse]) -> HttpResponse:
    """Carry out what a session alone is not enough for: it asks for a code again."""
    user, form = _person(request), CodeForm(request.POST)
    if form.is_valid():
        try:
            services.check(user=user, code=form.cleaned_data["code"], actor=actor_of(request))
            return run(user, actor_of(request))
        except DomainError as error:
            note(error, request)  # the middleware records the refusal
            form.add_error("code" if isinstance(error, WrongCode) else None, error.detail)
    return _own_page(request, form)


def _own_page(request: HttpRequest, form: CodeForm) -> HttpResponse:
    user = _person(request)
    factor = services.factor_of(user)
    form.fields["code"].widget.attrs.pop("autofocus", None)
    context = {
        "form": form,
        "factor": factor,
        "left": 0 if factor is None else factor.recovery_codes.count(),
        "required": services.is_required_of(user),
    }
    return _page(request, "sign_in/second_factor.html", "Second factor", **context)


def _codes_page(request: HttpRequest, codes: list[str], following: str) -> HttpResponse:
    return _page(request, "sign_in/recovery_codes.html", "Keep your recovery codes", codes=codes, following=following)


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), "title": title, **context})


def _person(request: HttpRequest) -> User:
    person = request.user
    assert isinstance(person, User)
    return person


def _actor_of(request: HttpRequest, user: User) -> Actor:
    """Return the actor of a step before the person is signed in."""
    actor = actor_of(request)
    if request.user.is_authenticated:
        return actor
    role = services.role_of(user)
    name = f"user:{user.get_username()}"[:128]
    return Actor(name=name, role=role, ip_address=actor.ip_address, request_id=actor.request_id)


def _qr_code(text: str) -> SafeString:
    """Return the QR code of ``text`` as SVG without styles, dark on light in either theme, as scanners need it."""
    drawn = segno.make(text, error="m", micro=False).svg_inline(
        scale=5, dark="#000", light="#fff", title="QR code of your secret", omitsize=True, svgclass="va-qr-code"
    )
    return mark_safe(drawn.replace("<svg ", '<svg role="img" ', 1))  # noqa: S308 (segno escapes the title)


def _in_fours(secret: str) -> str:
    return " ".join(secret[place : place + 4] for place in range(0, len(secret), 4))
