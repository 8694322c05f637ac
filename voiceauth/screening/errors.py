"""Failures of screening that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class WatchlistNotFound(NotFound):
    code = "watchlist_not_found"
    message = "There is no such watchlist."


class WatchlistExists(Conflict):
    code = "watchlist_exists"
    message = "A watchlist of this name exists."


class DefaultWatchlist(Conflict):
    code = "default_watchlist"
    message = "The default watchlist cannot be deleted."


class FraudsterNotFound(NotFound):
    code = "fraudster_not_found"
    message = "There is no such fraudster."


class DuplicateFraudster(Conflict):
    """Carries ``fraudster_id`` and ``score``, the probability that it is the same voice."""

    code = "duplicate_fraudster"
    message = "This voice is known. Put the known fraudster on the watchlist, or say that it is another person."


class NotEnoughFraudsterSpeech(DomainError):
    """Carries ``speech_seconds`` and the ``limit``."""

    code = "not_enough_speech"
    status = 422
    message = "The recording has too little speech to know a voice again."


class ModelChanged(DomainError):
    code = "model_switched"
    status = 503
    message = "Another model was put into service at this moment. Try again."


class CaseNotFound(NotFound):
    code = "case_not_found"
    message = "There is no such case."


class CaseClosed(Conflict):
    """Carries the ``resolution``."""

    code = "case_closed"
    message = "The case is closed, and stays so."
