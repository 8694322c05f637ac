"""Who acts: kept as text in the trail, so that it outlives the account."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person, an API client or the system, and the request that they act in."""

    name: str
    role: str  # teller, ivr, reviewer, admin, auditor, system
    ip_address: str = ""
    request_id: str = ""


SYSTEM = Actor(name="system", role="system")
