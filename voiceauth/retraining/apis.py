"""Reads of training runs and models, and cancelling. What starts a run or a promotion needs ``enrollment``."""

import uuid

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mltraining import selectors as models
from mltraining.models import ModelVersion
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.permissions import needs
from voiceauth.retraining import runs, selectors
from voiceauth.retraining.models import TrainingRun
from voiceauth.retraining.serializers import ModelVersionSerializer, TrainingRunSerializer


class TrainingRunFilter(StrictFilterSet):
    class Meta:
        model = TrainingRun
        fields = ("state",)


class ModelVersionFilter(StrictFilterSet):
    class Meta:
        model = ModelVersion
        fields = ("state",)


@extend_schema_view(get=extend_schema(tags=["training"], operation_id="training_runs_list"))
class TrainingRunList(generics.ListAPIView):
    """Training runs, the newest first."""

    permission_classes = (needs("training:write", reads="training:read"),)
    serializer_class = TrainingRunSerializer
    filterset_class = TrainingRunFilter

    def get_queryset(self) -> QuerySet[TrainingRun]:
        return selectors.training_runs()


@extend_schema(tags=["training"], responses=TrainingRunSerializer)
class TrainingRunDetail(APIView):
    """One run: its state, progress in percent, metrics so far, and the candidate model that came of it."""

    permission_classes = (needs("training:read"),)

    def get(self, request: Request, run_id: uuid.UUID) -> Response:
        return Response(TrainingRunSerializer(selectors.training_run(run_id)).data)


@extend_schema(tags=["training"], request=None, responses={202: TrainingRunSerializer})
class TrainingRunCancel(APIView):
    """Cancel a run. One that is running ends in CANCELLED once its worker has stopped."""

    permission_classes = (needs("training:write"),)

    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        run = runs.request_cancel(run_id=run_id, actor=actor_of(request))
        return Response(TrainingRunSerializer(run).data, status=202)


@extend_schema_view(get=extend_schema(tags=["models"], operation_id="models_list"))
class ModelList(generics.ListAPIView):
    """Registered models, the newest first: candidates, the active one, the retired."""

    permission_classes = (needs("models:read"),)
    serializer_class = ModelVersionSerializer
    filterset_class = ModelVersionFilter

    def get_queryset(self) -> QuerySet[ModelVersion]:
        return models.models()


@extend_schema(tags=["models"], responses=ModelVersionSerializer)
class ModelDetail(APIView):
    """One model: metrics, fingerprint, threshold, state, and how far its promotion is."""

    permission_classes = (needs("models:read"),)

    def get(self, request: Request, version: str) -> Response:
        return Response(ModelVersionSerializer(models.model(version)).data)
