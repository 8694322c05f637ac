"""Options that the commands on API clients share."""

import argparse
from datetime import timedelta

from django.core.management.base import CommandParser


def add_lifetime(parser: CommandParser) -> None:
    """Add ``--expires-days``, a ``timedelta``."""
    parser.add_argument(
        "--expires-days",
        type=_days,
        help="the token ends after this many days (default: VOICEAUTH_TOKEN_LIFETIME_DAYS)",
    )


def add_rates(parser: CommandParser) -> None:
    """Add ``--rate``, a list of (class, calls a minute)."""
    parser.add_argument(
        "--rate",
        type=_rate,
        action="append",
        default=[],
        metavar="CLASS=CALLS",
        help="calls a minute in place of the setting's, for example calls=6000; may be repeated",
    )


def _days(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 3650):
        raise argparse.ArgumentTypeError("a whole number of days, from 1 to 3650")
    return timedelta(days=int(text))


def _rate(text: str) -> tuple[str, int]:
    kind, _, calls = text.partition("=")
    if not (calls.isascii() and calls.isdigit()):
        raise argparse.ArgumentTypeError("like calls=6000")
    return kind, int(calls)
