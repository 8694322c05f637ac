"""A client of the API for Python programs. It needs httpx and msgspec, and neither Django nor the rest of this package.

    from voiceauth.client import Client, Unavailable

    with Client("https://voice.bank.example", token) as ivr:
        try:
            answer = ivr.verify("C-1001", Path("call.wav"))
        except Unavailable:
            ...  # nothing was decided: use another factor

A ``Client`` is thread-safe. Its methods return dataclasses with the fields of the OpenAPI document, whose descriptions
say what each means; fields that a later version of the service adds are ignored. A refused call raises ``Refused``.
What has no method here is reached through ``get``, ``post``, ``upload``, ``delete`` and ``pages``.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

Audio = bytes | PathLike[str] | BinaryIO  # a recording, the path of one, or an open file
Intervals = Sequence[tuple[float, float]]  # [(start, end), …] in seconds
Result = TypeVar("Result")

PAGE_SIZE = 200
FIRST_PAUSE_SECONDS = 0.5  # before a call is repeated that did not reach the service; doubled each time


@dataclass(frozen=True)
class Consent:
    """What a customer agreed to. A withdrawn consent is kept."""

    purpose: str
    text_version: str
    text_sha256: str
    origin: str
    granted_at: datetime
    withdrawn_at: datetime | None


@dataclass(frozen=True)
class ConsentText:
    """A text that customers are shown. It never changes."""

    version: str
    sha256: str
    text: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True)
class ConsentProof:
    """A consent, who recorded it, and the text that the customer agreed to, where it was stored."""

    purpose: str
    text_version: str
    text_sha256: str
    text: str | None
    origin: str
    granted_at: datetime
    granted_by: str
    withdrawn_at: datetime | None


@dataclass(frozen=True)
class ConsentProofs:
    """All that a customer ever agreed to, the latest first."""

    customer_id: str
    state: str
    consents: list[ConsentProof]


@dataclass(frozen=True)
class Customer:
    """A customer: PENDING, ENROLLING, ENROLLED, LOCKED, OPTED_OUT or EXPIRED."""

    customer_id: str
    display_name: str
    state: str
    speech_seconds: float
    remaining_seconds: float
    confirmed_calls: int
    consents: list[Consent]
    created_at: datetime
    enrolled_at: datetime | None
    last_accessed_at: datetime | None


@dataclass(frozen=True)
class Quality:
    """The format and the quality of a recording."""

    duration_seconds: float
    speech_seconds: float
    snr_db: float
    clipping_ratio: float
    container: str
    codec: str
    sample_rate: int
    channel: str
    truncated: bool


@dataclass(frozen=True)
class Enrollment:
    """An accepted recording, and how far the customer's enrollment is. A held one does not count yet."""

    sample_id: str
    created_at: datetime
    quality: Quality
    customer_id: str
    held_for: list[str]
    state: str
    speech_seconds: float
    remaining_seconds: float


@dataclass(frozen=True)
class Recording:
    """One of a customer's recordings."""

    sample_id: str
    created_at: datetime
    created_by: str
    origin: str
    duration_seconds: float
    speech_seconds: float
    snr_db: float
    clipping_ratio: float
    held_for: list[str]


@dataclass(frozen=True)
class Receipt:
    """Proof that nothing of a voice is left."""

    receipt_id: str
    erased_at: datetime


@dataclass(frozen=True)
class Erasure:
    """An erasure. There is no receipt until nothing is left."""

    erasure_id: str
    customer_id: str
    state: str
    counts: dict[str, int]
    receipt: Receipt | None


@dataclass(frozen=True)
class ScoringModel:
    """The model and the calibration that scored a call."""

    version: str
    calibration_version: str
    fingerprint: str


@dataclass(frozen=True)
class FraudReason:
    """Why a call is HIGH_RISK: KNOWN_FRAUDSTER, REPLAY or VELOCITY, with a score from 0 to 1."""

    code: str
    score: float


@dataclass(frozen=True)
class FraudRisk:
    """What screening found in a call."""

    level: str
    reasons: list[FraudReason]


@dataclass(frozen=True)
class Verification:
    """The decision on a claimed identity. Only ACCEPT and REJECT have a probability."""

    decision_id: str
    customer_id: str
    decision: str
    reasons: list[str]
    probability: float | None
    threshold: float | None
    log_likelihood_ratio: float | None
    speech_seconds: float | None
    truncated: bool
    model: ScoringModel | None
    tier: str
    fallback_required: bool
    fallback: str
    further_factor_required: bool
    fraud_risk: FraudRisk | None
    created_at: datetime

    @property
    def accepted(self) -> bool:
        """Whether the voice is the claimed customer's. ``further_factor_required`` says whether that is enough."""
        return self.decision == "ACCEPT"


@dataclass(frozen=True)
class Candidate:
    """One customer, and how the call compares with the customer's voiceprint."""

    customer_id: str
    probability: float
    log_likelihood_ratio: float
    over_threshold: bool


@dataclass(frozen=True)
class Identification:
    """Whose voice a call is: MATCH or NO_MATCH, and the candidates by rank."""

    decision_id: str
    decision: str
    reasons: list[str]
    match: str | None
    results: list[Candidate]
    left_out: list[str]
    threshold: float | None
    speech_seconds: float | None
    truncated: bool
    fallback_required: bool
    fallback: str
    further_factor_required: bool
    created_at: datetime


@dataclass(frozen=True)
class Decision:
    """A decision as a reviewer sees it."""

    decision_id: str
    kind: str
    customer_id: str
    decision: str
    reasons: list[str]
    probability: float | None
    threshold: float | None
    speech_seconds: float | None
    snr_db: float | None
    tier: str
    policy: int
    told: dict[str, Any] | None
    actor: str
    request_id: str
    created_at: datetime


@dataclass(frozen=True)
class Confirmation:
    """What became of a call that another factor confirmed: ADDED, HELD, NOT_ADDED or REVOKED."""

    decision_id: str
    method: str
    outcome: str


@dataclass(frozen=True)
class StreamTicket:
    """What lets a telephone platform stream one call."""

    stream_id: str
    ticket: str
    expires_at: datetime
    path: str


class Refused(Exception):
    """The service did not carry out a call. Nothing has changed, unless ``code`` is ``answer_lost``.

    ``code`` is stable and listed in docs/api.md, ``status`` is the HTTP status, ``message`` is for people, and ``data``
    holds details. Quote ``request_id`` to whoever runs the service. ``retry_after`` is in seconds, where a repeat may
    succeed.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 0,
        data: dict[str, Any] | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.code, self.message, self.status = code, message, status
        self.data, self.request_id, self.retry_after = data or {}, request_id, retry_after


class Unavailable(Refused):
    """The service cannot answer now (503), or cannot be reached (``code`` is ``unreachable``): use another factor."""


class Client:
    """The API, as the client that ``token`` belongs to.

    A call that is answered with ``Retry-After`` is repeated after that time, and one that did not reach the service
    after half a second, as long as the pauses end within ``patience_seconds`` of its beginning. A POST carries an
    ``Idempotency-Key``, so that nothing happens twice. ``options`` go to ``httpx.Client``: ``verify`` for a certificate
    authority of your own, ``cert``, ``proxy``.
    """

    def __init__(
        self, url: str, token: str, *, patience_seconds: float = 5.0, timeout: float = 30.0, **options: Any
    ) -> None:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "voiceauth-client"}
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", headers=headers, timeout=timeout, **options)
        self._patience_seconds = patience_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- customers and consent

    def create_customer(self, customer_id: str, *, display_name: str = "") -> Customer:
        """Create a customer, who is PENDING."""
        content = {"customer_id": customer_id, "display_name": display_name}
        return _read(self.post("/customers", content), Customer)

    def customer(self, customer_id: str) -> Customer:
        """Get one customer."""
        return _read(self.get(_path("customers", customer_id)), Customer)

    def customers(self, *, state: str = "", customer_id: str = "") -> Iterator[Customer]:
        """Yield the customers by identifier, by default all; ``customer_id`` is its beginning."""
        return (_read(row, Customer) for row in self.pages("/customers", state=state, customer_id=customer_id))

    def lock_customer(self, customer_id: str, *, reason: str) -> Customer:
        """Lock a customer: no call is scored."""
        return _read(self.post(_path("customers", customer_id, "lock"), {"reason": reason}), Customer)

    def unlock_customer(self, customer_id: str, *, reason: str) -> Customer:
        """Unlock a customer."""
        return _read(self.post(_path("customers", customer_id, "unlock"), {"reason": reason}), Customer)

    def store_consent_text(self, version: str, text: str) -> ConsentText:
        """Store a text that customers are shown. It cannot change."""
        return _read(self.post("/consent-texts", {"version": version, "text": text}), ConsentText)

    def consent_text(self, version: str) -> ConsentText:
        """Get a text, to show it to a customer."""
        return _read(self.get(_path("consent-texts", version)), ConsentText)

    def consents(self, customer_id: str) -> ConsentProofs:
        """Export all that a customer agreed to, with the texts."""
        return _read(self.get(_path("customers", customer_id, "consent")), ConsentProofs)

    def record_consent(
        self,
        customer_id: str,
        *,
        text_version: str,
        origin: str,
        text_sha256: str = "",
        purpose: str = "voice_authentication",
    ) -> Consent:
        """Record which text the customer agreed to, and where: ``origin`` is branch, phone, app, web, …

        ``text_sha256`` is that of the text that was shown; a consent to another text than the stored one is refused.
        """
        content = {"purpose": purpose, "text_version": text_version, "text_sha256": text_sha256, "origin": origin}
        return _read(self.post(_path("customers", customer_id, "consent"), content), Consent)

    def withdraw_consent(self, customer_id: str, *, origin: str = "") -> Erasure:
        """Withdraw the consent and erase the voice; the customer stays, OPTED_OUT."""
        return _read(self.delete(_path("customers", customer_id, "consent"), origin=origin), Erasure)

    def erase_customer(self, customer_id: str) -> Erasure:
        """Erase a customer."""
        return _read(self.delete(_path("customers", customer_id)), Erasure)

    def erasure(self, erasure_id: str) -> Erasure:
        """Get how far an erasure is."""
        return _read(self.get(_path("erasures", erasure_id)), Erasure)

    # --- enrollment

    def enroll(
        self,
        customer_id: str,
        audio: Audio,
        *,
        format: str = "",
        origin: str = "",
        channel: str = "",
        redact: Intervals = (),
    ) -> Enrollment:
        """Enroll a recording. ``format`` names samples without a header: mulaw, alaw, s16le, …"""
        fields = {"format": format, "origin": origin, "channel": channel, "redact": redact}
        return _read(self.upload(_path("customers", customer_id, "enrollments"), audio, **fields), Enrollment)

    def recordings(self, customer_id: str) -> Iterator[Recording]:
        """Yield the customer's recordings, the oldest first."""
        return (_read(row, Recording) for row in self.pages(_path("customers", customer_id, "enrollments")))

    def approve_recording(self, customer_id: str, sample_id: str) -> Enrollment:
        """Approve a recording that is held."""
        return _read(self.post(_path("customers", customer_id, "enrollments", sample_id, "approve")), Enrollment)

    def remove_recording(self, customer_id: str, sample_id: str) -> Customer:
        """Remove a recording from the voiceprint, and delete it."""
        return _read(self.delete(_path("customers", customer_id, "enrollments", sample_id)), Customer)

    # --- calls

    def verify(
        self,
        customer_id: str,
        audio: Audio,
        *,
        tier: str = "",
        caller: str = "",
        format: str = "",
        channel: str = "",
        redact: Intervals = (),
    ) -> Verification:
        """Decide whether a call is the claimed customer's voice, for a transaction of ``tier``."""
        fields = {"customer_id": customer_id, "tier": tier, "caller": caller, "format": format, "channel": channel}
        return _read(self.upload("/verify", audio, **fields, redact=redact), Verification)

    def identify(
        self,
        audio: Audio,
        *,
        candidates: Sequence[str] = (),
        max_results: int = 5,
        format: str = "",
        channel: str = "",
        redact: Intervals = (),
    ) -> Identification:
        """Find whose voice a call is, among ``candidates`` or all enrolled customers."""
        fields = {"candidates": candidates, "max_results": max_results, "format": format, "channel": channel}
        return _read(self.upload("/identify", audio, **fields, redact=redact), Identification)

    def confirm(self, decision_id: str, *, method: str) -> Confirmation:
        """State that another factor has confirmed the caller, so that the call may join the voiceprint."""
        return _read(self.post(_path("decisions", decision_id, "confirmation"), {"method": method}), Confirmation)

    def stream_ticket(
        self, customer_id: str, *, tier: str = "", caller: str = "", follow_seconds: float = 0
    ) -> StreamTicket:
        """Get a ticket, with which a telephone platform streams one call."""
        content = {"customer_id": customer_id, "tier": tier, "caller": caller, "follow_seconds": follow_seconds}
        return _read(self.post("/streams", content), StreamTicket)

    def decision(self, decision_id: str) -> Decision:
        """Get one decision."""
        return _read(self.get(_path("decisions", decision_id)), Decision)

    def decisions(
        self,
        *,
        customer_id: str = "",
        decision: str = "",
        kind: str = "",
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[Decision]:
        """Yield the decisions, the latest first."""
        given = {"customer_id": customer_id, "decision": decision, "kind": kind}
        times = {"created_after": created_after, "created_before": created_before}
        given |= {name: time.isoformat() for name, time in times.items() if time is not None}
        return (_read(row, Decision) for row in self.pages("/decisions", **given))

    # --- any other call

    def get(self, path: str, **query: Any) -> Any:
        """Get ``path``, below ``/api/v1``. Empty parameters are left out, here and below."""
        return self._call("GET", path, params=_given(query))

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield every row of a list."""
        following = {"page_size": PAGE_SIZE, **_given(query)}
        while True:
            answer = self.get(path, **following)
            yield from answer["results"]
            if not answer["next"]:
                return
            following = dict(httpx.URL(answer["next"]).params)

    def post(self, path: str, content: dict[str, Any] | None = None) -> Any:
        """Post ``content`` as JSON."""
        return self._call("POST", path, json=content or {})

    def upload(self, path: str, audio: Audio, **fields: Any) -> Any:
        """Post a recording and ``fields`` as a form."""
        data = _given(fields)
        if "redact" in data:
            data["redact"] = msgspec.json.encode(data["redact"]).decode()
        return self._call("POST", path, data=data, files={"audio": ("audio", _bytes_of(audio))})

    def delete(self, path: str, **query: Any) -> Any:
        """Delete ``path``."""
        return self._call("DELETE", path, params=_given(query))

    def _call(self, method: str, path: str, **content: Any) -> Any:
        if method == "POST":
            content["headers"] = {"Idempotency-Key": str(uuid.uuid4())}
        deadline, pause = time.monotonic() + self._patience_seconds, FIRST_PAUSE_SECONDS
        while True:
            try:
                response = self._http.request(method, path, **content)
            except httpx.TransportError as error:
                # Whether a DELETE was carried out is not known: its repeat could find nothing to delete.
                again = None if method == "DELETE" else pause
                failure: Refused = Unavailable("unreachable", f"{type(error).__name__}: {error}", retry_after=again)
                pause *= 2
            else:
                if response.is_success:
                    return response.json() if response.content else None
                failure = _failure(response)
            if failure.retry_after is None or time.monotonic() + failure.retry_after > deadline:
                raise failure
            time.sleep(failure.retry_after)


def _failure(response: httpx.Response) -> Refused:
    """Return the error that the service, or something between it and us, has answered with."""
    wait = response.headers.get("Retry-After", "")
    try:
        error = response.json()["error"]
        code, message, data, request_id = error["code"], error["message"], error["data"], error["request_id"]
    except (ValueError, LookupError, TypeError):
        code, message, data, request_id = f"http_{response.status_code}", response.reason_phrase, {}, ""
    kind = Unavailable if response.status_code == 503 else Refused
    retry_after = float(wait) if wait.isdigit() else None
    return kind(code, message, status=response.status_code, data=data, request_id=request_id, retry_after=retry_after)


def _path(*parts: str) -> str:
    """Join the parts of a path; a slash within an identifier stays within its part."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _read(content: Any, kind: type[Result]) -> Result:
    return msgspec.convert(content, kind)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value not in ("", (), [])}


def _bytes_of(audio: Audio) -> bytes:
    if isinstance(audio, bytes):
        return audio
    return Path(audio).read_bytes() if isinstance(audio, PathLike) else audio.read()
