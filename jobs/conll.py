"""`cli conll`: CoNLL files as a table that every other command reads.

cli conll train.conll.gz --output train.csv
cli conll weibo/test.conll --word-position --output test.csv
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kaggle_tools.bio import count_illegal, entities, to_bio
from kaggle_tools.conll import Sentence, read_conll, to_table
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically


@dataclass(frozen=True)
class ConllOptions:
    """What to convert.

    Attributes:
        files: CoNLL files, one sentence after the other.
        output: ``.csv`` or ``.parquet``.
        word_position: The last character of each word is its place in the word; leave it out.
        encoding: Of the files.
        force: Replace the output.
    """

    files: tuple[Path, ...]
    output: Path
    word_position: bool = False
    encoding: str = "utf-8"
    force: bool = False


@dataclass(frozen=True)
class ConllResult:
    """What was written.

    Attributes:
        output: The table: columns id, text and, where there are any, tags.
        n_rows: Sentences.
        n_words: Words.
        longest: Words of the longest sentence.
        entities: Entity type → how many.
        n_illegal: Illegal tags, which are kept as they are; training repairs or rejects them.
        n_rewritten: Tags of other schemes (BMES, BIOES, BILOU, or without type) that became BIO tags.
    """

    output: Path
    n_rows: int
    n_words: int
    longest: int
    entities: Mapping[str, int]
    n_illegal: int
    n_rewritten: int = 0


def _check_tags(path: Path, sentences: Sequence[Sentence]) -> None:
    """Raises `UserError` with the line of the first tag that is none."""
    for sentence in sentences:
        for number, (word, tag) in enumerate(zip(sentence.words, sentence.tags or (), strict=False)):
            try:
                to_bio([[tag]])
            except UserError as exc:
                where = f"{path}, line {sentence.line + number:,}"
                raise UserError(exc.summary, where=where, found=f"{word} {tag}", **exc.details) from exc  # type: ignore[arg-type]


def run(options: ConllOptions) -> ConllResult:
    """Read, join, write.

    Raises:
        UserError: A file that cannot be read, files with and without tags, a tag that is none, an output that exists.
            Nothing is written.
    """
    if options.output.suffix not in (".csv", ".parquet"):
        raise UserError(f"cannot write '{options.output.suffix}' files", expected=".csv or .parquet")
    if options.output.exists() and not options.force:
        raise UserError("the output exists", where=options.output, next="name another, or replace it with --force")
    sentences: list[Sentence] = []
    for path in options.files:
        found = read_conll(path, encoding=options.encoding, word_position=options.word_position)
        _check_tags(path, found)
        sentences += found
    if len({sentence.tags is None for sentence in sentences}) > 1:
        raise UserError("some files have tags and some have none", next="convert them one by one")
    before = [sentence.tags or () for sentence in sentences]
    tags = to_bio(before)
    if sentences[0].tags is not None:
        sentences = [replace(one, tags=tuple(own)) for one, own in zip(sentences, tags, strict=True)]
    table = to_table(sentences, prefix=f"{options.files[0].name.split('.')[0]}-")
    with write_atomically(options.output) as temporary:
        table.write_csv(temporary) if options.output.suffix == ".csv" else table.write_parquet(temporary)
    return ConllResult(
        output=options.output,
        n_rows=len(table),
        n_words=sum(len(sentence.words) for sentence in sentences),
        longest=max(len(sentence.words) for sentence in sentences),
        entities=dict(sorted(Counter(kind for row in tags for kind, _, _ in entities(row)).items())),
        n_illegal=count_illegal(tags),
        n_rewritten=sum(a != b for pair in zip(before, tags, strict=True) for a, b in zip(*pair, strict=True)),
    )
