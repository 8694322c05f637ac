"""What every page shares: rows are read-only; a change is an ``Action``, confirmed and carried out by a service."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.exceptions import note
from voiceauth.platform.audit import Actor
from voiceauth.platform.errors import DomainError
from voiceauth.review.admin.lists import KeysetList
from voiceauth.review.site import NAMES


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that a person may do: a button, a page that asks for confirmation, and one service call on POST.

    ``run`` takes the object (``None`` for an action on the list), the actor and the cleaned form. It returns a sentence
    for the person, the context of ``done_template``, or a file.
    """

    name: str
    label: str
    permission: str
    question: str  # {object} stands for the object
    run: Callable[[Any, Actor, dict[str, Any]], str | dict[str, Any] | HttpResponse]
    on_list: bool = False
    available: Callable[[Any], bool] = lambda _: True
    form: type[forms.Form] = forms.Form
    danger: bool = False
    key: str = ""  # of the keyboard, that presses the button
    done_template: str = ""  # shown with what ``run`` returned, in place of a sentence and a redirect


class Why(forms.Form):
    """The reason for a request that a second person must approve."""

    reason = forms.CharField(max_length=500, help_text="For the person who approves it, and for the audit trail.")


class ReadOnly:
    """Nobody may add, change or delete rows here, superusers included."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to add rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to change rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to delete rows."""
        return False


class ReadOnlyInline(ReadOnly, admin.TabularInline):
    """The rows of a child table, read-only."""

    template = "review/inline.html"
    extra = 0
    can_delete = False
    show_change_link = False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """The list and the details of one table, with its actions."""

    actions = None
    list_per_page = 50
    sortable_by: ClassVar[
        list[str] | tuple[str, ...] | None
    ] = ()  # a list has one order, unless an index serves others
    show_facets = admin.ShowFacets.NEVER  # counting every filter's rows costs as many queries
    change_list_template = "review/list.html"
    change_form_template = "review/detail.html"
    empty: ClassVar[str] = ""  # what an empty list says: how it gets its first row
    operations: ClassVar[Sequence[Action]] = ()
    link_keys: ClassVar[Mapping[str, str]] = {}  # of the keyboard, by the label of a related page

    @property
    def heading(self) -> str:
        """The name of the page in the menu."""
        return NAMES[self.model.__name__]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetList]:
        """Read lists by cursor."""
        return KeysetList

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page itself."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"do/{action.name}/" if action.on_list else f"<str:object_id>/do/{action.name}/",
                self.admin_site.admin_view(partial(self._perform, action)),
                name=f"{name}_{action.name}",
            )
            for action in self.operations
        ]
        return own + super().get_urls()

    def _perform(self, action: Action, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        if not (request.user.has_perm(action.permission) and self.has_view_permission(request)):
            raise PermissionDenied
        obj = None if object_id is None else self.get_object(request, unquote(object_id))
        if object_id is not None and obj is None:
            raise Http404
        form = action.form(request.POST, request.FILES) if request.method == "POST" else action.form()
        if form.is_bound and form.is_valid():
            try:
                answer = action.run(obj, actor_of(request), form.cleaned_data)
            except DomainError as error:
                note(error, request)  # the middleware records the refusal
                form.full_clean()
                said = format_html("{} <code>{}</code>", error.detail, error.code)
                form.errors.setdefault("__all__", form.error_class()).append(said)
            else:
                if isinstance(answer, HttpResponse):
                    return answer
                if isinstance(answer, dict):
                    return self._page(request, action.done_template, action, obj, answer)
                messages.success(request, answer)
                return HttpResponseRedirect(self._back(obj))
        context = {"form": form, "question": action.question.format(object=obj), "back": self._back(obj)}
        return self._page(request, "review/confirm.html", action, obj, context)

    def _page(
        self, request: HttpRequest, template: str, action: Action, obj: Any, context: dict[str, Any]
    ) -> TemplateResponse:
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "heading": self.heading,
                "title": action.label,
                "action": action,
                "object": obj and self.name_of(obj),
                "back": self._back(obj),
                **context,
            },
        )

    def _back(self, obj: Any) -> str:
        """Return the address of the object's page, or of the list where the object is gone."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        if obj is not None and obj.pk and type(obj)._default_manager.filter(pk=obj.pk).exists():
            return reverse(f"{name}_change", args=[quote(obj.pk)])
        return reverse(f"{name}_changelist")

    def _buttons(self, request: HttpRequest, obj: Any) -> list[dict[str, Any]]:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        links = [] if obj is None else self.related(request, obj)
        return [
            {"label": label, "tone": "link", "url": url, "key": self.link_keys.get(label, "")} for label, url in links
        ] + [
            {
                "label": action.label,
                "tone": "danger" if action.danger else "act",
                "key": action.key,
                "url": reverse(f"{name}_{action.name}", args=[] if action.on_list else [quote(obj.pk)]),
            }
            for action in self.operations
            if action.on_list == (obj is None)
            and request.user.has_perm(action.permission)
            and (obj is None or action.available(obj))
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list."""
        context = {"buttons": self._buttons(request, None), "title": self.heading, "heading": self.heading}
        context |= {"empty": self.empty}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Show the details of one row."""
        obj = kwargs.get("obj") or context.get("original")
        context |= {"buttons": self._buttons(request, obj), "title": self.name_of(obj), "heading": self.heading}
        context |= {"subtitle": None} | self.detail_context(request, obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def name_of(self, obj: Any) -> str:
        """Return what the pages of ``obj`` call it."""
        return capfirst(str(obj))

    def related(self, request: HttpRequest, obj: Any) -> list[tuple[str, str]]:
        """Return labels and addresses of related pages that the person may see."""
        return []

    def detail_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return more context for the detail page. ``refresh`` renews it every so many seconds."""
        return {}
