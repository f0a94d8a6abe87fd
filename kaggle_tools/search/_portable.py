"""Logarithm and exponential from additions and multiplications alone.

Mathematical libraries differ in the last bit from machine to machine, and a recipe must replay bit for bit. IEEE
arithmetic does not differ, so these two series give the same bits everywhere, a few units in the last place
from the exact values.
"""

from __future__ import annotations

import math

from kaggle_tools.compiled import compiled

# ln 2 in two parts: the first has trailing zeros, so that a small integer times it is exact.
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10


@compiled
def portable_log(x: float) -> float:
    """Natural logarithm of a positive, normal number: 2·artanh((m − 1)/(m + 1)) + e·ln 2 with m in [√½, √2)."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    z = s * s
    series = 0.0
    for k in range(21, 1, -2):
        series = (series + 1.0 / k) * z
    return exponent * _LN2_HIGH + (2.0 * s + (2.0 * s * series + exponent * _LN2_LOW))


@compiled
def portable_exp(x: float) -> float:
    """Exponential: 2^k times the Taylor series of what is left, which lies within ±½·ln 2. 0 below −745."""
    if x < -745.0:
        return 0.0
    if x > 709.0:
        return math.inf
    k = math.floor(x * 1.4426950408889634 + 0.5)
    rest = (x - k * _LN2_HIGH) - k * _LN2_LOW
    series = 1.0
    for n in range(13, 0, -1):
        series = 1.0 + series * rest / n
    return math.ldexp(series, int(k))
