"""Failures of enrollment that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class CustomerNotFound(NotFound):
    code = "customer_not_found"
    message = "There is no such customer."


class CustomerExists(Conflict):
    code = "customer_exists"
    message = "There is a customer of this identifier already."


class SampleNotFound(NotFound):
    code = "sample_not_found"
    message = "The customer has no such sample."


class ConsentExists(Conflict):
    code = "consent_exists"
    message = "The customer has agreed to this version of the text already."


class ConsentRequired(Conflict):
    code = "consent_required"
    message = "No audio is stored without the customer's recorded consent."


class OptedOut(Conflict):
    code = "opted_out"
    message = "The customer has withdrawn consent. A new consent allows enrollment again."


class CustomerLocked(Conflict):
    code = "customer_locked"
    message = "The customer is locked. A reviewer decides how to go on."


class CustomerNotLocked(Conflict):
    code = "customer_not_locked"
    message = "The customer is not locked."


class TransitionRefused(Conflict):
    """Carries ``state`` and ``to``."""

    code = "transition_refused"
    message = "The customer's state does not allow this."


class StateChanged(Conflict):
    code = "state_changed"
    message = "The customer was changed by somebody else at the same moment. Read it again."


class SampleRefused(DomainError):
    """The recording is sound but not good enough to enroll. Carries its quality ``report`` and the ``limit``."""

    code = "sample_refused"
    status = 422
    message = "The recording is not good enough to enroll."


class NotEnoughSpeech(SampleRefused):
    code = "not_enough_speech"
    message = "The recording holds too little speech."


class TooNoisy(SampleRefused):
    code = "too_noisy"
    message = "The recording is too noisy."


class Clipped(SampleRefused):
    code = "clipped"
    message = "The recording is overdriven."


class RecordingTooLong(SampleRefused):
    code = "recording_too_long"
    message = "The recording is longer than the policy allows for its origin."


class MoreThanOneSpeaker(SampleRefused):
    """Carries ``separation``, of the two most different groups of parts, and its ``limit``."""

    code = "more_than_one_speaker"
    message = "More than one person speaks in the recording."


class AnotherVoice(SampleRefused):
    """Carries ``llr``, of the recording and the voice enrolled so far, and its ``limit``."""

    code = "another_voice"
    message = "The recording does not sound like the customer's earlier ones."


class Replayed(SampleRefused):
    code = "replayed_audio"
    message = "The recording was heard before."


class SampleNotHeld(Conflict):
    code = "sample_not_held"
    message = "The sample waits for nobody's approval."


class DuplicateSample(Conflict):
    code = "duplicate_sample"
    message = "The customer was enrolled with this very recording already."
