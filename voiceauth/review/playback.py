"""Listening to stored audio: unsealed for one answer, and recorded in the transaction that reads it.

The bytes are those that are stored, where browsers play them: WAV (PCM, A-law, mu-law), FLAC, Ogg, WebM, MP3, AAC and
MP4. A scoring worker decodes the others, such as AMR, because web processes do not decode audio.
"""

import re
from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from enrollment.keys import unseal_audio, unseal_call
from enrollment.models import SealedAudio
from mltraining import worker_client
from mltraining.messages import DECODE, DecodeRecording, Recording
from voiceauth.platform import audio_types
from voiceauth.platform import storage as audio_store
from voiceauth.platform.api import actor_of
from voiceauth.platform.api.exceptions import note
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DomainError
from voiceauth.screening.models import Fraudster
from voiceauth.screening.selectors import fraudster_audio
from voiceauth.verification.errors import NoAudio
from voiceauth.verification.models import CallAudio


@transaction.atomic
def play_call(*, decision_id: UUID, actor: Actor) -> bytes:
    """Return the audio that a decision rested on. Raises ``NoAudio``."""
    kept = CallAudio.objects.select_related("customer", "decision").filter(decision_id=decision_id).first()
    if kept is None:
        raise NoAudio()
    audio = unseal_call(kept.customer, decision_id, audio_store.read(kept.content))
    record(
        action="decision.audio_played",
        actor=actor,
        customer_id=kept.decision.customer_id,
        target=f"decision:{decision_id}",
        model_version=kept.decision.model_version,
    )
    return audio


@transaction.atomic
def play_sample(*, sample_id: UUID, actor: Actor) -> bytes:
    """Return an enrollment recording. Raises ``NoAudio``."""
    kept = SealedAudio.objects.select_related("sample__customer").filter(sample_id=sample_id).first()
    if kept is None:
        raise NoAudio()
    audio = unseal_audio(kept.sample.customer, sample_id, audio_store.read(kept.content))
    record(
        action="enrollment.audio_played",
        actor=actor,
        customer_id=kept.sample.customer.customer_id,
        target=f"sample:{sample_id}",
    )
    return audio


@transaction.atomic
def play_fraudster(*, fraudster_id: UUID, actor: Actor) -> bytes:
    """Return a fraudster's recording. Raises ``NoAudio``."""
    fraudster = Fraudster.objects.select_related("audio").filter(pk=fraudster_id, audio__isnull=False).first()
    if fraudster is None:
        raise NoAudio()
    audio = fraudster_audio(fraudster)
    record(action="fraudster.audio_played", actor=actor, target=f"fraudster:{fraudster_id}")
    return audio


PLAYED_WAV = {1, 3, 6, 7, 0xFFFE}  # format tags: PCM, float, A-law, mu-law, extensible
NOT_PLAYED = (b"alac", b"samr", b"sawb")  # codecs of MP4
WAV = ("audio/wav", "wav")


RANGE = re.compile(r"bytes=([0-9]{0,12})-([0-9]{0,12})")  # RFC 9110; of several ranges none is taken


def answer(request: HttpRequest, play: Callable[[Actor], bytes], name: str) -> HttpResponse:
    """Answer with the audio that ``play`` unseals, or a range of it: typed by its first bytes, never cached.

    Every answer is recorded, that with a later range as well.
    """
    if not request.user.has_perm("review.play_audio"):
        raise PermissionDenied
    try:
        audio = play(actor_of(request))
        found = _played(audio)
        if found is None:
            question = DecodeRecording(Recording(audio=audio))
            seconds = settings.VOICEAUTH_SCORING_DEADLINE_SECONDS
            audio, found = worker_client.call(DECODE, question, deadline_seconds=seconds).wav, WAV
    except DomainError as error:
        failure = note(error, request)  # the middleware records the refusal
        return HttpResponse(failure.message, status=failure.status, content_type="text/plain")
    kind, suffix = found
    response = _ranged(request.headers.get("Range", ""), audio, kind)
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = f'inline; filename="{name}.{suffix}"'
    response["Cache-Control"] = "no-store"
    return response


def _played(audio: bytes) -> tuple[str, str] | None:
    """Return the content type and the suffix of a recording that browsers play."""
    found = audio_types.recognise(audio)
    if found == WAV and int.from_bytes(audio[20:22], "little") not in PLAYED_WAV:
        return None
    if found is not None and found[0] == "audio/mp4" and any(codec in audio for codec in NOT_PLAYED):
        return None
    return found


def _ranged(asked: str, audio: bytes, kind: str) -> HttpResponse:
    """Answer with the one range that is asked for, so that a player can seek; with everything where it names none."""
    found = RANGE.fullmatch(asked)
    if found is None or found.groups() == ("", ""):
        return HttpResponse(audio, content_type=kind)
    first, last = found.groups()
    start = int(first) if first else max(0, len(audio) - int(last))
    end = min(int(last), len(audio) - 1) if first and last else len(audio) - 1
    if start > end:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{len(audio)}"})
    response = HttpResponse(audio[start : end + 1], status=206, content_type=kind)
    response["Content-Range"] = f"bytes {start}-{end}/{len(audio)}"
    return response
