"""Paths of the policy."""

from django.urls import path

from voiceauth.policies import apis

urlpatterns = [
    path("policies", apis.PolicyVersions.as_view(), name="policies"),
    path("policies/in-force", apis.PolicyInForce.as_view(), name="policy-in-force"),
]
