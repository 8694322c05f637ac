"""Failures of the machine-learning side that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


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


class ChannelRequired(InvalidAudio):
    """Carries ``channels``: of each its number from 0, its ``speech_seconds`` and its ``level_dbfs``."""

    code = "channel_required"
    message = (
        "The recording has several channels that differ. Say which one to use with `channel`: left, right, a number "
        "from 0, or mono to mix them."
    )


class NoSuchChannel(InvalidAudio):
    code = "no_such_channel"
    message = "The recording does not have the channel that `channel` names."


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
        ChannelRequired,
        NoSuchChannel,
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
