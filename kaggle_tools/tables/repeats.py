"""Which of any number of 64-bit hashes occur more than once, in bounded memory.

    with Repeats(folder) as seen:
        seen.add(hashes)        # again and again
        seen.found()            # those that came twice or more

Up to 16 million are held and sorted. More go to the folder, 8 bytes each, into 256 files by their first eight bits;
equal ones meet in one file, of which each is small enough to be sorted on its own.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.files import cannot_write

_HELD = 16 << 20  # hashes: 128 MiB
_FILE_BITS = 8
_THREADS = 4  # that sort
_PIECE = 16_384  # hashes: 128 KiB
_MOST_BITS = 11  # more pieces than these are too many places to write at a time


class Repeats:
    """A context manager: what lies in the folder is removed at the end.

    Args:
        folder: Where files may be made; they are called ``.ids-*.tmp``.
        held: How many hashes are kept in memory.
    """

    def __init__(self, folder: Path, *, held: int = _HELD) -> None:
        self._paths = [folder / f".ids-{number:02x}.tmp" for number in range(1 << _FILE_BITS)]
        self._folder = folder
        self._most_held = held
        self._held: list[NDArray[np.uint64]] = []
        self._n_held = 0
        self._on_disk = False
        self._lock = threading.Lock()

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Take some more, from any thread.

        Raises:
            UserError: They have to go to the disk, and there is no room.
        """
        with self._lock:
            self._held.append(hashes)
            self._n_held += len(hashes)
            if self._n_held > self._most_held:
                self._spill()

    def found(self) -> NDArray[np.uint64]:
        """Each of those that came more than once, once; ascending. Nothing is added afterwards."""
        if not self._on_disk:
            return _repeated(self._pop())
        self._spill()
        with ThreadPoolExecutor(_THREADS) as pool:
            return np.concatenate(list(pool.map(_repeated_in, filter(Path.exists, self._paths))))

    def clear(self) -> None:
        """Forget all, here and on disk."""
        self._held, self._n_held = [], 0
        if self._on_disk:
            for path in self._paths:
                path.unlink(missing_ok=True)
        self._on_disk = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.clear()

    def _pop(self) -> NDArray[np.uint64]:
        """All that are held, in one piece, which takes their place bit by bit."""
        whole, n = np.empty(self._n_held, dtype=np.uint64), 0
        while self._held:
            some = self._held.pop()
            whole[n : n + len(some)] = some
            n += len(some)
        self._n_held = 0
        return whole

    def _spill(self) -> None:
        parts = _by_first_bits(self._pop(), _FILE_BITS)
        self._on_disk = True
        try:
            for path, some in zip(self._paths, parts, strict=True):
                if len(some):
                    with path.open("ab") as file:
                        some.tofile(file)
        except OSError as exc:
            raise cannot_write(self._paths[0], self._folder, exc) from exc


def _repeated_in(path: Path) -> NDArray[np.uint64]:
    return _repeated(np.fromfile(path, dtype=np.uint64))


def _repeated(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Those that occur more than once, ascending; sorted in pieces that fit into a processor's cache."""
    n_bits = min(_MOST_BITS, max(0, len(hashes) // _PIECE).bit_length())
    found = [_repeated_of(piece) for piece in (_by_first_bits(hashes, n_bits) if n_bits else [hashes])]
    return np.concatenate(found)


def _repeated_of(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    hashes.sort()
    twice = hashes[1:] == hashes[:-1]
    return np.unique(hashes[1:][twice]) if twice.any() else hashes[:0]


def _by_first_bits(hashes: NDArray[np.uint64], n_bits: int) -> list[NDArray[np.uint64]]:
    """2 ** n_bits pieces, ascending by these bits, each in the order as before."""
    ends = np.zeros(1 << n_bits, dtype=np.int64)
    moved = np.empty_like(hashes)
    _scatter(hashes, np.uint64(64 - n_bits), ends, moved)
    return np.split(moved, ends[:-1])


@compiled
def _scatter(hashes: NDArray[np.uint64], shift: np.uint64, ends: NDArray[np.int64], moved: NDArray[np.uint64]) -> None:
    """Counting sort by ``hashes >> shift``; `ends`, zeros at first, says where each piece ends."""
    for value in hashes:
        ends[value >> shift] += 1
    total = 0
    for piece in range(ends.size):
        total, ends[piece] = total + ends[piece], total
    for value in hashes:
        place = ends[value >> shift]
        moved[place] = value
        ends[value >> shift] = place + 1
