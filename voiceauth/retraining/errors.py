"""Failures of retraining and promotion that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class PromotionInProgress(Conflict):
    """One promotion runs at a time."""

    code = "promotion_in_progress"
    message = "Another model is being promoted. Wait until that has ended."


class NotEnoughEvidence(Conflict):
    """The calibration's trials do not support the policy's rate. Carries ``evidence``, with what is ``missing``."""

    code = "not_enough_evidence"
    message = (
        "The model has not proved the policy's false-accept rate on speakers who did not train it. "
        "Calibrate it on more trials, or ask for a forced promotion, which a second person must approve."
    )


class CannotCalibrate(Conflict):
    """No calibration can be fitted on the trials of a source."""

    code = "cannot_calibrate"
    message = "No calibration can be fitted on these trials."


class NotFitted(Conflict):
    """A calibration is put into force before it is fitted."""

    code = "not_fitted"
    message = "This calibration is not fitted: its job has not ended, or has failed."


class ChallengerNotBetter(Conflict):
    """On the frozen set the model does not beat the one in service, or is worse somewhere. Carries ``reasons``."""

    code = "challenger_not_better"
    message = "The model is not better than the one in service on the frozen trials."


class FrozenSetUnusable(Conflict):
    """VOICEAUTH_FROZEN_SET_DIR holds no trials that can be scored."""

    code = "frozen_set_unusable"
    message = "The frozen trials cannot be scored."


class RunNotFound(NotFound):
    """No training run has this id."""

    code = "training_run_not_found"
    message = "There is no such training run."


class RecalibrationNotFound(NotFound):
    """No recalibration has this id."""

    code = "recalibration_not_found"
    message = "There is no such recalibration."


class InvalidSetting(DomainError):
    """A training setting is unknown or has a wrong value. The message names it."""

    code = "invalid_setting"
    status = 400
    message = "A training setting is unknown or has a wrong value."


class SettingNotAllowed(DomainError):
    """A training setting belongs to the server: paths, data, devices, logging."""

    code = "setting_not_allowed"
    status = 400
    message = "This training setting can be set on the server only."
