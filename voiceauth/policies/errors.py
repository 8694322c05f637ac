"""Failures of the policy that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError


class PolicyChanged(Conflict):
    """Carries the ``number`` of the version in force, where it is known."""

    code = "policy_changed"
    message = "Somebody else has changed the policy since you read it. Read it again."


class InvalidPolicy(DomainError):
    """Carries ``fields``: what is wrong with each."""

    code = "invalid_policy"
    status = 422
    message = "The policy document is not valid."


class RateNotSupported(Conflict):
    """The calibration in force cannot promise a new rate. Carries ``rates``, each with what is ``missing``."""

    code = "rate_not_supported"
    message = (
        "The calibration in force cannot promise this false-accept rate. Calibrate the model on more trials first."
    )


class UnknownTier(DomainError):
    """Carries the ``tier`` and the ``known`` ones."""

    code = "unknown_tier"
    status = 422
    message = "The policy has no tier of this name."
