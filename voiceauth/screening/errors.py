"""Failures of screening that callers may see."""

from voiceauth.platform.errors import Conflict, NotFound


class WatchlistNotFound(NotFound):
    """No watchlist has this id."""

    code = "watchlist_not_found"
    message = "There is no such watchlist."


class WatchlistExists(Conflict):
    """Names of watchlists are unique."""

    code = "watchlist_exists"
    message = "There is a watchlist of this name already. Choose another name."


class DefaultWatchlist(Conflict):
    """There must always be a default watchlist."""

    code = "default_watchlist"
    message = "The default watchlist cannot be deleted."


class FraudsterNotFound(NotFound):
    """No fraudster has this id, or the fraudster was erased."""

    code = "fraudster_not_found"
    message = "There is no such fraudster."


class DuplicateFraudster(Conflict):
    """Carries ``fraudster_id`` and ``score``, the probability that it is the same voice."""

    code = "duplicate_fraudster"
    message = (
        "This voice sounds like a known fraudster. Put that fraudster on the watchlist with `fraudster_id`, or set "
        "`another_person` if it is somebody else."
    )


class CustomersVoice(Conflict):
    """Carries the ``customer_id``."""

    code = "customers_voice"
    message = (
        "This sounds like the voice of a customer, whose own calls would then look like fraud. If it must be on the "
        "watchlist all the same, give a `reason` to ask for a second person's approval."
    )


class CaseNotFound(NotFound):
    """No case has this number."""

    code = "case_not_found"
    message = "There is no such case."


class CaseClosed(Conflict):
    """Carries the ``resolution``."""

    code = "case_closed"
    message = "The case is closed. Reopen it with a reason to work on it again."


class CaseNotClosed(Conflict):
    """Carries the ``state``."""

    code = "case_not_closed"
    message = "Only a closed case can be reopened."


class AnotherCaseOpen(Conflict):
    """Carries the ``number`` of the open case."""

    code = "another_case_open"
    message = "A case about the same customer and the same suspicion is open. Close that one first."
