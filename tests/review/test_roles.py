"""Who may open which page, and that nobody writes past the services."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from enrollment.batches.models import BatchEnrollment
from enrollment.models import AudioSample, Customer
from mltraining.models import ModelVersion
from tests.support.customers import make_customer, make_sample
from tests.support.model import make_model
from tests.support.people import PASSWORD, SignIn
from tests.support.rows import keep_audio, make_decision, make_run
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from voiceauth.policies.models import PolicyVersion
from voiceauth.retraining.models import TrainingRun
from voiceauth.retraining.services import request_forced_promotion
from voiceauth.review.roles import PERMISSIONS, ensure_groups
from voiceauth.screening.models import Watchlist
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db

LISTS = {
    "enrollment/customer/": {"teller", "reviewer", "admin", "auditor", "superuser"},
    "verification/decision/": {"reviewer", "admin", "auditor", "superuser"},
    "mltraining/modelversion/": {"reviewer", "admin", "auditor", "superuser"},
    "verification/driftreport/": {"reviewer", "admin", "auditor", "superuser"},
    "retraining/trainingrun/": {"admin", "auditor", "superuser"},
    "retraining/recalibration/": {"reviewer", "admin", "auditor", "superuser"},
    "enrollment/audiosample/": {"teller", "reviewer", "admin", "superuser"},
    "batches/batchenrollment/": {"teller", "admin", "superuser"},
    "policies/policyversion/": {"reviewer", "admin", "auditor", "superuser"},
    "screening/watchlist/": {"reviewer", "admin", "auditor", "superuser"},
    "screening/fraudster/": {"reviewer", "admin", "auditor", "superuser"},
    "audit/auditevent/": {"reviewer", "admin", "auditor", "superuser"},
    "approvals/approval/": {"reviewer", "admin", "auditor", "superuser"},
    "api/apiclient/": {"admin", "auditor", "superuser"},
    "webhooks/webhookendpoint/": {"admin", "auditor", "superuser"},
    "webhooks/webhookdelivery/": {"admin", "auditor", "superuser"},
    "auth/user/": {"superuser"},
    "auth/group/": {"superuser"},
}
EVERYBODY = ["teller", "reviewer", "admin", "auditor", "superuser", "nobody"]


@pytest.mark.parametrize("role", EVERYBODY)
def test_a_list_opens_for_its_roles_only(signed_in: SignIn, role: str) -> None:
    client = signed_in(role)
    statuses = {path: client.get(f"/admin/{path}").status_code for path in LISTS}
    assert statuses == {path: 200 if role in allowed else 403 for path, allowed in LISTS.items()}


ACTIONS = {
    "erase": {"teller", "admin", "superuser"},
    "lock": {"reviewer", "admin", "superuser"},
    "unlock": {"reviewer", "admin", "superuser"},
    "hold-approve": {"teller", "reviewer", "admin", "superuser"},
    "hold-remove": {"teller", "reviewer", "admin", "superuser"},
    "change": {"admin", "superuser"},
    "watch-add": {"reviewer", "admin", "superuser"},
    "batch-cancel": {"teller", "admin", "superuser"},
    "cancel": {"admin", "superuser"},
    "start": {"admin", "superuser"},
    "promote": {"admin", "superuser"},
    "force": {"admin", "superuser"},
    "export": {"reviewer", "admin", "superuser"},
    "approve": {"reviewer", "admin", "superuser"},
    "verify": {"reviewer", "admin", "auditor", "superuser"},
    "trail-export": {"reviewer", "admin", "auditor", "superuser"},
    "create": {"admin", "superuser"},
    "rotate": {"admin", "superuser"},
    "limit": {"admin", "superuser"},
    "revoke": {"admin", "superuser"},
    "webhook-create": {"admin", "superuser"},
    "webhook-ping": {"admin", "superuser"},
    "webhook-redeliver": {"admin", "superuser"},
}


@pytest.fixture
def action_paths(db: None) -> dict[str, str]:
    client = ApiClient.objects.create(name="old", role="ivr", token_hash="f" * 64)
    customer, model = make_customer(), make_model()
    held, watchlist = make_sample(customer, held_for=["APPROVAL"]), Watchlist.objects.get(is_default=True)
    batch = BatchEnrollment.objects.create(content_hash="0" * 64, requested_by="teller-app")
    asked = request_forced_promotion(version=model.version, reason="why", actor=SYSTEM)
    endpoint = WebhookEndpoint.objects.create(url="https://bank.example/hooks", created_by="user:grace")
    delivery = endpoint.deliveries.create(type="ping", body="{}", next_attempt_at=timezone.now())
    return {
        "webhook-create": "webhooks/webhookendpoint/do/create/",
        "webhook-ping": f"webhooks/webhookendpoint/{endpoint.pk}/do/ping/",
        "webhook-redeliver": f"webhooks/webhookdelivery/{delivery.pk}/do/redeliver/",
        "erase": f"enrollment/customer/{customer.pk}/do/erase/",
        "lock": f"enrollment/customer/{customer.pk}/do/lock/",
        "unlock": f"enrollment/customer/{customer.pk}/do/unlock/",
        "hold-approve": f"enrollment/audiosample/{held.pk}/do/approve/",
        "hold-remove": f"enrollment/audiosample/{held.pk}/do/remove/",
        "batch-cancel": f"batches/batchenrollment/{batch.pk}/do/cancel/",
        "change": "policies/policyversion/do/change/",
        "watch-add": f"screening/watchlist/{watchlist.pk}/do/add/",
        "export": f"enrollment/customer/{customer.pk}/do/export/",
        "approve": f"approvals/approval/{asked.pk}/do/approve/",
        "cancel": f"retraining/trainingrun/{make_run().pk}/do/cancel/",
        "start": "retraining/trainingrun/do/start/",
        "promote": f"mltraining/modelversion/{model.pk}/do/promote/",
        "force": f"mltraining/modelversion/{model.pk}/do/force/",
        "verify": "audit/auditevent/do/verify/",
        "trail-export": "audit/auditevent/do/export/",
        "create": "api/apiclient/do/create/",
        "rotate": f"api/apiclient/{client.pk}/do/rotate/",
        "limit": f"api/apiclient/{client.pk}/do/limit/",
        "revoke": f"api/apiclient/{client.pk}/do/revoke/",
    }


@pytest.mark.parametrize("role", EVERYBODY)
def test_an_action_asks_its_roles_and_refuses_the_others(
    signed_in: SignIn, action_paths: dict[str, str], role: str
) -> None:
    client = signed_in(role)
    assert action_paths.keys() == ACTIONS.keys()
    for action, path in action_paths.items():
        allowed = role in ACTIONS[action]
        assert client.get(f"/admin/{path}").status_code == (200 if allowed else 403), action
        if not allowed:
            assert client.post(f"/admin/{path}").status_code == 403, action


@pytest.mark.parametrize("role", ["teller", "auditor", "nobody"])
def test_who_may_not_listen_gets_no_audio_and_the_attempt_is_recorded(signed_in: SignIn, role: str) -> None:
    customer = make_customer()
    sample, decision = make_sample(customer), make_decision()
    keep_audio(decision, customer)
    client = signed_in(role)
    for path in (f"verification/decision/{decision.pk}/audio/", f"enrollment/customer/samples/{sample.pk}/audio/"):
        assert client.get(f"/admin/{path}").status_code == 403
        refusal = AuditEvent.objects.filter(action="request.refused").first()
        assert refusal is not None
        assert (refusal.outcome, refusal.role) == ("refused", "none" if role == "nobody" else role)
        assert refusal.data["path"] == f"/admin/{path}"
    assert not AuditEvent.objects.filter(action__endswith="audio_played").exists()


def test_nobody_is_let_in_without_signing_in(db: None) -> None:
    decision = make_decision()
    for path in [*LISTS, "", f"verification/decision/{decision.pk}/audio/"]:
        response = Client().get(f"/admin/{path}")
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]


@pytest.mark.parametrize(
    "model",
    [
        Customer,
        AudioSample,
        Decision,
        ModelVersion,
        TrainingRun,
        PolicyVersion,
        Watchlist,
        AuditEvent,
        ApiClient,
        Approval,
        WebhookEndpoint,
        WebhookDelivery,
        Group,
    ],
)
def test_not_even_a_superuser_may_add_change_or_delete_a_row(
    signed_in: SignIn, action_paths: dict[str, str], model: Any
) -> None:
    make_decision()
    PolicyVersion.objects.create(number=1, content={}, reason="why", created_by="user:grace")
    client = signed_in("superuser")  # an audit event
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
    row = model.objects.values().first()
    row_id = row[model._meta.pk.attname]
    assert client.get(f"{base}/add/").status_code == 403
    assert client.post(f"{base}/add/", {"name": "x"}).status_code == 403
    assert client.post(f"{base}/{row_id}/change/", {"state": "ENROLLED", "name": "x"}).status_code == 403
    assert client.post(f"{base}/{row_id}/delete/", {"post": "yes"}).status_code == 403
    client.post(f"{base}/", {"action": "delete_selected", "_selected_action": [row_id], "post": "yes"})
    assert model.objects.filter(pk=row_id).values().get() == row
    page = client.get(f"{base}/{row_id}/change/").content.decode()
    assert 'name="_save"' not in page
    assert "deletelink" not in page


def test_every_registered_page_but_the_users_is_read_only(people: dict[str, User]) -> None:
    request = type("Request", (), {"user": people["superuser"]})()
    writable = {
        model.__name__
        for model, page in admin.site._registry.items()
        if page.has_add_permission(request)
        or page.has_change_permission(request)
        or page.has_delete_permission(request)
    }
    assert writable == {"User"}


def test_groups_hold_exactly_their_role_s_permissions_even_after_someone_added_one(db: None) -> None:
    ensure_groups()
    Group.objects.get(name="teller").permissions.add(*Group.objects.get(name="admin").permissions.all())
    ensure_groups()
    for role, names in PERMISSIONS.items():
        held = {f"{p.content_type.app_label}.{p.codename}" for p in Group.objects.get(name=role).permissions.all()}
        assert held == set(names)


def test_groups_exist_after_migrating(db: None) -> None:
    assert set(Group.objects.values_list("name", flat=True)) >= set(PERMISSIONS)


def test_sign_in_refused_sign_in_and_sign_out_are_recorded(people: dict[str, User]) -> None:
    client = Client()
    credentials = {"username": "rita", "password": PASSWORD}
    client.post("/admin/login/", {**credentials, "password": "wrong"}, REMOTE_ADDR="198.51.100.7")
    client.post("/admin/login/", {"username": PASSWORD, "password": "typed into the wrong field"})
    client.post("/admin/login/", credentials, REMOTE_ADDR="198.51.100.7")
    client.post("/admin/logout/")
    events = AuditEvent.objects.order_by("sequence").values_list("action", "outcome", "actor", "role", "ip_address")
    assert list(events) == [
        ("session.sign_in_refused", "refused", "user:rita", "anonymous", "198.51.100.7"),
        ("session.sign_in_refused", "refused", "anonymous", "anonymous", "127.0.0.1"),
        ("session.signed_in", "success", "user:rita", "reviewer", "198.51.100.7"),
        ("session.signed_out", "success", "user:rita", "reviewer", "127.0.0.1"),
    ]
    assert PASSWORD not in str(list(AuditEvent.objects.values()))


def test_changing_a_user_is_recorded_with_what_they_became(signed_in: SignIn, people: dict[str, User]) -> None:
    tom, role = people["teller"], Group.objects.get(name="reviewer")
    form = {"username": "tom", "is_active": "on", "is_staff": "on", "groups": [role.pk]}
    response = signed_in("superuser").post(f"/admin/auth/user/{tom.pk}/change/", form)
    assert response.status_code == 302
    event = AuditEvent.objects.get(action="user.changed")
    assert event.target == f"user:{tom.pk}"
    assert event.actor == "user:sue"
    assert event.after is not None
    assert event.after["roles"] == ["reviewer"]


def test_changing_one_s_own_password_is_recorded(signed_in: SignIn, people: dict[str, User]) -> None:
    new = "another long pass phrase"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    signed_in("teller").post("/admin/password_change/", form)
    people["teller"].refresh_from_db()
    assert people["teller"].check_password(new)
    assert AuditEvent.objects.get(action="user.password_changed").actor == "user:tom"


def test_resetting_someone_s_password_is_recorded(signed_in: SignIn, people: dict[str, User]) -> None:
    new = "another long pass phrase"
    form = {"usable_password": "true", "password1": new, "password2": new}
    response = signed_in("superuser").post(f"/admin/auth/user/{people['teller'].pk}/password/", form)
    assert response.status_code == 302
    people["teller"].refresh_from_db()
    assert people["teller"].check_password(new)
    assert AuditEvent.objects.get(action="user.changed").target == f"user:{people['teller'].pk}"


def test_nobody_deletes_an_account(signed_in: SignIn, people: dict[str, User]) -> None:
    path = f"/admin/auth/user/{people['teller'].pk}/delete/"
    assert signed_in("superuser").post(path, {"post": "yes"}).status_code == 403
    assert User.objects.filter(username="tom").exists()
