"""Failures of verification that callers may see."""

from voiceauth.errors import DomainError, NotFound


class DecisionNotFound(NotFound):
    code = "decision_not_found"
    message = "There is no such decision."


class NoActiveModel(DomainError):
    """No model was ever promoted: nothing can be scored."""

    code = "no_active_model"
    status = 503
    message = "No scoring model is in service. Use another factor."
