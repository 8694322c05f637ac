"""Failures of the machine-learning side that callers may see."""

from voiceauth.errors import Conflict, DomainError, NotFound


class InvalidAudio(DomainError):
    """The recording itself cannot be used. One subclass a cause; ``code`` is that of ``speech.audio.AudioError``."""

    code = "invalid_audio"
    status = 422
    message = "The audio cannot be used."


class EmptyAudio(InvalidAudio):
    code = "empty_audio"
    message = "The upload holds no audio."


class NotAudio(InvalidAudio):
    code = "not_audio"
    status = 415
    message = "The upload is not audio in a format that is understood."


class TruncatedAudio(InvalidAudio):
    code = "truncated_audio"
    message = "The recording is cut off or damaged."


class AudioTooLong(InvalidAudio):
    code = "audio_too_long"
    status = 413
    message = "The recording is too long."


class AudioTooShort(InvalidAudio):
    code = "audio_too_short"
    message = "The recording is too short."


class SilentAudio(InvalidAudio):
    code = "silent_audio"
    message = "The recording is silent."


class InvalidSamples(InvalidAudio):
    code = "invalid_samples"
    message = "The recording holds samples that are not finite numbers."


class AudioBomb(InvalidAudio):
    code = "audio_bomb"
    status = 413
    message = "The recording unpacks to far more than it may."


INVALID_AUDIO: dict[str, type[InvalidAudio]] = {
    failure.code: failure
    for failure in (
        EmptyAudio,
        NotAudio,
        TruncatedAudio,
        AudioTooLong,
        AudioTooShort,
        SilentAudio,
        InvalidSamples,
        AudioBomb,
    )
}


class ModelUnavailable(DomainError):
    """The model's folder is missing, damaged, or holds another model than the registry says."""

    code = "model_unavailable"
    status = 503
    message = "The scoring model cannot be loaded. Use another factor."


class ModelNotFound(NotFound):
    code = "model_not_found"
    message = "There is no such model version."


class ModelUnchanged(Conflict):
    """Training gave, bit by bit, a model that is registered already."""

    code = "model_unchanged"
    message = "The run reproduced a registered model exactly."


class PromotionInProgress(Conflict):
    code = "promotion_in_progress"
    message = "Another model is being promoted. Wait until it is done."


class ChallengerNotBetter(Conflict):
    """On the frozen set the model does not beat the one in service, or is worse somewhere. ``reasons`` say where."""

    code = "challenger_not_better"
    message = "The model is not better than the one in service on the frozen trials."


class FrozenSetUnusable(Conflict):
    """VOICEAUTH_FROZEN_SET_DIR holds no trials that can be scored."""

    code = "frozen_set_unusable"
    message = "The frozen trials cannot be scored."


class RunNotFound(NotFound):
    code = "training_run_not_found"
    message = "There is no such training run."


class RunFinished(Conflict):
    code = "training_run_finished"
    message = "The training run has ended and cannot be cancelled."


class InvalidSetting(DomainError):
    """A training setting is unknown or has a wrong value. The message names it."""

    code = "invalid_setting"
    status = 400
    message = "A training setting is unknown or has a wrong value."


class SettingNotAllowed(DomainError):
    """A training setting belongs to the server: paths, data, devices, logging."""

    code = "setting_not_allowed"
    status = 400
    message = "This training setting is the server's own."


class TrainingFailed(Exception):
    """An expected end of a training run without a model; ``code`` becomes the run's ``error_code``."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
