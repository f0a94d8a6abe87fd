"""Two instructions that numba has no name for: counting set bits, and taking a float apart.

Written in the compiler's own language, both become vector instructions inside a loop. numba prescribes the signatures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic

cgutils: Any = _cgutils  # untyped
Tuple: Any = types.Tuple

_ROOT_HALF_BITS = int(np.float32(np.sqrt(0.5)).view(np.int32))


def _popcount(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(function, arguments)

    return types.int64(types.uint64), generate


def _split(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i32, f32 = ir.IntType(32), ir.FloatType()
        bits = builder.bitcast(arguments[0], i32)
        above = builder.sub(bits, ir.Constant(i32, _ROOT_HALF_BITS))
        exponent = builder.ashr(above, ir.Constant(i32, 23))
        rest = builder.sub(bits, builder.shl(exponent, ir.Constant(i32, 23)))
        return cgutils.pack_struct(builder, (builder.sitofp(exponent, f32), builder.bitcast(rest, f32)))

    return Tuple((types.float32, types.float32))(types.float32), generate


# Set bits of a uint64, as int64.
popcount: Any = intrinsic(_popcount)

# A positive normal float32 m as (e, r) with m = 2^e · r and r in [sqrt(1/2), sqrt(2)), both float32.
split: Any = intrinsic(_split)
