"""Watchlists and review cases over HTTP. ``voiceauth.verification.fraudster_apis`` puts voices on watchlists."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import MomentFilter, StrictFilterSet
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import validated
from voiceauth.platform.approvals.serializers import ApprovalAnswer, ApprovalReason
from voiceauth.platform.erasure.serializers import ErasureAnswer
from voiceauth.screening import cases, selectors, watchlists
from voiceauth.screening.models import ReviewCase, Watchlist
from voiceauth.screening.serializers import (
    Assignment,
    CaseAnswer,
    Closing,
    CommentAnswer,
    NewComment,
    NewWatchlist,
    Reopening,
    WatchlistAnswer,
)

Watchlists = needs("watchlists:write", reads="watchlists:read")
Cases = needs("cases:write", reads="cases:read")


@extend_schema(tags=["watchlists"])
class WatchlistList(IdempotentCreate, generics.ListAPIView):
    """List all watchlists, the default one first. Every call and every enrollment is compared with all of them."""

    permission_classes = (Watchlists,)
    serializer_class = WatchlistAnswer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Watchlist]:
        """Select the rows of the list."""
        return selectors.watchlists()

    @extend_schema(request=NewWatchlist, responses={201: WatchlistAnswer})
    def post(self, request: Request) -> Response:
        """Create a watchlist."""
        watchlist = watchlists.create_watchlist(**validated(NewWatchlist, request.data), actor=actor_of(request))
        return Response(WatchlistAnswer(selectors.watchlist(watchlist.pk)).data, status=201)


@extend_schema(tags=["watchlists"])
class WatchlistDetail(APIView):
    """One watchlist."""

    permission_classes = (Watchlists,)

    @extend_schema(responses=WatchlistAnswer)
    def get(self, request: Request, watchlist_id: UUID) -> Response:
        """Get one watchlist."""
        return Response(WatchlistAnswer(selectors.watchlist(watchlist_id)).data)

    @extend_schema(parameters=[ApprovalReason], responses={202: ApprovalAnswer})
    def delete(self, request: Request, watchlist_id: UUID) -> Response:
        """Request the deletion of a watchlist and of the voices on no other one. A second person must approve it."""
        reason = validated(ApprovalReason, request.query_params.dict())["reason"]
        approval = watchlists.request_deletion(watchlist_id=watchlist_id, reason=reason, actor=actor_of(request))
        return Response(ApprovalAnswer(approval).data, status=202)


@extend_schema(tags=["watchlists"])
class FraudsterDetail(APIView):
    """One fraudster."""

    permission_classes = (Watchlists,)

    @extend_schema(responses={202: ErasureAnswer})
    def delete(self, request: Request, fraudster_id: UUID) -> Response:
        """Erase a fraudster's recording and voiceprints from every watchlist. The audit trail stays.

        Follow the erasure of the recording at `/erasures/{erasure_id}`.
        """
        erasure = watchlists.erase_fraudster(fraudster_id=fraudster_id, actor=actor_of(request))
        return Response(ErasureAnswer(erasure).data, status=202)


class CaseFilter(StrictFilterSet):
    """What a list of cases can be narrowed to."""

    opened_after = MomentFilter("opened_at", "gte")
    opened_before = MomentFilter("opened_at", "lt")

    class Meta:
        model = ReviewCase
        fields = ("state", "kind", "customer_id", "assigned_to", "resolution")


@extend_schema(tags=["cases"])
class CaseList(generics.ListAPIView):
    """List review cases, the newest first."""

    permission_classes = (Cases,)
    serializer_class = CaseAnswer
    filterset_class = CaseFilter

    def get_queryset(self) -> QuerySet[ReviewCase]:
        """Select the rows of the list."""
        return selectors.cases()


@extend_schema(tags=["cases"])
class CaseDetail(APIView):
    """One review case."""

    permission_classes = (Cases,)

    @extend_schema(responses=CaseAnswer)
    def get(self, request: Request, number: int) -> Response:
        """Get one case with its evidence and comments."""
        return Response(CaseAnswer(selectors.case(number)).data)


@extend_schema(tags=["cases"])
class CaseAssign(IdempotentCreate, APIView):
    """Who works on a case."""

    permission_classes = (Cases,)

    @extend_schema(request=Assignment, responses={200: CaseAnswer})
    def post(self, request: Request, number: int) -> Response:
        """Assign a case to yourself or to somebody else."""
        actor = actor_of(request)
        to = validated(Assignment, request.data).get("to", actor.name)
        cases.assign(number=number, to=to, actor=actor)
        return Response(CaseAnswer(selectors.case(number)).data)


@extend_schema(tags=["cases"])
class CaseComments(IdempotentCreate, APIView):
    """The comments on a case."""

    permission_classes = (Cases,)

    @extend_schema(request=NewComment, responses={201: CommentAnswer})
    def post(self, request: Request, number: int) -> Response:
        """Add a comment to a case."""
        comment = cases.comment(number=number, **validated(NewComment, request.data), actor=actor_of(request))
        return Response(CommentAnswer(comment).data, status=201)


@extend_schema(tags=["cases"])
class CaseClose(IdempotentCreate, APIView):
    """Closing a case."""

    permission_classes = (Cases,)

    @extend_schema(request=Closing, responses={200: CaseAnswer})
    def post(self, request: Request, number: int) -> Response:
        """Close a case with a resolution and a comment. The next calibration learns from the resolution."""
        cases.close(number=number, **validated(Closing, request.data), actor=actor_of(request))
        return Response(CaseAnswer(selectors.case(number)).data)


@extend_schema(tags=["cases"])
class CaseReopen(IdempotentCreate, APIView):
    """Reopening a case."""

    permission_classes = (Cases,)

    @extend_schema(request=Reopening, responses={200: CaseAnswer})
    def post(self, request: Request, number: int) -> Response:
        """Reopen a closed case with a reason. Calibration ignores the case until it is closed again."""
        cases.reopen(number=number, **validated(Reopening, request.data), actor=actor_of(request))
        return Response(CaseAnswer(selectors.case(number)).data)
