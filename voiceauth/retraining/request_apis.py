"""Starting a training run and a promotion."""

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mltraining.models import ModelVersion
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.approvals.serializers import ApprovalAnswer
from voiceauth.retraining import forced_promotion
from voiceauth.retraining import training as retraining
from voiceauth.retraining.apis import TrainingRunList
from voiceauth.retraining.serializers import (
    ModelVersionSerializer,
    PromotionRequest,
    TrainingRunRequest,
    TrainingRunSerializer,
)

PROMOTION = PolymorphicProxySerializer(
    component_name="PromotionOrApproval",
    serializers=[ModelVersionSerializer, ApprovalAnswer],
    resource_type_field_name=None,
)


class TrainingRuns(IdempotentCreate, TrainingRunList):
    """Training runs, the newest first; POST starts one."""

    @extend_schema(
        tags=["training"],
        operation_id="training_runs_create",
        request=TrainingRunRequest,
        responses={201: TrainingRunSerializer},
    )
    def post(self, request: Request) -> Response:
        """Queue a retrain on the consented audio of the enrolled customers."""
        given = TrainingRunRequest(data=request.data)
        given.is_valid(raise_exception=True)
        run = retraining.request_training(config=given.validated_data["config"], actor=actor_of(request))
        return Response(TrainingRunSerializer(run).data, status=201)


@extend_schema(
    tags=["models"],
    request=PromotionRequest,
    responses={200: ModelVersionSerializer, 202: PROMOTION},
)
class PromoteModel(APIView):
    """Put a model into service: every voiceprint is made anew under it, then one step switches.

    202: under way; poll the model's `state` and `promotion_percent`. 200: it is the active model already.
    Promoting a retired model is the way back. Where the server has a frozen set of trials, a candidate must beat the
    active model on it, else its `promotion_error` is `challenger_not_better`; `force` promotes it nevertheless, once a
    second person has approved: 202 answers the approval.
    """

    permission_classes = (needs("models:promote"),)

    def post(self, request: Request, version: str) -> Response:
        given = PromotionRequest(data=request.data)
        given.is_valid(raise_exception=True)
        if given.validated_data["force"]:
            approval = forced_promotion.request_forced_promotion(
                version=version, reason=given.validated_data["reason"], actor=actor_of(request)
            )
            return Response(ApprovalAnswer(approval).data, status=202)
        model = retraining.request_promotion(version=version, actor=actor_of(request))
        status = 200 if model.state == ModelVersion.State.ACTIVE else 202
        return Response(ModelVersionSerializer(model).data, status=status)
