"""Numbers to text; inside edgepack everything is seconds, bytes and fractions."""

import math

_BYTES = ("B", "kB", "MB", "GB", "TB")

_ROUNDS_UP = 0.9995
"""Of a unit's limit: three digits would round what is above to the next unit, to 1e+03."""


def size(count: float) -> str:
    """Return bytes as text in steps of 1000: ``size(1500)`` is ``"1.5 kB"``."""
    value, unit = float(count), 0
    while abs(value) >= 999.95 and unit < len(_BYTES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_BYTES[unit]}" if unit == 0 else f"{value:.1f} {_BYTES[unit]}"


def duration(seconds: float) -> str:
    """Return a duration as text: ``duration(0.00123)`` is ``"1.23 ms"``."""
    for limit, scale, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if seconds < limit * _ROUNDS_UP:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds / 60:.1f} min"


def percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction as text: ``percent(0.123)`` is ``"12.3 %"``."""
    return f"{fraction * 100:.{digits}f} %"


def count(number: float) -> str:
    """Return a large count as text: ``count(2_493_095)`` is ``"2.49 M"``."""
    for limit, scale, unit in ((1e3, 1, ""), (1e6, 1e3, " k"), (1e9, 1e6, " M"), (1e12, 1e9, " G")):
        if abs(number) < limit * _ROUNDS_UP:
            return f"{number / scale:.3g}{unit}"
    return f"{number / 1e12:,.0f} T"


def parse_size(text: str) -> int:
    """Read bytes from text: ``parse_size("1.5MB")`` is ``1500000``.

    Raises:
        ValueError: The text is not a finite number, at least 0, with an optional unit.
    """
    clean = text.strip().upper().removesuffix("B").strip()
    power = "KMGT".find(clean[-1:]) + 1 if clean else 0
    value = float(clean[:-1] if power else clean) * 1000.0**power
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r} is not a size")
    return round(value)


def parse_percent(text: str) -> float:
    """Read a fraction from text: ``parse_percent("0.5%")`` is ``0.005``.

    Raises:
        ValueError: The text is not a finite number, at least 0, with a percent sign.
    """
    clean = text.strip()
    if not clean.endswith("%"):
        raise ValueError(f"{text!r} has no percent sign")
    return _number(clean[:-1], text) / 100


def parse_duration(text: str) -> float:
    """Read seconds from text: ``parse_duration("60s")`` is ``60.0``; also ``ms`` and ``min``.

    Raises:
        ValueError: The text is not a finite number, at least 0, with one of these units.
    """
    clean = text.strip()
    for unit, scale in (("min", 60.0), ("ms", 1e-3), ("s", 1.0)):
        if clean.endswith(unit):
            return _number(clean.removesuffix(unit), text) * scale
    raise ValueError(f"{text!r} has no unit s, ms or min")


def _number(digits: str, text: str) -> float:
    try:
        value = float(digits)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r} is not a number, at least 0, with a unit")
    return value
