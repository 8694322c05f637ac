"""Training runs and models over HTTP: start and cancel a run, promote a model, and follow both."""

import uuid

from django.db.models import QuerySet
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mltraining.models import ModelVersion
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import validated
from voiceauth.platform.approvals.serializers import ApprovalAnswer
from voiceauth.retraining import selectors, services
from voiceauth.retraining.models import TrainingRun
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


class TrainingRunFilter(StrictFilterSet):
    """Narrow a list of training runs by state."""

    class Meta:
        model = TrainingRun
        fields = ("state",)


class ModelVersionFilter(StrictFilterSet):
    """Narrow a list of models by state."""

    class Meta:
        model = ModelVersion
        fields = ("state",)


@extend_schema_view(get=extend_schema(tags=["training"], operation_id="training_runs_list"))
class TrainingRunList(IdempotentCreate, generics.ListAPIView):
    """List the training runs, the newest first."""

    permission_classes = (needs("training:write", reads="training:read"),)
    serializer_class = TrainingRunSerializer
    filterset_class = TrainingRunFilter

    def get_queryset(self) -> QuerySet[TrainingRun]:
        """Select the rows of the list."""
        return selectors.training_runs()

    @extend_schema(
        tags=["training"],
        operation_id="training_runs_create",
        request=TrainingRunRequest,
        responses={201: TrainingRunSerializer},
    )
    def post(self, request: Request) -> Response:
        """Queue a retrain on the consented audio of the enrolled customers."""
        run = services.request_training(**validated(TrainingRunRequest, request.data), actor=actor_of(request))
        return Response(TrainingRunSerializer(run).data, status=201)


@extend_schema(tags=["training"], responses=TrainingRunSerializer)
class TrainingRunDetail(APIView):
    """One training run."""

    permission_classes = (needs("training:read"),)

    def get(self, request: Request, run_id: uuid.UUID) -> Response:
        """Get one run: its state, progress in percent, metrics so far, and the candidate model that came of it."""
        return Response(TrainingRunSerializer(selectors.training_run(run_id)).data)


@extend_schema(tags=["training"], request=None, responses={202: TrainingRunSerializer})
class TrainingRunCancel(APIView):
    """The cancellation of a training run."""

    permission_classes = (needs("training:write"),)

    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        """Cancel a run. One that is running ends in CANCELLED once its worker has stopped."""
        run = services.cancel_training(run_id=run_id, actor=actor_of(request))
        return Response(TrainingRunSerializer(run).data, status=202)


@extend_schema_view(get=extend_schema(tags=["models"], operation_id="models_list"))
class ModelList(generics.ListAPIView):
    """List the registered models, the newest first: candidates, the active one, and retired ones."""

    permission_classes = (needs("models:read"),)
    serializer_class = ModelVersionSerializer
    filterset_class = ModelVersionFilter

    def get_queryset(self) -> QuerySet[ModelVersion]:
        """Select the rows of the list."""
        return selectors.models()


@extend_schema(tags=["models"], responses=ModelVersionSerializer)
class ModelDetail(APIView):
    """One model."""

    permission_classes = (needs("models:read"),)

    def get(self, request: Request, version: str) -> Response:
        """Get one model: metrics, fingerprint, threshold, state, and the progress of its promotion."""
        return Response(ModelVersionSerializer(selectors.model(version)).data)


@extend_schema(tags=["models"], request=PromotionRequest, responses={200: ModelVersionSerializer, 202: PROMOTION})
class PromoteModel(APIView):
    """The promotion of a model."""

    permission_classes = (needs("models:promote"),)

    def post(self, request: Request, version: str) -> Response:
        """Put a model into service: every voiceprint is made again under it, then one step switches.

        202: under way; poll the model's `state` and `promotion_percent`. 200: it is the active model already.
        Promote a retired model to go back to it. Where the server has a frozen set of trials, a candidate must beat the
        active model on it, or else its `promotion_error` is `challenger_not_better`. `force` promotes it all the same,
        once a second person has approved: 202 then answers the approval.
        """
        given, actor = validated(PromotionRequest, request.data), actor_of(request)
        if given["force"]:
            approval = services.request_forced_promotion(version=version, reason=given["reason"], actor=actor)
            return Response(ApprovalAnswer(approval).data, status=202)
        model = services.request_promotion(version=version, actor=actor)
        status = 200 if model.state == ModelVersion.State.ACTIVE else 202
        return Response(ModelVersionSerializer(model).data, status=status)
