"""Failures of dual control that callers may see."""

from voiceauth.platform.errors import Conflict, DomainError, NotFound


class ApprovalNotFound(NotFound):
    """The actor may see no approval with this id."""

    code = "approval_not_found"
    message = "There is no such approval."


class ApprovalNotOpen(Conflict):
    """Carries ``state``."""

    code = "approval_not_open"
    message = "The approval is decided, used or expired."


class SecondPersonRequired(Conflict):
    """The same person, or a program whose token that person has seen, cannot approve."""

    code = "second_person_required"
    message = "Who asked for it, or has seen the token that asked, may not approve it: a second person must."


class NotAnApprover(DomainError):
    """The action names the roles that approve it."""

    code = "not_an_approver"
    status = 403
    message = "Your role may not decide this."
