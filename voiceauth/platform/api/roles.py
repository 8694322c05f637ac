"""Who may do what: the one table of authority, for programs and for people.

A row is a capability, a column is a role. The API calls a capability a scope: a client has those of its role, and a
token may be limited to some of them. The dashboard gives a role's group the permissions that belong to its
capabilities (``review.roles``). docs/api.md shows the table, and a test compares the two.
"""

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# No role has all: who changes the policy does not make calls, and who enrolls does not see decisions.
_TABLE = {
    "approvals:decide":   "           reviewer  admin          ",
    "approvals:read":     "           reviewer  admin  auditor ",
    "audio:export":       "           reviewer  admin          ",
    "audio:play":         "           reviewer  admin          ",
    "audit:read":         "           reviewer  admin  auditor ",
    "audit:verify":       "           reviewer  admin  auditor ",
    "batches:cancel":     "teller               admin          ",
    "batches:read":       "teller               admin          ",
    "batches:write":      "teller                              ",
    "calls:identify":     "      ivr  reviewer                 ",
    "calls:verify":       "      ivr                           ",
    "cases:read":         "           reviewer  admin  auditor ",
    "cases:write":        "           reviewer                 ",
    "clients:read":       "                     admin  auditor ",
    "clients:write":      "                     admin          ",
    "confirmations:revoke": "         reviewer  admin          ",
    "confirmations:write": "teller ivr                          ",
    "consent-texts:read":  "teller     reviewer  admin  auditor ",
    "consent-texts:write": "                    admin          ",
    "customers:erase":    "teller               admin          ",
    "customers:lock":     "           reviewer  admin          ",
    "customers:read":     "teller     reviewer  admin  auditor ",
    "customers:write":    "teller                              ",
    "decisions:read":     "           reviewer  admin  auditor ",
    "enrollment:approve": "teller     reviewer  admin          ",
    "enrollment:read":    "teller     reviewer  admin          ",
    "enrollment:write":   "teller                              ",
    "metrics:read":       "                     admin  auditor ",
    "models:promote":     "                     admin          ",
    "models:read":        "           reviewer  admin  auditor ",
    "policy:read":        "           reviewer  admin  auditor ",
    "policy:write":       "                     admin          ",
    "training:read":      "                     admin  auditor ",
    "training:write":     "                     admin          ",
    "voice:try":          "teller     reviewer  admin          ",
    "watchlists:read":    "           reviewer  admin  auditor ",
    "watchlists:write":   "           reviewer  admin          ",
    "webhooks:read":      "                     admin  auditor ",
    "webhooks:write":     "                     admin          ",
}  # fmt: skip

CAPABILITIES: dict[str, frozenset[str]] = {name: frozenset(roles.split()) for name, roles in _TABLE.items()}
ROLES = ("teller", "ivr", "reviewer", "admin", "auditor")

# The dashboard has these, and no call of the API needs them.
DASHBOARD_ONLY = frozenset(
    {"audio:play", "audit:verify", "clients:read", "clients:write", "voice:try", "webhooks:read", "webhooks:write"}
)
SCOPES = frozenset(CAPABILITIES) - DASHBOARD_ONLY


def capabilities_of(role: str) -> frozenset[str]:
    """Return what ``role`` may do, on the dashboard too."""
    return frozenset(name for name, roles in CAPABILITIES.items() if role in roles)


def scopes_of(role: str) -> frozenset[str]:
    """Return the scopes of a client with ``role``."""
    return capabilities_of(role) & SCOPES


def roles_with(capability: str) -> frozenset[str]:
    """Return the roles that have ``capability``. Raises ``KeyError`` for one that is not in the table."""
    return CAPABILITIES[capability]


def rate_class(scope: str, method: str) -> str:
    """Return which rate of ``VOICEAUTH_RATE_LIMITS`` a call counts against: calls, training, reads or writes."""
    area = scope.partition(":")[0]
    if area == "calls":
        return "calls"
    if method in READ_METHODS:
        return "reads"
    return "training" if area in {"training", "models"} else "writes"
