"""Metrics as JSON values."""

import math
from typing import Any


def finite(values: Any) -> Any:
    """Return ``values`` as a JSON column takes them: a number that is not finite becomes null."""
    if isinstance(values, dict):
        return {str(key): finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
