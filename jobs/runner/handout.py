"""Which worker gets which shard next: in order, a few ahead, fairer towards the end, again where a worker was lost.

Knows nothing of processes or clusters; shards and workers are numbers here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

# One is being committed, one is on the device, one is launched behind it, one is read and tokenised.
AHEAD = 4
# A shard at whose turn so many workers died is not tried again.
MOST_DEATHS = 3


class Handout:
    """Who has what, and what is left.

    Args:
        indices: Shards without a part.
    """

    def __init__(self, indices: Iterable[int]) -> None:
        self._waiting = list(indices)
        heapify(self._waiting)
        self._held: dict[int, list[int]] = {}
        self._deaths: Counter[int] = Counter()
        self.failure: tuple[int, Exception] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left that matters: all is committed, or all before the shard that failed."""
        return not self.wanting and not any(self._matters(index) for held in self._held.values() for index in held)

    @property
    def wanting(self) -> bool:
        """Whether a shard waits for a worker."""
        return bool(self._waiting) and self._matters(self._waiting[0])

    @property
    def left(self) -> int:
        """Shards that are not committed."""
        return len(self._waiting) + sum(map(len, self._held.values()))

    def next_for(self, worker: int, n_workers: int) -> int | None:
        """A shard for `worker`, which holds it from now on; None where it has enough or none is left.

        Nobody holds more than a fair share of what is not committed, so that all end at about the same time.
        """
        held = self._held.setdefault(worker, [])
        if not self.wanting or len(held) >= min(AHEAD, -(-self.left // n_workers)):
            return None
        held.append(heappop(self._waiting))
        return held[-1]

    def is_idle(self, worker: int) -> bool:
        """Whether `worker` holds nothing."""
        return not self._held.get(worker)

    def committed(self, worker: int, index: int) -> None:
        """The part of shard `index` is there."""
        self._held[worker].remove(index)

    def failed(self, worker: int, index: int, error: Exception) -> None:
        """Shard `index` cannot be scored, and its worker has stopped. Of several errors that of the first shard counts.

        One process would have met the first of them, and committed all before it.
        """
        self._held[worker].remove(index)
        self._put_back(worker)
        if self.failure is None or index < self.failure[0]:
            self.failure = (index, error)

    def lost(self, worker: int) -> int | None:
        """A worker has died: what it held is for others. Gives the shard that has cost too many workers, if one has."""
        held = self._held.get(worker) or []
        first = held[0] if held else None
        self._put_back(worker)
        if first is None:
            return None
        self._deaths[first] += 1
        return first if self._deaths[first] >= MOST_DEATHS else None

    def _put_back(self, worker: int) -> None:
        for index in self._held.pop(worker, []):
            heappush(self._waiting, index)

    def _matters(self, index: int) -> bool:
        return self.failure is None or index < self.failure[0]
