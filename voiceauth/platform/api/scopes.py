"""What a client may do: the scopes of each role. A token may be limited to some of its role's; no role has all."""

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

ROLES: dict[str, frozenset[str]] = {
    "teller": frozenset(
        {
            "customers:read",
            "customers:write",
            "enrollment:read",
            "enrollment:write",
            "enrollment:approve",
            "batches:read",
            "batches:write",
        }
    ),
    "ivr": frozenset({"calls:verify", "calls:identify"}),
    "reviewer": frozenset(
        {
            "approvals:decide",
            "approvals:read",
            "audio:export",
            "audit:read",
            "calls:identify",
            "cases:read",
            "cases:write",
            "customers:lock",
            "customers:read",
            "decisions:read",
            "enrollment:approve",
            "policy:read",
            "watchlists:read",
            "watchlists:write",
        }
    ),
    "admin": frozenset(
        {
            "approvals:decide",
            "approvals:read",
            "audio:export",
            "cases:read",
            "customers:lock",
            "enrollment:approve",
            "models:promote",
            "models:read",
            "policy:read",
            "policy:write",
            "training:read",
            "training:write",
            "watchlists:read",
            "watchlists:write",
        }
    ),
    "auditor": frozenset(  # reads, and nothing else; no audio
        {
            "approvals:read",
            "audit:read",
            "cases:read",
            "customers:read",
            "decisions:read",
            "models:read",
            "policy:read",
            "training:read",
            "watchlists:read",
        }
    ),
}
SCOPES = frozenset[str]().union(*ROLES.values())


def roles_with(scope: str) -> list[str]:
    """The roles that have ``scope``, sorted."""
    return sorted(role for role, scopes in ROLES.items() if scope in scopes)


def rate_class(scope: str, method: str) -> str:
    """Which of the rates of ``VOICEAUTH_RATE_LIMITS`` a call counts against: calls, training, reads or writes."""
    area = scope.partition(":")[0]
    if area == "calls":
        return "calls"
    if method in READ_METHODS:
        return "reads"
    return "training" if area in {"training", "models"} else "writes"
