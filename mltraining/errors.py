"""Failures of models and of recordings that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class InvalidAudio(DomainError):
    """The recording cannot be used. Each cause has a subclass, with the code of the speech library."""

    code = "invalid_audio"
    status = 422
    message = "The recording cannot be used."


class EmptyAudio(InvalidAudio):
    """The upload has no bytes, or no samples."""

    code = "empty_audio"
    message = "The upload holds no audio. Send a recording of at least 0.1 seconds."


class NotAudio(InvalidAudio):
    """Carries ``formats``, the containers that are read, and ``headerless``, what ``format`` may name."""

    """No decoder recognizes the content."""

    code = "not_audio"
    status = 415
    message = "The upload is not audio in a format that is read here. docs/api.md lists the formats."


class TruncatedAudio(InvalidAudio):
    """The decoder stops before the end that the container declares."""

    code = "truncated_audio"
    message = "The recording is damaged, or audio is missing at its end. Send it again."


class AudioTooLong(InvalidAudio):
    """The limit is ``VOICEAUTH_MAX_AUDIO_SECONDS``."""

    code = "audio_too_long"
    status = 413
    message = "The recording is too long."


class AudioTooShort(InvalidAudio):
    """The recording is shorter than 0.1 seconds."""

    code = "audio_too_short"
    message = "The recording is too short."


class SilentAudio(InvalidAudio):
    """All samples are zero, or nearly."""

    code = "silent_audio"
    message = "The recording is silent. Check the microphone, or the channel."


class InvalidSamples(InvalidAudio):
    """Floating-point samples may be infinite or not a number."""

    code = "invalid_samples"
    message = "The recording holds samples that are not numbers."


class AudioBomb(InvalidAudio):
    """A small file that decodes to very much, or declares very much."""

    code = "audio_bomb"
    status = 413
    message = "The file would cost far more time or memory than a recording of its size does."


class UndecodableAudio(InvalidAudio):
    """The decoder crashed on the recording, in a process of its own. The log of the scoring worker has an alarm."""

    code = "undecodable_audio"
    message = "The decoder failed on the recording. Do not send it again; record it in another format."


class ChannelRequired(InvalidAudio):
    """Carries ``channels``: of each its number from 0, its ``speech_seconds`` and its ``level_dbfs``."""

    code = "channel_required"
    message = (
        "The recording has several channels that differ. Say which one to use with `channel`: left, right, a number "
        "from 0, or mono to mix them."
    )


class NoSuchChannel(InvalidAudio):
    """``channel`` names a number that the recording does not have."""

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
        UndecodableAudio,
        ChannelRequired,
        NoSuchChannel,
    )
}


class ModelUnavailable(DomainError):
    """The model's files are missing, cannot be fetched, are damaged, or are not what the registry says."""

    code = "model_unavailable"
    status = 503
    message = "The scoring model cannot be loaded. Use another factor."


class ModelNotFound(NotFound):
    """No registered model has this version."""

    code = "model_not_found"
    message = "There is no such model version."


class ModelUnchanged(Conflict):
    """Training gave a model that is registered already, bit by bit."""

    code = "model_unchanged"
    message = "The run reproduced a registered model exactly."


class ModelSwitched(DomainError):
    """The model in service changed while the recording was analysed, twice. Carries ``retry_after_seconds``."""

    code = "model_switched"
    status = 503
    message = "The scoring model is being replaced. Try again shortly."
