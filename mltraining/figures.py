"""Metrics as JSON values."""

import math
from typing import Any


def finite(values: Any) -> Any:
    """``values`` for a JSON column: what is not a finite number becomes null."""
    if isinstance(values, dict):
        return {str(key): finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
