"""Values as MLflow takes them, with secrets masked."""

import json
import math
from typing import Any

from raysl.outgoing import mask


def text(value: Any) -> str:
    """Return a param's or tag's text: JSON, but strings as they are and whole numbers without a fraction."""
    if isinstance(value, str):
        return mask(value)
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return mask(json.dumps(int(value) if whole else value))


def finite(value: float) -> float:
    """Return a metric's value; NaN for an infinity, which MLflow would turn into 1.8e308, and which spoils charts."""
    return value if math.isfinite(value) else math.nan
