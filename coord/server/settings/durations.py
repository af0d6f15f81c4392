"""Durations as Go writes them."""

from __future__ import annotations

import re

_DURATION_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``1h30m`` or ``100ms``.

    Raises:
        ValueError: it is not one.
    """
    body, sign = (text[1:], -1.0) if text.startswith("-") else (text.removeprefix("+"), 1.0)
    if body == "0":
        return 0.0
    parts = _DURATION_PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise ValueError(f"not a duration: {text!r}")
    return sign * float(sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts))
