"""Failures of enrollment that callers may see."""

from voiceauth.errors import Conflict, DomainError, NotFound


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


class DuplicateSample(Conflict):
    code = "duplicate_sample"
    message = "The customer was enrolled with this very recording already."


class ModelSwitched(DomainError):
    """The model in service changed while the recording was analysed, twice."""

    code = "model_switched"
    status = 503
    message = "The scoring model is being replaced. Try again shortly."
