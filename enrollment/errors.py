"""Failures of enrollment that callers may see. Each says what is wrong, and what to do about it."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class CustomerNotFound(NotFound):
    """No customer has this identifier, or the customer was erased."""

    code = "customer_not_found"
    message = "There is no customer with this identifier. Create the customer first."


class CustomerExists(Conflict):
    """A customer has this identifier already; one who has opted out counts too."""

    code = "customer_exists"
    message = "A customer with this identifier exists already."


class SampleNotFound(NotFound):
    """The customer has no enrollment recording of this number."""

    code = "sample_not_found"
    message = "The customer has no such recording. List the enrollments to see which there are."


class ConsentTextNotFound(NotFound):
    """Carries ``text_version``."""

    code = "consent_text_not_found"
    message = "There is no consent text {text_version}. GET /consent-texts lists those that are stored."


class ConsentTextExists(Conflict):
    """A stored text never changes. Carries ``text_version``."""

    code = "consent_text_exists"
    message = "The consent text {text_version} is stored already and cannot change. Store the text as a new version."


class ConsentTextDiffers(Conflict):
    """Carries ``text_version`` and the ``sha256`` of what is stored."""

    code = "consent_text_differs"
    message = (
        "The customer was shown another text than the one stored as {text_version}, whose SHA-256 is {sha256}. "
        "Nothing was recorded: show the stored text."
    )


class ConsentExists(Conflict):
    """Carries ``text_version``."""

    code = "consent_exists"
    message = "The customer has agreed to this version of the text already. Nothing needs to be done."


class ConsentRequired(Conflict):
    """Nothing is stored of a customer without a consent (BIPA §15(b), GDPR Art. 9)."""

    code = "consent_required"
    message = "The customer has not consented. Record the consent before you send a recording."


class OptedOut(Conflict):
    """The consent was withdrawn."""

    code = "opted_out"
    message = "The customer has withdrawn the consent. Record a new consent before you send a recording."


class CustomerLocked(Conflict):
    """The customer was refused too often, or was locked by a person."""

    code = "customer_locked"
    message = "The customer is locked. A reviewer or an administrator can unlock them."


class CustomerNotLocked(Conflict):
    """Carries ``state``."""

    code = "customer_not_locked"
    message = "The customer is {state}, and no call was refused since the last acceptance: there is nothing to unlock."


class TransitionRefused(Conflict):
    """Carries ``state`` and ``to``. ``lifecycle`` says which moves there are."""

    code = "transition_refused"
    message = "A customer who is {state} cannot become {to}."


class StateChanged(Conflict):
    """Of two changes at the same moment, this one came second."""

    code = "state_changed"
    message = "Somebody else changed the customer at the same moment. Read the customer again, and repeat if need be."


class SampleRefused(DomainError):
    """The recording can be decoded but is not good enough to enroll. Nothing of it is stored.

    Carries its quality ``report`` and the ``limit`` that it missed.
    """

    code = "sample_refused"
    status = 422
    message = "The recording is not good enough to enroll."


class NotEnoughSpeech(SampleRefused):
    """Pauses do not count, and the limit is the policy's for one recording."""

    code = "not_enough_speech"
    message = (
        "The recording holds {report[speech_seconds]:.3g} s of speech; at least {limit:.3g} s are needed. "
        "Record a longer one."
    )


class TooNoisy(SampleRefused):
    """The signal-to-noise ratio is under the policy's limit."""

    code = "too_noisy"
    message = (
        "The signal-to-noise ratio is {report[snr_db]:.3g} dB; at least {limit:.3g} dB are needed. "
        "Record in a quieter place, or closer to the microphone."
    )


class Clipped(SampleRefused):
    """Too many samples of the speech are clipped."""

    code = "clipped"
    message = (
        "{report[clipping_ratio]:.2%} of the recording is clipped; at most {limit:.2%} may be. "
        "Lower the level, and record again."
    )


class RecordingTooLong(SampleRefused):
    """The policy sets the limit for each origin."""

    code = "recording_too_long"
    message = (
        "The recording is {report[duration_seconds]:.4g} s long; at most {limit:.4g} s are accepted from this origin. "
        "Send a part of it."
    )


class MoreThanOneSpeaker(SampleRefused):
    """Carries ``llr``, of one voice in the two parts that are least alike, and its ``limit``."""

    code = "more_than_one_speaker"
    message = "More than one person speaks in the recording. Record the customer alone."


class AnotherVoice(SampleRefused):
    """Carries ``llr``, of the recording and the voice enrolled so far, and its ``limit``."""

    code = "another_voice"
    message = (
        "The recording does not sound like the customer's earlier ones. "
        "If those are of another person, remove them, and enroll the customer anew."
    )


class Replayed(SampleRefused):
    """Carries the ``hits`` that say which earlier recording it is."""

    code = "replayed_audio"
    message = "This recording was heard before. Record the customer anew."


class AlreadyConfirmed(Conflict):
    """The call was added before; one that was revoked since cannot be added again."""

    code = "already_confirmed"
    message = "This call was confirmed already. Nothing needs to be done."


class ConfirmationNotFound(NotFound):
    """The call is no part of a voiceprint, or no longer."""

    code = "confirmation_not_found"
    message = "No voiceprint holds this call."


class SampleNotHeld(Conflict):
    """Only a recording that is held for a second person can be approved."""

    code = "sample_not_held"
    message = "This recording is not pending approval."


class ReviewRequired(DomainError):
    """Someone who may not read review cases cannot know what to look for."""

    code = "review_required"
    status = 403
    message = "This recording waits for a review. Only a reviewer or an administrator can approve it."


class DuplicateSample(Conflict):
    """The same bytes, at the same customer."""

    code = "duplicate_sample"
    message = "The customer is enrolled with this very recording already. Send another one."
