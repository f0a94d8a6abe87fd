"""`cli lengths`: how long texts are, in the tokens of a tokenizer or in characters, and which max_length suits them.

cli lengths --recipe recipes/roberta-base.toml
cli lengths --input test.csv --encoder FacebookAI/roberta-base --cover 0.995
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.corpus import read_texts
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from models.recipe import Recipe, load_recipe
from models.text.cleaning import clean
from models.text.forms import Form
from models.text.pairs import split_text

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_STEP = 8  # tensor cores like multiples of it


@dataclass(frozen=True)
class LengthsOptions:
    """What to measure.

    Attributes:
        inputs: Tables; empty: the competition's training table.
        text: Column of texts; None: the competition's.
        recipe: Its encoder and cleaning are used; the vocabulary of one from scratch is made from these texts.
        encoder: Directory or Hub id of a tokenizer; overrides the recipe's. Neither: characters.
        cover: Share of the rows that the suggested max_length leaves whole.
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    inputs: tuple[Path, ...] = ()
    text: str | None = None
    recipe: Path | None = None
    encoder: str | None = None
    cover: float = 0.99
    start: Path | None = None


@dataclass(frozen=True)
class Cut:
    """What a max_length would cut: rows that lose something, and the share of all units that is lost."""

    max_length: int
    rows_cut: int
    units_lost: float


@dataclass(frozen=True)
class LengthsResult:
    """How long the texts are.

    Attributes:
        unit: ``tokens`` (special tokens included) or ``characters``.
        n_rows: Texts.
        n_empty: Null or empty after cleaning.
        mean: Length.
        longest: Length.
        quantiles: Share of the rows to the length that these do not exceed.
        suggested: max_length: a multiple of 8 that leaves `cover` of the rows whole, within the encoder's limit.
        limit: Tokens that the encoder takes; None where it does not say.
        cuts: For the suggested length and others around it.
    """

    unit: str
    n_rows: int
    n_empty: int
    mean: float
    longest: int
    quantiles: dict[str, int]
    suggested: int
    limit: int | None
    cuts: tuple[Cut, ...]


def run(options: LengthsOptions) -> LengthsResult:
    """Measure the texts of tables.

    Raises:
        UserError: No table or column, or no rows.
        ModelError: A recipe or encoder that cannot be used.
    """
    if not 0 < options.cover <= 1:
        raise UserError(f"--cover {options.cover:g} is no share of the rows", expected="0 to 1, such as 0.99")
    recipe = load_recipe(options.recipe) if options.recipe is not None else None
    texts = clean(_read(options), recipe.data.cleaning if recipe is not None else ())
    if texts.is_empty():
        raise UserError("no rows to measure")
    measured = _tokens(texts.to_list(), recipe, options.encoder)
    lengths, limit = measured if measured is not None else (texts.str.len_chars().to_numpy().astype(np.int64), None)
    suggested = suggest(lengths, options.cover, limit)
    return LengthsResult(
        unit="characters" if measured is None else "tokens",
        n_rows=len(texts),
        n_empty=int((texts == "").sum()),
        mean=float(lengths.mean()),
        longest=int(lengths.max()),
        quantiles={f"{share:g}": _quantile(lengths, share) for share in QUANTILES},
        suggested=suggested,
        limit=limit,
        cuts=tuple(_cut(lengths, n) for n in sorted({32, 64, 128, 256, 512, suggested}) if n <= max(limit or n, n)),
    )


def suggest(lengths: NDArray[np.int64], cover: float, limit: int | None = None) -> int:
    """The least multiple of 8 that leaves a share `cover` of the rows whole; never more than `limit`."""
    needed = _quantile(lengths, cover)
    rounded = max(_STEP, -(-needed // _STEP) * _STEP)
    return rounded if limit is None else min(rounded, limit)


def _read(options: LengthsOptions) -> pl.Series:
    competition = Workspace.find(options.start).competition
    paths, column = list(options.inputs), options.text
    if not paths:
        train = competition.path(competition.train) if competition is not None else None
        if train is None:
            raise UserError("no table to measure", next="name one with --input, or make a competition with `cli init`")
        paths = [train]
    tables = [read_texts(path, column, competition) for path in paths]
    return pl.concat(tables).alias("text")


def _tokens(
    texts: Sequence[str], recipe: Recipe | None, encoder: str | None
) -> tuple[NDArray[np.int64], int | None] | None:
    """(N,) tokens of each text and the limit of the encoder; None where characters are to be counted."""
    if encoder is None and (recipe is None or recipe.kind == "linear"):
        return None
    from models.inference.tokens import TextTokenizer
    from models.pretrained import load_tokenizer
    from models.training.fold import make_tokenizer

    if encoder is not None:
        tokenizer = load_tokenizer(encoder)
    else:
        assert recipe is not None  # the other case is characters
        tokenizer = make_tokenizer(recipe, texts)
    scratch = encoder is None and recipe is not None and recipe.encoder.scratch is not None
    limit = None if scratch or tokenizer.model_max_length > 10**9 else int(tokenizer.model_max_length)
    # Texts that go through the encoder apart are cut apart: each is measured by itself.
    apart = recipe is not None and recipe.data.form == "apart"
    form: Form = "joined" if recipe is None or encoder is not None or apart else recipe.data.form
    texts = [side for text in texts for side in split_text(text)] if apart else texts
    return TextTokenizer(tokenizer, max_length=1 << 30, form=form)(texts).lengths, limit


def _quantile(lengths: NDArray[np.int64], share: float) -> int:
    """The least length that at least `share` of the rows do not exceed."""
    return int(np.quantile(lengths, share, method="inverted_cdf"))


def _cut(lengths: NDArray[np.int64], max_length: int) -> Cut:
    lost = np.maximum(lengths - max_length, 0)
    return Cut(max_length, int((lost > 0).sum()), float(lost.sum() / max(1, lengths.sum())))
