"""The policy over HTTP: administrators change it, reviewers and auditors read it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer
from voiceauth.policies import selectors, services
from voiceauth.policies.models import PolicyVersion

Policy = needs("policy:write", reads="policy:read")


class NewPolicy(StrictSerializer):
    """A policy that replaces the one in force."""

    content = serializers.DictField(
        help_text="What departs from the defaults: enrollment, verification, tiers, channels."
    )
    reason = serializers.CharField(max_length=500, help_text="Why, for the trail.")
    based_on = serializers.IntegerField(min_value=0, help_text="The number of the version that you read.")


class PolicyAnswer(serializers.ModelSerializer):
    content = serializers.DictField(help_text="What departs from the defaults.")

    class Meta:
        model = PolicyVersion
        fields = ("number", "content", "reason", "created_by", "created_at")
        read_only_fields = fields


@extend_schema(tags=["policy"])
class PolicyVersions(IdempotentCreate, generics.ListAPIView):
    """All versions of the policy, the one in force first. Without any, the settings' defaults are in force."""

    permission_classes = (Policy,)
    serializer_class = PolicyAnswer
    filter_backends = ()

    def get_queryset(self) -> Any:
        return selectors.versions()

    @extend_schema(request=NewPolicy, responses={201: PolicyAnswer})
    def post(self, request: Request) -> Response:
        """Puts a new version into force, from the next call on."""
        new = NewPolicy(data=request.data)
        new.is_valid(raise_exception=True)
        version = services.change(**new.validated_data, actor=actor_of(request))
        return Response(PolicyAnswer(version).data, status=201)


@extend_schema(tags=["policy"])
class PolicyInForce(generics.GenericAPIView):
    permission_classes = (Policy,)
    filter_backends = ()

    @extend_schema(responses={200: {"type": "object", "additionalProperties": True}})
    def get(self, request: Request) -> Response:
        """The policy in force with everything spelt out."""
        return Response(selectors.in_force().as_dict())
