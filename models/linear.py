"""The linear classifier: TF-IDF of words and characters, multinomial logistic regression. Seconds to train.

    vectorizer = fit_vectorizer(texts)                       # once for all folds of a run
    features = vectorizer.transform(texts)
    model = LinearModel.fit(vectorizer, features[train], codes[train], classes)
    model.save(Path("runs/linear/fold0"))
    logits = LinearModel.load(Path("runs/linear/fold0")).logits(features[held_out])

Words are runs of letters and digits, but each Chinese character or Japanese kana is a word of its own, so that pairs of
words are pairs of characters where a language puts no spaces. Characters are n-grams within space-separated words. The
statistics are scikit-learn's; nothing is pickled: `linear.json` holds options and vocabularies, `linear.safetensors`
the numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import CheckpointSpec
from models.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

JSON_FILE = "linear.json"
TENSOR_FILE = "linear.safetensors"

_NO_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
TOKEN_PATTERN = rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+"

# Logit of a class that a fold has not seen: e⁻³⁰ is next to nothing, and still has a logarithm for blends.
UNSEEN = -30.0
_LEAST_C = 1e-30


@dataclass(frozen=True)
class VectorizerOptions:
    """How text becomes features.

    Attributes:
        words: Use n-grams of words.
        word_ngrams: Shortest and longest, in words.
        chars: Use n-grams of characters within words.
        char_ngrams: Shortest and longest, in characters.
        lowercase: Fold case first.
        min_df: An n-gram must occur in at least this many texts.
        max_features: Keep the most frequent n-grams, this many each of words and of characters.
        sublinear_tf: 1 + log(count) in place of the count.
    """

    words: bool = True
    word_ngrams: tuple[int, int] = (1, 2)
    chars: bool = True
    char_ngrams: tuple[int, int] = (1, 5)
    lowercase: bool = True
    min_df: int = 2
    max_features: int = 200_000
    sublinear_tf: bool = True

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> VectorizerOptions:
        """Checked options from a recipe.

        Raises:
            ModelError: Unknown name, a value of the wrong type, or nothing to look at.
        """
        checked = cls(**_checked(cls, options))
        for name in ("word_ngrams", "char_ngrams"):
            low, high = getattr(checked, name)
            if not 1 <= low <= high:
                raise ModelError(f"'{name}' must be [shortest, longest], both at least 1, not [{low}, {high}]")
        if not (checked.words or checked.chars):
            raise ModelError("a linear model needs words or characters; both are switched off")
        if checked.min_df < 1 or checked.max_features < 1:
            raise ModelError("'min_df' and 'max_features' must be at least 1")
        return checked


@dataclass(frozen=True)
class ClassifierOptions:
    """How the classifier is fitted.

    Attributes:
        C: Inverse strength of the L2 penalty.
        balanced: Weigh classes inversely to their frequency.
        max_iter: Newton steps at most.
    """

    C: float = 5.0
    balanced: bool = False
    max_iter: int = 100

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ClassifierOptions:
        """Checked options from a recipe.

        Raises:
            ModelError: Unknown name, a value of the wrong type or out of range.
        """
        checked = cls(**_checked(cls, options))
        if not 0 < checked.C < math.inf or checked.max_iter < 1:
            raise ModelError("'C' must be positive and 'max_iter' at least 1")
        if checked.C < _LEAST_C:
            raise ModelError(f"'C' must be at least {_LEAST_C:g}: below, its penalty is no number in float32")
        return checked


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One table of a recipe as the options of `fit_vectorizer` and those of `LinearModel.fit`.

    Raises:
        ModelError: An option that neither knows.
    """
    of_vectorizer = {f.name for f in dataclasses.fields(VectorizerOptions)}
    of_classifier = {f.name for f in dataclasses.fields(ClassifierOptions)}
    _check_known(options, sorted(of_vectorizer | of_classifier))
    return (
        {name: value for name, value in options.items() if name in of_vectorizer},
        {name: value for name, value in options.items() if name in of_classifier},
    )


def check_linear_options(options: Mapping[str, Any]) -> None:
    """Check the whole table of a recipe, before there is a text to fit anything to.

    Raises:
        ModelError: An unknown option, an unusable value, or one that would change nothing.
    """
    of_vectorizer, of_classifier = split_options(options)
    checked = VectorizerOptions.of(of_vectorizer)
    ClassifierOptions.of(of_classifier)
    # Of a recipe alone: a checkpoint says all options, those without a meaning too.
    for kind, ngrams in (("words", "word_ngrams"), ("chars", "char_ngrams")):
        if ngrams in options and not getattr(checked, kind):
            raise ModelError(f"'{ngrams}' mean nothing where {kind} = false", next="leave one of the two out")


@dataclass(frozen=True)
class Vectorizer:
    """Text to features, fitted.

    Attributes:
        options: How.
        vocabulary: For ``words`` and ``chars``, as far as used: the n-grams in column order.
        idf: For each of them, (V,) float32 inverse document frequencies.
    """

    options: VectorizerOptions
    vocabulary: Mapping[str, tuple[str, ...]]
    idf: Mapping[str, NDArray[np.float32]]

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """(N, F) float32 features: for each n-gram kind a block of rows of length one."""
        from scipy.sparse import csr_matrix, hstack

        if not len(texts):
            return csr_matrix((0, self.n_features), dtype=np.float32)
        return csr_matrix(hstack([stock.transform(texts) for stock in self._stock.values()], format="csr"))

    @property
    def n_features(self) -> int:
        """F, over all blocks."""
        return sum(len(terms) for terms in self.vocabulary.values())

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits; equal for vectorizers that give the same features, such as those of the folds of a run."""
        content = hashlib.blake2b(repr((self.options, dict(self.vocabulary))).encode(), digest_size=8)
        for values in self.idf.values():
            content.update(values.tobytes())
        return content.hexdigest()

    @cached_property
    def _stock(self) -> dict[str, TfidfVectorizer]:
        """scikit-learn's vectorizers with our vocabulary and idf put back."""
        stock = _stock_vectorizers(self.options, self.vocabulary)
        for kind, vectorizer in stock.items():
            vectorizer.idf_ = self.idf[kind]
        return stock


def fit_vectorizer(texts: Sequence[str], **options: Any) -> Vectorizer:
    """Learn vocabulary and document frequencies. No labels are read, so the folds of a run may share the result.

    Args:
        texts: N texts; an empty one is allowed.
        **options: Fields of `VectorizerOptions`.

    Raises:
        ModelError: Unknown option or unusable value, or the texts have no n-gram that is frequent enough.
    """
    checked = VectorizerOptions.of(options)
    vocabulary, idf = {}, {}
    for kind, stock in _stock_vectorizers(checked, {}).items():
        try:
            stock.fit(texts)
        except ValueError as exc:  # scikit-learn's word for an empty vocabulary
            raise ModelError(
                f"{len(texts):,} texts have no n-grams of {kind} to learn from",
                found=exc,
                next=f"lower min_df (now {checked.min_df}), or set {kind} = false",
            ) from exc
        vocabulary[kind] = tuple(stock.get_feature_names_out().tolist())
        idf[kind] = stock.idf_.astype(np.float32)
    return Vectorizer(checked, vocabulary, idf)


@dataclass(frozen=True)
class LinearModel:
    """A fitted classifier and the vectorizer that it needs.

    Attributes:
        vectorizer: Text to features.
        classes: C class names, in the order of the logits.
        coef: (C, F) float32.
        intercept: (C,) float32.
    """

    vectorizer: Vectorizer
    classes: tuple[str, ...]
    coef: NDArray[np.float32]
    intercept: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        vectorizer: Vectorizer,
        features: csr_matrix,
        codes: NDArray[np.int64],
        classes: Sequence[str],
        **options: Any,
    ) -> LinearModel:
        """Fit multinomial logistic regression; the same input always gives the same model.

        Args:
            vectorizer: The one that made `features`.
            features: (N, F) float32.
            codes: (N,) int64 positions in `classes`. A class without rows gets a probability of next to nothing.
            classes: C names.
            **options: Fields of `ClassifierOptions`.

        Raises:
            ModelError: Unknown option or unusable value, or the rows are all of one class.
        """
        from sklearn.linear_model import LogisticRegression

        checked = ClassifierOptions.of(options)
        seen = np.unique(codes)
        if len(seen) < 2:
            raise ModelError(
                f"{len(codes):,} training rows are all of one class",
                found=", ".join(classes[code] for code in seen) or "no rows",
                next="train on more rows, or on stratified folds",
            )
        # Newton with conjugate gradients needs about six steps where L-BFGS needs a hundred: a fifth of the time.
        stock = LogisticRegression(
            C=checked.C,
            solver="newton-cg",
            max_iter=checked.max_iter,
            class_weight="balanced" if checked.balanced else None,
        ).fit(features, codes)
        coef = np.zeros((len(classes), features.shape[1]), np.float32)
        intercept = np.full(len(classes), UNSEEN, np.float32)
        coef[seen], intercept[seen] = _one_row_a_class(stock.coef_), _one_row_a_class(stock.intercept_)
        return cls(vectorizer, tuple(classes), coef, intercept)

    def logits(self, features: csr_matrix) -> NDArray[np.float32]:
        """(N, C) float32; their softmax is the probabilities."""
        logits: NDArray[np.float32] = features @ self.coef.T + self.intercept
        return logits

    def save(self, folder: Path, *, cleaning: Sequence[str] = (), score: float | None = None) -> None:
        """Write a checkpoint directory; it appears whole or not at all.

        Args:
            folder: Must not exist yet, or be empty.
            cleaning: Names of the cleaning steps that training texts went through.
            score: The fold's validation metric.

        Raises:
            ModelError: The folder has something in it, or cannot be written.
        """
        from safetensors.numpy import save_file

        if folder.is_dir() and any(folder.iterdir()):
            raise ModelError("there is something in the checkpoint folder already", where=folder)
        options = dataclasses.asdict(self.vectorizer.options)
        about = {"options": options, "vocabulary": {k: list(v) for k, v in self.vectorizer.vocabulary.items()}}
        tensors = {f"idf.{kind}": values for kind, values in self.vectorizer.idf.items()}
        temporary = folder.with_name(f".{folder.name}.tmp")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            (temporary / JSON_FILE).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
            save_file({**tensors, "coef": self.coef, "intercept": self.intercept}, temporary / TENSOR_FILE)
            CheckpointSpec("linear", self.classes, cleaning=tuple(cleaning), score=score).save(temporary)
            temporary.replace(folder)
        except OSError as exc:
            shutil.rmtree(temporary, ignore_errors=True)
            raise ModelError(f"cannot write the checkpoint: {exc.strerror or exc}", where=folder) from exc

    @classmethod
    def load(cls, folder: Path) -> LinearModel:
        """Read a checkpoint directory that `save` wrote.

        Raises:
            ModelError: Not a linear checkpoint, a file is missing or damaged, or the files do not fit together.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        spec = CheckpointSpec.load(folder)
        if spec is None or spec.kind != "linear":
            raise ModelError(
                "not a linear checkpoint", where=folder, found="no kaggle_jobs.json" if spec is None else spec.kind
            )
        for name in (JSON_FILE, TENSOR_FILE):
            if not (folder / name).is_file():
                raise ModelError(
                    f"no {name} in the checkpoint", where=folder, next="train the run again, or copy it again"
                )
        try:
            about = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
            tensors = load_file(folder / TENSOR_FILE)
            vocabulary = {kind: tuple(terms) for kind, terms in about["vocabulary"].items()}
            if any(len({*terms}) < len(terms) for terms in vocabulary.values()):
                raise ValueError("a term of the vocabulary occurs twice")
            idf = {kind: tensors[f"idf.{kind}"] for kind in vocabulary}
            vectorizer = Vectorizer(VectorizerOptions.of(about["options"]), vocabulary, idf)
            model = cls(vectorizer, spec.classes, tensors["coef"], tensors["intercept"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as exc:
            raise ModelError(f"damaged: {exc}", where=folder, next="train the run again, or copy it again") from exc
        _check_shapes(model, folder)
        return model


def _stock_vectorizers(
    options: VectorizerOptions, vocabulary: Mapping[str, Sequence[str]]
) -> dict[str, TfidfVectorizer]:
    """scikit-learn's vectorizer for each kind in use, with a fixed vocabulary where one is given."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    kinds = {
        "words": (options.words, {"token_pattern": TOKEN_PATTERN, "ngram_range": options.word_ngrams}),
        "chars": (options.chars, {"analyzer": "char_wb", "ngram_range": options.char_ngrams}),
    }
    return {
        kind: TfidfVectorizer(
            lowercase=options.lowercase,
            min_df=options.min_df,
            max_features=options.max_features,
            sublinear_tf=options.sublinear_tf,
            vocabulary=vocabulary.get(kind),
            dtype=np.float32,
            **special,
        )
        for kind, (used, special) in kinds.items()
        if used
    }


def _one_row_a_class(weights: NDArray[Any]) -> NDArray[Any]:
    """scikit-learn keeps one weight vector for two classes; half of it each way has the same softmax."""
    return weights if len(weights) > 1 else np.concatenate([-weights / 2, weights / 2])


def _check_shapes(model: LinearModel, folder: Path) -> None:
    expected = (len(model.classes), model.vectorizer.n_features)
    fits = model.coef.shape == expected and model.intercept.shape == expected[:1]
    idf = model.vectorizer.idf
    if not fits or any(len(idf[kind]) != len(terms) for kind, terms in model.vectorizer.vocabulary.items()):
        raise ModelError(
            f"files do not fit together: weights are {model.coef.shape}",
            where=folder,
            expected=f"{expected}: classes × n-grams",
            next="train the run again, or copy it again",
        )


def _checked(kind: type[VectorizerOptions] | type[ClassifierOptions], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options`, each known to `kind` and of the type of its default there."""
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    _check_known(options, list(defaults))
    return {name: _as_type_of(defaults[name], name, value) for name, value in options.items()}


def _check_known(options: Mapping[str, Any], known: list[str]) -> None:
    for name in options:
        if name not in known:
            raise ModelError(f"unknown option '{name}' of a linear model", next=did_you_mean(name, known))


def _as_type_of(default: Any, name: str, value: Any) -> Any:
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(item) is int for item in value):
            return tuple(value)
    elif isinstance(default, float) and type(value) in (int, float):
        return float(value)
    elif type(value) is type(default):
        return value
    wanted = "two whole numbers" if isinstance(default, tuple) else type(default).__name__
    raise ModelError(f"option '{name}' of a linear model cannot be {value!r}", expected=wanted)
