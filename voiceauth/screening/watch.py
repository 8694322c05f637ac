"""Screening a voice: against the fraudsters of all watchlists, and against the calls of the last hours.

Worker-side only. Both galleries stay in the worker's memory and follow the database (``mltraining.gallery``).
"""

from math import log
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from mltraining import gallery
from mltraining.gallery import Entry
from mltraining.messages import Nearest
from mltraining.recordings import Voice
from voiceauth.screening import keys, velocity
from voiceauth.screening.messages import Screening
from voiceauth.screening.models import FraudsterVoiceprint, RecentVoice
from voiceauth.screening.risk import KNOWN_FRAUDSTER, Hit

MAX_HITS = 5  # fraudsters that one call is said to sound like
MAX_CALLS = 200  # of one voice that velocity looks at


class Watched(gallery.Gallery):
    """The fraudsters of all watchlists, named by their id."""

    OWNER = "fraudster_id"

    def rows(self) -> "QuerySet[FraudsterVoiceprint]":
        """Select the fraudsters' voiceprints."""
        rows = FraudsterVoiceprint.objects.filter(model_fingerprint=self.model_fingerprint)
        return rows.select_related("fraudster")

    def entry(self, row: FraudsterVoiceprint) -> Entry:
        """Unseal one fraudster's voiceprint."""
        vector = keys.unseal_voiceprint(row.fraudster, self.model_fingerprint, row.content)
        return Entry(row.fraudster_id, str(row.fraudster_id), row.revision, vector, row.fraudster.speech_seconds)


class Recent(gallery.Gallery):
    """The calls of the last hours, named by the customer whom they claimed."""

    OWNER = "id"

    def rows(self) -> "QuerySet[RecentVoice]":
        """Select the recent calls' voices."""
        return RecentVoice.objects.filter(model_fingerprint=self.model_fingerprint)

    def entry(self, row: RecentVoice) -> Entry:
        """Unseal one call's voice."""
        return Entry(row.pk, row.customer_id, row.revision, keys.unseal_recent(row), row.speech_seconds)


watched, recent = gallery.Current(Watched), gallery.Current(Recent)


def screen(voice: Voice, *, customer_id: str | None) -> Screening:
    """Look for what is suspicious about a voice that claims to be ``customer_id``, or claims nobody (``None``).

    Nothing is compared, and the voice is not to be remembered, where the recording has too little speech.
    """
    speech_seconds = float(voice.analysis.quality.speech_seconds)
    if speech_seconds < settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS:
        return Screening()
    hits = (*known(voice, fresh=False), *claims(voice, customer_id, fresh=False))
    if hits:  # seldom; so nobody is named who was erased in the last half second
        hits = (*known(voice), *claims(voice, customer_id))
    return Screening(hits=hits, voice=voice.embedding(), speech_seconds=speech_seconds)


def known(voice: Voice, *, fresh: bool = True) -> list[Hit]:
    """Return a hit for each fraudster who sounds like the voice, the likeliest first, at most ``MAX_HITS``."""
    return [
        Hit(
            reason=KNOWN_FRAUDSTER,
            score=each.probability,
            log_likelihood_ratio=each.log_likelihood_ratio,
            fraudster_id=each.name,
        )
        for each in _similar(watched, voice, settings.VOICEAUTH_WATCHLIST_THRESHOLD, MAX_HITS, fresh)
    ]


def claims(voice: Voice, customer_id: str | None, *, fresh: bool = True) -> list[Hit]:
    """Return a hit where the voice claimed many customers in the last hours, see ``velocity``."""
    if not settings.VOICEAUTH_VELOCITY_CUSTOMERS:
        return []
    calls = _similar(recent, voice, settings.VOICEAUTH_VELOCITY_THRESHOLD, MAX_CALLS, fresh)
    return velocity.hits(calls, customer_id)


def _similar(voices: "gallery.Current[Any]", voice: Voice, threshold: float, limit: int, fresh: bool) -> list[Nearest]:
    """Find the voices that are the same as the call's.

    The threshold grows with the length of the list (Bonferroni), so that a stranger sounds like somebody on a list a
    hundred times as long no more often.
    """
    gathered = voices.of_model(voice.model)
    found = gathered.nearest(voice.compare, limit=limit, fresh=fresh)
    least = threshold + log(max(1, len(gathered)))
    return [each for each in found if each.log_likelihood_ratio >= least]
