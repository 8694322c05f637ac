"""Customers, consent and enrollment over HTTP: for the teller; reviewers and auditors read customers."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, parsers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from enrollment import samples, selectors, services
from enrollment.models import AudioSample, Consent, ConsentText, Customer
from enrollment.serializers import (
    ConsentAnswer,
    ConsentProofs,
    ConsentTextAnswer,
    ConsentWithdrawal,
    CustomerAnswer,
    EnrollmentAnswer,
    HeldRecordingAnswer,
    NewConsent,
    NewConsentText,
    NewCustomer,
    NewSample,
    Reason,
    SampleAnswer,
)
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.filters import StrictFilterSet
from voiceauth.platform.api.idempotency import IdempotentCreate
from voiceauth.platform.api.parsers import JSONParser
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.serializers import StrictSerializer, validated
from voiceauth.platform.erasure.serializers import ErasureAnswer

CUSTOMER_ID = OpenApiParameter(
    "customer_id",
    {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}$"},
    OpenApiParameter.PATH,
    description="The bank's own identifier.",
)
Customers = needs("customers:write", reads="customers:read")
ConsentTexts = needs("consent-texts:write", reads="consent-texts:read")
Enrollment = needs("enrollment:write", reads="enrollment:read")


class CustomerFilter(StrictFilterSet):
    """Narrow a list of customers by state, or by the beginning of the identifier."""

    customer_id = filters.CharFilter(lookup_expr="startswith", label="The beginning of the identifier.")

    class Meta:
        model = Customer
        fields = ("state", "customer_id")


@extend_schema(tags=["customers"])
class CustomerList(IdempotentCreate, generics.ListAPIView):
    """List the customers, by identifier."""

    permission_classes = (Customers,)
    serializer_class = CustomerAnswer
    filterset_class = CustomerFilter

    def get_queryset(self) -> QuerySet[Customer]:
        """Select the rows of the list."""
        return selectors.customers()

    @extend_schema(request=NewCustomer, responses={201: CustomerAnswer})
    def post(self, request: Request) -> Response:
        """Create a customer, who is PENDING."""
        data = validated(NewCustomer, request.data)
        customer = services.create_customer(**data, actor=actor_of(request))
        return Response(CustomerAnswer(customer).data, status=201)


@extend_schema(tags=["customers"], parameters=[CUSTOMER_ID])
class CustomerDetail(APIView):
    """One customer."""

    permission_classes = (needs("customers:write", reads="customers:read", deletes="customers:erase"),)

    @extend_schema(responses=CustomerAnswer)
    def get(self, request: Request, customer_id: str) -> Response:
        """Get one customer: the state, the net speech, and how much is missing to be enrolled."""
        return Response(CustomerAnswer(selectors.customer(customer_id)).data)

    @extend_schema(responses={202: ErasureAnswer})
    def delete(self, request: Request, customer_id: str) -> Response:
        """Erase the customer with all audio and voiceprints. Decisions and the audit trail stay.

        The customer and their key are gone at once; follow the erasure of the files at `/erasures/{erasure_id}`.
        """
        erasure = services.erase_customer(customer_id=customer_id, actor=actor_of(request))
        return Response(ErasureAnswer(erasure).data, status=202)


@extend_schema(tags=["consent"])
class ConsentTextList(IdempotentCreate, generics.ListAPIView):
    """List the consent texts, the latest first."""

    permission_classes = (ConsentTexts,)
    parser_classes = (JSONParser, parsers.MultiPartParser)
    serializer_class = ConsentTextAnswer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[ConsentText]:
        """Select the rows of the list."""
        return selectors.consent_texts()

    @extend_schema(request=NewConsentText, responses={201: ConsentTextAnswer})
    def post(self, request: Request) -> Response:
        """Store a text that customers are shown. It cannot change; another text needs another version."""
        text = services.store_consent_text(**validated(NewConsentText, request.data), actor=actor_of(request))
        return Response(ConsentTextAnswer(text).data, status=201)

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with the text that the first request stored."""
        if kind != "consent_text":
            return None
        return Response(ConsentTextAnswer(selectors.consent_text(identifier)).data, status=201)


@extend_schema(tags=["consent"])
class ConsentTextDetail(APIView):
    """One consent text."""

    permission_classes = (ConsentTexts,)

    @extend_schema(responses=ConsentTextAnswer)
    def get(self, request: Request, version: str) -> Response:
        """Get one consent text, to show it to a customer."""
        return Response(ConsentTextAnswer(selectors.consent_text(version)).data)


@extend_schema(tags=["consent"], parameters=[CUSTOMER_ID])
class ConsentDetail(IdempotentCreate, APIView):
    """A customer's consent."""

    permission_classes = (Customers,)

    @extend_schema(responses=ConsentProofs)
    def get(self, request: Request, customer_id: str) -> Response:
        """Export all that the customer agreed to, and the texts that were shown. Withdrawn consents are included."""
        return Response(ConsentProofs(selectors.customer(customer_id)).data)

    @extend_schema(request=NewConsent, responses={201: ConsentAnswer})
    def post(self, request: Request, customer_id: str) -> Response:
        """Record a consent. A new version of the text replaces the one before."""
        data = validated(NewConsent, request.data)
        consent = services.give_consent(customer_id=customer_id, **data, actor=actor_of(request))
        return Response(ConsentAnswer(consent).data, status=201)

    @extend_schema(
        parameters=[
            OpenApiParameter("purpose", str, enum=Consent.Purpose.values),
            OpenApiParameter("text_version", {"type": "string", "minLength": 1, "maxLength": 64}),
            OpenApiParameter("origin", {"type": "string", "minLength": 1, "maxLength": 32}),
        ],
        responses={202: ErasureAnswer},
    )
    def delete(self, request: Request, customer_id: str) -> Response:
        """Withdraw the consent and erase all audio and voiceprints; the customer is OPTED_OUT at once.

        Follow the erasure of the files at `/erasures/{erasure_id}`. The fields may come in the query or as a JSON body.
        """
        data = validated(ConsentWithdrawal, request.data or request.query_params.dict())
        data.pop("text_version", None)  # a withdrawal ends whichever version is current
        erasure = services.withdraw_consent(customer_id=customer_id, **data, actor=actor_of(request))
        return Response(ErasureAnswer(erasure).data, status=202)


@extend_schema(tags=["enrollment"], parameters=[CUSTOMER_ID])
class EnrollmentList(IdempotentCreate, generics.ListAPIView):
    """List the customer's enrollment recordings, the oldest first."""

    permission_classes = (Enrollment,)
    parser_classes = (parsers.MultiPartParser,)
    serializer_class = SampleAnswer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[AudioSample]:
        """Select the rows of the list. Raises ``CustomerNotFound``."""
        return selectors.samples(self.kwargs["customer_id"])

    @extend_schema(request={"multipart/form-data": NewSample}, responses={201: EnrollmentAnswer})
    def post(self, request: Request, customer_id: str) -> Response:
        """Add a recording. One that is not good enough is refused, with a code and its quality report.

        Where `held_for` is not empty, the recording is pending a second person's approval, and does not count
        until then.
        """
        data = validated(NewSample, request.data)
        sample = samples.enroll_sample(customer_id=customer_id, **data, actor=actor_of(request))
        return Response(EnrollmentAnswer(sample).data, status=201)

    def recall(self, kind: str, identifier: str) -> Response | None:
        """Answer with the recording that the first request stored."""
        sample = (
            selectors.samples(self.kwargs["customer_id"]).filter(pk=identifier).first() if kind == "sample" else None
        )
        return Response(EnrollmentAnswer(sample).data, status=201) if sample else None


@extend_schema(tags=["enrollment"], parameters=[CUSTOMER_ID])
class EnrollmentDetail(APIView):
    """One recording of a customer's enrollment."""

    permission_classes = (Enrollment,)

    @extend_schema(responses={200: CustomerAnswer})
    def delete(self, request: Request, customer_id: str, sample_id: UUID) -> Response:
        """Remove a recording. The state and the voiceprint follow from those that are left."""
        customer = samples.remove_sample(customer_id=customer_id, sample_id=sample_id, actor=actor_of(request))
        return Response(CustomerAnswer(customer).data)


@extend_schema(tags=["enrollment"], parameters=[CUSTOMER_ID])
class EnrollmentApproval(IdempotentCreate, APIView):
    """The second person's approval of a recording that is held."""

    permission_classes = (needs("enrollment:approve"),)

    @extend_schema(request=None, responses={200: EnrollmentAnswer})
    def post(self, request: Request, customer_id: str, sample_id: UUID) -> Response:
        """Approve a recording that is pending approval. It counts from now on."""
        validated(StrictSerializer, request.data)
        sample = samples.approve_sample(customer_id=customer_id, sample_id=sample_id, actor=actor_of(request))
        return Response(EnrollmentAnswer(sample).data)


class HeldRecordingFilter(StrictFilterSet):
    """Narrow a list of held recordings by customer or origin."""

    customer_id = filters.CharFilter("customer__customer_id", label="The customer's identifier.")

    class Meta:
        model = AudioSample
        fields = ("customer_id", "origin")


@extend_schema(tags=["enrollment"])
class HeldRecordingList(generics.ListAPIView):
    """List the recordings of all customers that are pending a second person's approval, the oldest first."""

    permission_classes = (needs("enrollment:approve"),)
    serializer_class = HeldRecordingAnswer
    filterset_class = HeldRecordingFilter

    def get_queryset(self) -> QuerySet[AudioSample]:
        """Select the rows of the list."""
        return selectors.held_samples()


class _Lock(IdempotentCreate, APIView):
    permission_classes = (needs("customers:lock"),)
    service: Any

    @extend_schema(request=Reason, responses={200: CustomerAnswer})
    def post(self, request: Request, customer_id: str) -> Response:
        reason = validated(Reason, request.data)["reason"]
        customer = type(self).service(customer_id=customer_id, reason=reason, actor=actor_of(request))
        return Response(CustomerAnswer(customer).data)


@extend_schema(
    tags=["customers"],
    parameters=[CUSTOMER_ID],
    summary="Lock a customer: no call is scored until somebody unlocks the customer.",
)
class CustomerLock(_Lock):
    """Lock a customer. Calls that claim the customer are not scored, and the caller is not told why."""

    service = staticmethod(services.lock_customer)


@extend_schema(
    tags=["customers"], parameters=[CUSTOMER_ID], summary="Unlock a customer, or end a delay: calls are scored again."
)
class CustomerUnlock(_Lock):
    """Unlock a customer. The count of refusals starts over, which ends a delay after refusals, too."""

    service = staticmethod(services.unlock_customer)
