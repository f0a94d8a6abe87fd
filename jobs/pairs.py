"""`cli pairs`: groups of texts that say the same, as a table of pairs that every other command reads.

cli pairs questions.jsonl --output train.csv
cli pairs synonyms.tsv --pairs 5 --negatives 2 --output train.csv
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.text_groups import ALIKE, merge_groups, read_groups, to_pairs


@dataclass(frozen=True)
class PairsOptions:
    """What to pair.

    Attributes:
        files: Files of groups.
        output: ``.csv`` or ``.parquet``.
        pairs: Pairs of alike texts that a group gives at most.
        negatives: Pairs of different texts for each of these.
        seed: Of what is drawn.
        force: Replace the output.
    """

    files: tuple[Path, ...]
    output: Path
    pairs: int = 3
    negatives: int = 1
    seed: int = 42
    force: bool = False


@dataclass(frozen=True)
class PairsResult:
    """What was written.

    Attributes:
        output: The table: columns id, text_a, text_b, label, block.
        n_groups: Groups.
        n_merged: Groups that became part of another, with which they share a text.
        n_texts: Distinct texts.
        n_alike: Pairs of one group.
        n_different: Pairs of two groups.
        n_blocks: Blocks of groups, which folds are to keep together.
    """

    output: Path
    n_groups: int
    n_merged: int
    n_texts: int
    n_alike: int
    n_different: int
    n_blocks: int


def run(options: PairsOptions) -> PairsResult:
    """Read, merge, draw, write.

    Raises:
        UserError: A file that cannot be read or holds no groups, an output that exists. Nothing is written then.
    """
    if options.output.suffix not in (".csv", ".parquet"):
        raise UserError(f"cannot write '{options.output.suffix}' files", expected=".csv or .parquet")
    if options.output.exists() and not options.force:
        raise UserError("the output exists", where=options.output, next="name another, or replace it with --force")
    found = [group for path in options.files for group in read_groups(path)]
    groups = merge_groups(found)
    table = to_pairs(groups, most=options.pairs, negatives=options.negatives, seed=options.seed)
    with write_atomically(options.output) as temporary:
        table.write_csv(temporary) if options.output.suffix == ".csv" else table.write_parquet(temporary)
    n_alike = int((table["label"] == ALIKE).sum())
    return PairsResult(
        output=options.output,
        n_groups=len(groups),
        n_merged=len(found) - len(groups),
        n_texts=sum(map(len, groups)),
        n_alike=n_alike,
        n_different=len(table) - n_alike,
        n_blocks=table["block"].n_unique(),
    )
