"""Threads that share a `Scorer` take turns: its precision and its tokenizers' settings change while it works."""

from __future__ import annotations

import threading


class Turns:
    """A lock; a copy of its owner gets one of its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()
