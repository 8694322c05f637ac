"""Failures of two-person control that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class ApprovalNotFound(NotFound):
    """The actor may see no approval with this id."""

    code = "approval_not_found"
    message = "There is no such approval."


class ApprovalNotOpen(Conflict):
    """Carries ``state``."""

    code = "approval_not_open"
    message = "The approval was decided or used before, or has expired. Make the request again."


class SecondPersonRequired(Conflict):
    """The same person, or a program whose token that person has seen, cannot approve."""

    code = "second_person_required"
    message = (
        "You cannot approve your own request, or one made with a token you issued. A second person must approve it."
    )


class NotAnApprover(DomainError):
    """The action names the roles that approve it."""

    code = "not_an_approver"
    status = 403
    message = "Your role is not allowed to decide on this request."
