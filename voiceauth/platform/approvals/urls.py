"""Paths of two-person control."""

from django.urls import path

from voiceauth.platform.approvals import apis

urlpatterns = [
    path("approvals", apis.ApprovalList.as_view(), name="approvals"),
    path("approvals/<uuid:approval_id>", apis.ApprovalDetail.as_view(), name="approval"),
    path("approvals/<uuid:approval_id>/approve", apis.Approve.as_view(), name="approve"),
    path("approvals/<uuid:approval_id>/reject", apis.Reject.as_view(), name="reject"),
]
