"""The policy over HTTP: administrators change it, reviewers and auditors read it."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer, validated
from voiceauth.policies import selectors, services
from voiceauth.policies.models import PolicyVersion

Policy = needs("policy:write", reads="policy:read")


class NewPolicy(StrictSerializer):
    """A policy that replaces the one in force."""

    content = serializers.DictField(
        help_text="What departs from the defaults: enrollment, verification, enrichment, tiers, channels, sign_in."
    )
    reason = serializers.CharField(max_length=500, help_text="Why, for the trail.")
    based_on = serializers.IntegerField(min_value=0, help_text="The number of the version that you read.")


class MissingAnswer(serializers.Serializer):
    """One thing that the calibration lacks to support a rate."""

    code = serializers.CharField(
        help_text="not_calibrated, trained_on_these_speakers, too_few_impostor_trials, too_few_target_trials, "
        "too_few_speakers or no_threshold."
    )
    have = serializers.IntegerField()
    need = serializers.IntegerField()
    message = serializers.CharField()


class UnmetRateAnswer(serializers.Serializer):
    """A false-accept rate of the policy that the calibration in force cannot promise."""

    tier = serializers.CharField(help_text="Empty: calls without a tier.")
    target_far = serializers.FloatField()
    missing = MissingAnswer(many=True)
    message = serializers.CharField()


class PolicyAnswer(serializers.ModelSerializer):
    """One version of the policy."""

    content = serializers.DictField(help_text="What departs from the defaults.")

    class Meta:
        model = PolicyVersion
        fields = ("number", "content", "reason", "created_by", "created_at")
        read_only_fields = fields


class ChangedPolicyAnswer(PolicyAnswer):
    """The new version, and which of its rates the model in service cannot promise."""

    unmet_rates = serializers.SerializerMethodField()

    class Meta:
        model = PolicyVersion
        fields = (*PolicyAnswer.Meta.fields, "unmet_rates")
        read_only_fields = fields

    @extend_schema_field(UnmetRateAnswer(many=True))
    def get_unmet_rates(self, version: PolicyVersion) -> Any:
        """Return the rates that the model in service cannot promise."""
        return _unmet_rates()


def _unmet_rates() -> list[dict[str, Any]]:
    return [each.as_dict() for each in selectors.unmet_rates()]


@extend_schema(tags=["policy"])
class PolicyVersions(IdempotentCreate, generics.ListAPIView):
    """List all versions of the policy, the one in force first. Without any, the settings' defaults are in force."""

    permission_classes = (Policy,)
    serializer_class = PolicyAnswer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[PolicyVersion]:
        """Select the rows of the list."""
        return selectors.versions()

    @extend_schema(request=NewPolicy, responses={201: ChangedPolicyAnswer})
    def post(self, request: Request) -> Response:
        """Put a new version into force, from the next call on.

        A false-accept rate that is new and that the trials of the calibration in force do not support is refused:
        `rate_not_supported`. `unmet_rates` lists rates that were in the policy already and are not supported any more;
        calls of such a tier are refused until the model is calibrated on more trials.
        """
        version = services.change(**validated(NewPolicy, request.data), actor=actor_of(request))
        return Response(ChangedPolicyAnswer(version).data, status=201)


@extend_schema(tags=["policy"])
class PolicyInForce(generics.GenericAPIView):
    """The policy in force."""

    permission_classes = (Policy,)
    filter_backends = ()

    @extend_schema(responses={200: {"type": "object", "additionalProperties": True}})
    def get(self, request: Request) -> Response:
        """Get the whole policy in force, and those of its rates that the model in service cannot promise."""
        return Response(selectors.in_force().as_dict() | {"unmet_rates": _unmet_rates()})
