"""Failures of verification that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class DecisionNotFound(NotFound):
    """No decision has this id."""

    code = "decision_not_found"
    message = "There is no such decision."


class NoActiveModel(DomainError):
    """No model was ever promoted, so nothing can be scored."""

    code = "no_active_model"
    status = 503
    message = "No scoring model is in service. Use another factor."


class TierNotCalibrated(Conflict):
    """The trials of the calibration in force do not support the tier's rate. Carries ``target_far`` and ``missing``."""

    code = "tier_not_calibrated"
    message = "The calibration in force cannot promise this tier's false-accept rate. Use another factor."


class NoAudio(NotFound):
    """The recording of a call, a customer or a fraudster is not, or no longer, kept."""

    code = "no_audio"
    message = "No audio is kept: it expired, or was erased with its customer."
