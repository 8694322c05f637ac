"""Failures of verification that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class DecisionNotFound(NotFound):
    """No decision has this id."""

    code = "decision_not_found"
    message = "There is no such decision."


class MoreSpeechNeeded(DomainError):
    """A call that still goes on holds too little speech to be answered. Carries ``speech_seconds``: what it holds."""

    code = "more_speech_needed"
    status = 422
    message = "The call goes on, and is answered once it holds enough speech."


class NoActiveModel(DomainError):
    """No model was ever promoted, so nothing can be scored."""

    code = "no_active_model"
    status = 503
    message = "No scoring model is in service. Use another factor."


class TierNotCalibrated(Conflict):
    """The trials of the calibration in force do not support the tier's rate. Carries ``target_far`` and ``missing``."""

    code = "tier_not_calibrated"
    message = "The calibration in force cannot promise this tier's false-accept rate. Use another factor."


class MethodNotAccepted(Conflict):
    """The policy does not name the method. Carries ``method`` and ``accepted``."""

    code = "method_not_accepted"
    message = "The policy does not accept {method} for this. `data.accepted` lists the methods that it accepts."


class NotConfirmable(Conflict):
    """The call was not scored, is an identification, or was flagged. Carries ``decision`` and ``reasons``."""

    code = "not_confirmable"
    message = "Only an ACCEPT or a REJECT without a suspicion can be confirmed. `data` says what this one is."


class NoAudio(NotFound):
    """The recording of a call, a customer or a fraudster is not, or no longer, kept."""

    code = "no_audio"
    message = "No audio is kept: it expired, or was erased with its customer."
