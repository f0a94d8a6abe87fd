"""Imports that take seconds, a third less: `gc` searches modules for garbage again and again, and finds none.

with loading():
    from jobs import train
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """While the body imports, nothing is searched for garbage; what it has imported is not searched later either."""
    if not gc.isenabled():
        yield
        return
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
