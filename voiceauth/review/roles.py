"""The roles of people: which group may see and do what on the dashboard, from the one table of authority.

A superuser may do everything that the site offers, and is the only one who manages accounts.
Nobody may write a row directly: the site only reads, and calls services.
"""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from voiceauth.platform.api.roles import ROLES, capabilities_of

# The capability (``platform.api.roles``) that a permission of the dashboard belongs to.
CAPABILITY_OF = {
    "api.view_apiclient": "clients:read",
    "approvals.decide_approval": "approvals:decide",
    "approvals.view_approval": "approvals:read",
    "audit.view_auditevent": "audit:read",
    "batches.view_batchenrollment": "batches:read",
    "batches.view_batchresult": "batches:read",
    "enrollment.view_audiosample": "enrollment:read",
    "enrollment.view_consent": "customers:read",
    "enrollment.view_customer": "customers:read",
    "enrollment.view_voiceprint": "enrollment:read",
    "erasure.view_erasure": "customers:read",
    "mltraining.view_modelversion": "models:read",
    "policies.view_policyversion": "policy:read",
    "retraining.view_recalibration": "models:read",
    "retraining.view_trainingrun": "training:read",
    "review.approve_enrollment": "enrollment:approve",
    "review.cancel_batch": "batches:cancel",
    "review.change_policy": "policy:write",
    "review.erase_customer": "customers:erase",
    "review.export_audio": "audio:export",
    "review.lock_customer": "customers:lock",
    "review.manage_clients": "clients:write",
    "review.play_audio": "audio:play",
    "review.promote_model": "models:promote",
    "review.revoke_confirmation": "confirmations:revoke",
    "review.run_training": "training:write",
    "review.try_voice": "voice:try",
    "review.verify_trail": "audit:verify",
    "screening.handle_reviewcase": "cases:write",
    "screening.manage_watchlist": "watchlists:write",
    "screening.view_fraudster": "watchlists:read",
    "screening.view_reviewcase": "cases:read",
    "screening.view_watchlist": "watchlists:read",
    "verification.view_decision": "decisions:read",
    "verification.view_driftreport": "models:read",
    "webhooks.manage_webhookendpoint": "webhooks:write",
    "webhooks.view_webhookdelivery": "webhooks:read",
    "webhooks.view_webhookendpoint": "webhooks:read",
}
PERMISSIONS: dict[str, list[str]] = {
    role: [permission for permission, capability in CAPABILITY_OF.items() if capability in capabilities_of(role)]
    for role in ROLES
    if role != "ivr"  # no person
}


def ensure_groups() -> None:
    """Make one group for each role, with exactly the permissions above. Safe to repeat."""
    for role, names in PERMISSIONS.items():
        group, _ = Group.objects.get_or_create(name=role)
        wanted = Q()
        for name in names:
            app_label, codename = name.split(".")
            wanted |= Q(content_type__app_label=app_label, codename=codename)
        group.permissions.set(Permission.objects.filter(wanted))
