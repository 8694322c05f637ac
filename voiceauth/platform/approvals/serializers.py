"""What the API answers about approvals."""

from rest_framework import serializers

from voiceauth.platform.api.serializers import StrictSerializer
from voiceauth.platform.approvals.models import Approval


class ApprovalReason(StrictSerializer):
    """Why something is requested."""

    reason = serializers.CharField(max_length=500, help_text="Why, for whoever approves it and for the trail.")


class ApprovalAnswer(serializers.ModelSerializer):
    """Something that a second person must approve."""

    parameters = serializers.DictField(read_only=True)

    class Meta:
        model = Approval
        fields = (
            "id",
            "action",
            "parameters",
            "reason",
            "state",
            "requested_by",
            "requested_at",
            "decided_by",
            "decided_at",
            "expires_at",
        )
        read_only_fields = fields
