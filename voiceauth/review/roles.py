"""The roles of people: which group may see and do what on the review site.

A superuser may do everything that the site offers, and is the only one who manages accounts.
Nobody may write a row directly: the site only reads, and calls services.
"""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

APPROVALS = ["approvals.view_approval", "approvals.decide_approval"]
FRAUD = ["screening.view_reviewcase", "screening.view_watchlist", "screening.view_fraudster"]
CUSTOMER_DATA = ["enrollment.view_customer", "enrollment.view_consent", "enrollment.view_audiosample"]

BATCHES = ["batches.view_batchenrollment", "batches.view_batchresult", "review.cancel_batch"]

PERMISSIONS: dict[str, list[str]] = {
    "teller": [*CUSTOMER_DATA, *BATCHES, "review.erase_customer", "review.approve_enrollment"],
    "reviewer": [
        *CUSTOMER_DATA,
        "verification.view_decision",
        "mltraining.view_modelversion",
        "audit.view_auditevent",
        "policies.view_policyversion",
        "review.play_audio",
        "review.approve_enrollment",
        "review.lock_customer",
        "review.verify_trail",
        "screening.handle_reviewcase",
        "screening.manage_watchlist",
        *FRAUD,
        *APPROVALS,
    ],
    "admin": [
        *CUSTOMER_DATA,
        *BATCHES,
        *APPROVALS,
        *FRAUD,
        "screening.manage_watchlist",
        "verification.view_decision",
        "mltraining.view_modelversion",
        "retraining.view_trainingrun",
        "audit.view_auditevent",
        "api.view_apiclient",
        "policies.view_policyversion",
        "review.play_audio",
        "review.erase_customer",
        "review.approve_enrollment",
        "review.lock_customer",
        "review.change_policy",
        "review.run_training",
        "review.promote_model",
        "review.verify_trail",
        "review.manage_clients",
    ],
    "auditor": [  # reads, and nothing else; no audio
        "enrollment.view_customer",
        "enrollment.view_consent",
        "verification.view_decision",
        "mltraining.view_modelversion",
        "retraining.view_trainingrun",
        "audit.view_auditevent",
        "api.view_apiclient",
        "approvals.view_approval",
        "policies.view_policyversion",
        *FRAUD,
        "review.verify_trail",
    ],
}


def ensure_groups() -> None:
    """Make one group a role, with exactly the permissions above. Safe to repeat."""
    for role, names in PERMISSIONS.items():
        group, _ = Group.objects.get_or_create(name=role)
        wanted = Q()
        for name in names:
            app_label, codename = name.split(".")
            wanted |= Q(content_type__app_label=app_label, codename=codename)
        group.permissions.set(Permission.objects.filter(wanted))
