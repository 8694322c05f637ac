"""Another calibration for a model over HTTP: fitted by a worker, looked at, put into force by two people."""

import uuid

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import validated
from voiceauth.platform.approvals.serializers import ApprovalAnswer
from voiceauth.retraining import recalibration_services as services
from voiceauth.retraining import selectors
from voiceauth.retraining.models import Recalibration
from voiceauth.retraining.serializers import PutIntoForce, RecalibrationRequest, RecalibrationSerializer


@extend_schema_view(get=extend_schema(tags=["models"], operation_id="recalibrations_list"))
class RecalibrationList(IdempotentCreate, generics.ListAPIView):
    """List the calibrations that were fitted for a model, the newest first."""

    permission_classes = (needs("models:promote", reads="models:read"),)
    serializer_class = RecalibrationSerializer
    queryset = Recalibration.objects.none()  # of which rows it is, for the OpenAPI document

    def get_queryset(self) -> QuerySet[Recalibration]:
        """Select the rows of the list."""
        return selectors.recalibrations().filter(model=selectors.model(self.kwargs["version"]))

    @extend_schema(
        tags=["models"],
        operation_id="recalibrations_create",
        request=RecalibrationRequest,
        responses={201: RecalibrationSerializer},
    )
    def post(self, request: Request, version: str) -> Response:
        """Queue the fit of another calibration, with a count of what it would have decided on past calls.

        Nothing is in force afterwards: look at `preview`, then ask a second person.
        """
        given = validated(RecalibrationRequest, request.data)
        fit = services.request_recalibration(version=version, source=given["source"], actor=actor_of(request))
        return Response(RecalibrationSerializer(fit).data, status=201)


@extend_schema(tags=["models"], responses=RecalibrationSerializer)
class RecalibrationDetail(APIView):
    """One calibration that was fitted, or is being fitted."""

    permission_classes = (needs("models:read"),)

    def get(self, request: Request, recalibration_id: uuid.UUID) -> Response:
        """Get its state, what it was measured on, and what it would have decided on past calls."""
        return Response(RecalibrationSerializer(selectors.recalibration(recalibration_id)).data)


@extend_schema(tags=["models"], request=PutIntoForce, responses={202: ApprovalAnswer})
class RecalibrationForce(IdempotentCreate, APIView):
    """The request that a fitted calibration be put into force."""

    permission_classes = (needs("models:promote"),)

    def post(self, request: Request, recalibration_id: uuid.UUID) -> Response:
        """Ask a second person to read the model's scores by this calibration. Voiceprints stay as they are."""
        fit, given = selectors.recalibration(recalibration_id), validated(PutIntoForce, request.data)
        approval = services.request_force(recalibration_id=fit.pk, reason=given["reason"], actor=actor_of(request))
        return Response(ApprovalAnswer(approval).data, status=202)
