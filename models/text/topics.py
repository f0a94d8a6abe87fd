"""Topics that authors mark: ``#武汉加油#`` as on Weibo, ``#nlp`` as elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

TOPIC = re.compile(r"#[^#\s]{1,40}#|#\w{2,40}")


def frequent_topics(texts: Iterable[str], limit: int, min_count: int = 2) -> list[str]:
    """The most frequent topics with their marks.

    Args:
        texts: Cleaned texts.
        limit: So many at most.
        min_count: Least occurrences.

    Returns:
        Most frequent first; ties in the order of their characters.
    """
    counts = Counter(topic for text in texts for topic in TOPIC.findall(text))
    kept = [(topic, count) for topic, count in counts.items() if count >= min_count]
    return [topic for topic, _ in sorted(kept, key=lambda pair: (-pair[1], pair[0]))[:limit]]
