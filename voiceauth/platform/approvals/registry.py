"""The actions that need a second person. The package's docstring shows how an app registers one."""

from collections.abc import Callable
from dataclasses import dataclass

from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that needs a second person."""

    name: str
    label: str
    approvers: frozenset[str]  # roles
    # Gets the approval and who approved it. None: approving opens the way for who asked.
    execute: Callable[[Approval, Actor], object] | None = None


_actions: dict[str, Action] = {}


def register(action: Action) -> None:
    """Register ``action``. Raises ``ValueError`` where another action has the name."""
    if _actions.setdefault(action.name, action) != action:
        raise ValueError(f"{action.name} is registered already")


def action_of(name: str) -> Action:
    """Return the action called ``name``. Raises ``KeyError``."""
    return _actions[name]


def names_for(role: str) -> list[str]:
    """Name the actions that ``role`` may approve."""
    return [action.name for action in _actions.values() if role in action.approvers]
