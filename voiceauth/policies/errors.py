"""Failures of the policy that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError


class PolicyChanged(Conflict):
    code = "policy_changed"
    message = "Somebody else has changed the policy. Read it again."


class InvalidPolicy(DomainError):
    """Carries ``fields``: what is wrong with each."""

    code = "invalid_policy"
    status = 422
    message = "The policy holds what no policy may hold."


class UnknownTier(DomainError):
    code = "unknown_tier"
    status = 422
    message = "The policy knows no such tier."
