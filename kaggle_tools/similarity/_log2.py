"""Taking a float apart in a way that the compiler can do for many at once; numba has no cast of bits for scalars."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_ROOT_HALF_BITS = int(np.float32(np.sqrt(0.5)).view(np.int32))


@intrinsic
def split(typing_context: Any, value: Any) -> Any:
    """A positive normal float32 m as (e, r) with m = 2^e · r and r in [sqrt(1/2), sqrt(2)), both float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i32, f32 = ir.IntType(32), ir.FloatType()
        bits = builder.bitcast(arguments[0], i32)
        above = builder.sub(bits, ir.Constant(i32, _ROOT_HALF_BITS))
        exponent = builder.ashr(above, ir.Constant(i32, 23))
        rest = builder.sub(bits, builder.shl(exponent, ir.Constant(i32, 23)))
        parts = (builder.sitofp(exponent, f32), builder.bitcast(rest, f32))
        return cgutils.pack_struct(builder, parts)

    return types.UniTuple(types.float32, 2)(types.float32), generate


def log2_coefficients(degree: int) -> tuple[np.float32, ...]:
    """Of log2(1 + f) / f for f in [sqrt(1/2) - 1, sqrt(2) - 1], lowest first, interpolated at Chebyshev's points."""
    low, high = np.sqrt(0.5) - 1, np.sqrt(2) - 1
    points = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = np.log1p(points) / np.log(2) / points
    return tuple(np.float32(x) for x in np.polynomial.polynomial.polyfit(points, values, degree))
