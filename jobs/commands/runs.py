"""Signatures of the commands that make runs: init, lengths, pretrain, train, import, evaluate, conll, pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.commands.app import Force, Json, Quiet, app, examples, option
from jobs.loading import loading


@app.command(
    epilog=examples(
        "cli init --train train.csv --test test.csv --sample sample_submission.csv",
        "cli init --train labelled.csv --test posts.gb18030.csv.gz --label sentiment --metric macro_f1",
    )
)
def init(
    train: Annotated[Path | None, option("--train", help="Table with labels.")] = None,
    test: Annotated[Path | None, option("--test", help="Table to predict.")] = None,
    sample: Annotated[Path | None, option("--sample", help="Sample submission.")] = None,
    name: Annotated[str | None, option("--name", help="Of the competition; default: the folder's name.")] = None,
    slug: Annotated[str | None, option("--slug", help="Its name in its Kaggle address.")] = None,
    task: Annotated[
        Literal["single_label", "multi_label", "multi_group", "token", "pair", "relation"] | None,
        option("--task", help="What is asked of a row."),
    ] = None,
    metric: Annotated[str | None, option("--metric", help="What answers are scored by, such as macro_f1.")] = None,
    id_column: Annotated[str | None, option("--id", help="Column of ids.")] = None,
    text: Annotated[str | None, option("--text", help="Column that is classified.")] = None,
    pair: Annotated[str | None, option("--pair", help="Column of the second text, where rows are pairs.")] = None,
    label: Annotated[
        list[str] | None,
        option("--label", help="Column of labels in the training table; again for linked label groups."),
    ] = None,
    classes: Annotated[str | None, option("--classes", help="All class names in order, joined by commas.")] = None,
    encoding: Annotated[str | None, option("--encoding", help="Of the files that are not UTF-8.")] = None,
    submission_format: Annotated[
        Literal["labels", "probabilities"] | None, option("--format", help="What a submission holds.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a competition's files and write competition.toml, with a reason for each conclusion."""
    from jobs import init as command
    from jobs.show.output import emit
    from jobs.show.train import render_init
    from kaggle_tools.inspect import Overrides

    names = tuple(classes.split(",")) if classes else ()
    one, several = (label[0], ()) if label and len(label) == 1 else (None, tuple(label or ()))
    overrides = Overrides(
        name, slug, task, metric, id_column, text, one, names, encoding, submission_format, several, pair
    )
    options = command.InitOptions(train, test, sample, overrides, force=force)
    emit(command.run(options), render_init, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli lengths --recipe recipes/roberta-base.toml",
        "cli lengths --input posts.csv.gz --text content --encoder bert-base-chinese --cover 0.995",
    )
)
def lengths(
    inputs: Annotated[
        list[Path] | None, option("--input", "-i", help="Table of texts; again for more. Default: the training table.")
    ] = None,
    text: Annotated[str | None, option("--text", help="Column of texts; default: the competition's.")] = None,
    recipe: Annotated[Path | None, option("--recipe", help="Use its encoder's tokenizer and its cleaning.")] = None,
    encoder: Annotated[
        str | None, option("--encoder", help="Directory or Hub id of a tokenizer. Neither: characters are counted.")
    ] = None,
    cover: Annotated[float, option("--cover", help="Share of the texts that max_length should leave whole.")] = 0.99,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell how long texts are, in tokens or characters, and which max_length suits them."""
    from jobs import lengths as command
    from jobs.show.lengths import render_lengths
    from jobs.show.output import emit

    options = command.LengthsOptions(tuple(inputs or ()), text, recipe, encoder, cover)
    emit(command.run(options), render_lengths, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli pretrain recipes/pretraining/weibo.toml",
        "cli pretrain --encoder google-bert/bert-base-chinese --input unlabelled.csv --name bert-weibo",
    )
)
def pretrain(
    recipe: Annotated[
        Path | None, typer.Argument(help="A file of kind pretraining, or the recipe of a run, whose encoder is taken.")
    ] = None,
    encoder: Annotated[
        str | None, option("--encoder", help="Directory or Hugging Face Hub id, trained on with default settings.")
    ] = None,
    name: Annotated[str | None, option("--name", help="Of the folder in pretrained/; default: the recipe's.")] = None,
    inputs: Annotated[
        list[Path] | None,
        option(
            "--input", "-i", help="More texts than train and test: a table, or .txt, a text a line; again for more."
        ),
    ] = None,
    text: Annotated[str | None, option("--text", help="Column of texts in these tables.")] = None,
    epochs: Annotated[int | None, option("--epochs", min=1, help="Overrides the recipe.")] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Use so many texts, drawn at random.")] = None,
    seed: Annotated[int | None, option("--seed", min=0, help="Overrides the recipe's.")] = None,
    device: Annotated[str, option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    force: Annotated[bool, option("--force", help="Replace one of other settings, or do it again.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an encoder on the texts themselves: whole words are masked and foretold. Run again to resume."""
    with loading():
        from jobs import pretrain as command
        from jobs.show.output import emit
        from jobs.show.pretrain import render_pretrain
        from jobs.show.train import training_progress

    with training_progress(quiet, title="pretraining", score="held-out perplexity") as display:
        options = command.PretrainOptions(
            recipe, encoder, name, tuple(inputs or ()), text, epochs, limit, seed, device, force, display.step
        )
        result = command.run(options)
    emit(result, render_pretrain, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli train recipes/bert-mini.toml",
        "cli train --encoder FacebookAI/roberta-base --name roberta --fold 0 --fold 2",
        "cli train recipes/roberta-base.toml --device cuda:all",
    )
)
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe file; see recipes/.")] = None,
    encoder: Annotated[
        str | None, option("--encoder", help="Directory or Hugging Face Hub id, fine-tuned with default settings.")
    ] = None,
    name: Annotated[str | None, option("--name", help="Of the run; default: the recipe's.")] = None,
    fold: Annotated[list[int] | None, option("--fold", min=0, help="Train this fold only; again for more.")] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Use so many training rows, drawn at random.")] = None,
    seed: Annotated[int | None, option("--seed", min=0, help="Overrides the recipe's.")] = None,
    seeds: Annotated[
        int | None, option("--seeds", min=1, help="Train each fold with so many seeds, and average them.")
    ] = None,
    device: Annotated[
        str, option("--device", help="auto, cpu, cuda, cuda:1 or mps; several: cuda:0,cuda:1 or cuda:all.")
    ] = "auto",
    workers: Annotated[
        int | None,
        option("--workers", min=1, help="Processes that share out the folds, at most; each has one fold's network."),
    ] = None,
    replace: Annotated[
        bool, option("--replace", help="Replace a run of other settings; keep finished folds that fit.")
    ] = False,
    force: Annotated[bool, option("--force", help="Train finished folds again.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe in k folds: out-of-fold predictions, a checkpoint a fold. Run again to resume."""
    with loading():
        from jobs import train as command
        from jobs.show.output import emit
        from jobs.show.train import render_train, training_progress

    with training_progress(quiet) as display:
        options = command.TrainOptions(
            recipe,
            encoder,
            name,
            tuple(fold or ()),
            limit,
            seed,
            device,
            force,
            display.step,
            replace=replace,
            seeds=seeds,
            workers=workers,
            on_note=display.note,
        )
        result = command.run(options)
    emit(result, render_train, as_json=as_json, quiet=quiet)


@app.command(
    "import",
    epilog=examples(
        "cli import lgbm --oof oof.csv --test test_pred.csv",
        "cli import nb42 --oof oof.npy --test test.npy --logits",
    ),
)
def import_run(
    name: Annotated[str, typer.Argument(help="What to call the run.")],
    oof: Annotated[Path | None, option("--oof", help="Out-of-fold predictions of the training rows.")] = None,
    test: Annotated[Path | None, option("--test", help="Predictions of the test rows.")] = None,
    id_column: Annotated[str | None, option("--id", help="Column of ids.")] = None,
    label: Annotated[str | None, option("--label", help="Column of true labels.")] = None,
    column: Annotated[
        str | None, option("--column", help="Column of predicted labels, or prefix of the class columns, if in doubt.")
    ] = None,
    oof_ids: Annotated[
        Path | None, option("--oof-ids", help="Table with the rows of an .npy; default: the training file.")
    ] = None,
    test_ids: Annotated[
        Path | None, option("--test-ids", help="Table with the rows of an .npy; default: the test file.")
    ] = None,
    logits: Annotated[bool, option("--logits", help="The files hold logits.")] = False,
    normalise: Annotated[bool, option("--normalise", help="Divide each row by its sum.")] = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a run out of anybody's predictions: CSV, Parquet, JSON Lines or npy."""
    from jobs import imports as command
    from jobs.show.output import emit
    from jobs.show.train import render_import

    options = command.ImportOptions(
        name, oof, test, id_column, label, column, oof_ids, test_ids, logits, normalise, force
    )
    emit(command.run(options), render_import, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli evaluate roberta",
        "cli evaluate roberta --truth test_with_labels.csv --threshold 0.4",
    )
)
def evaluate(
    run: Annotated[str, typer.Argument(help="A run that is complete.")],
    truth: Annotated[
        Path | None,
        option("--truth", help="Table with ids and labels that the run has scored. Default: its OOF predictions."),
    ] = None,
    threshold: Annotated[
        float,
        option("--threshold", min=0.0, max=1.0, help="Probability from which on a row has a label (multi_label)."),
    ] = 0.5,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show precision, recall and F1 of a run: averages, exact match, Hamming loss, each class."""
    from jobs import evaluate as command
    from jobs.show.evaluate import render_evaluate
    from jobs.show.output import emit

    options = command.EvaluateOptions(run, truth, threshold)
    emit(command.run(options), render_evaluate, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli conll train.conll.gz --output train.csv",
        "cli conll weibo_ner/test.conll.gz --word-position --output test.csv",
    )
)
def conll(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="A word and its tag a line; also .gz, .zst.")],
    output: Annotated[Path, option("--output", "-o", help=".csv or .parquet: columns id, text, tags.")],
    word_position: Annotated[
        bool, option("--word-position", help="Each word ends in a digit, its place in a longer word: leave it out.")
    ] = False,
    encoding: Annotated[str, option("--encoding", help="Of the files.")] = "utf-8",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a table of CoNLL files, for tasks that tag words: a row a sentence, words and tags separated by blanks."""
    from jobs import conll as command
    from jobs.show.conll import render_conll
    from jobs.show.output import emit

    options = command.ConllOptions(tuple(files), output, word_position, encoding, force)
    emit(command.run(options), render_conll, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli pairs questions.jsonl --output train.csv",
        "cli pairs synonyms.tsv --pairs 5 --negatives 2 --output train.csv",
    )
)
def pairs(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="A group a line: texts separated by tabs, or JSON; or .json.")
    ],
    output: Annotated[
        Path, option("--output", "-o", help=".csv or .parquet: columns id, text_a, text_b, label, block.")
    ],
    most: Annotated[int, option("--pairs", min=1, help="Of texts that say the same, a group at most.")] = 3,
    negatives: Annotated[int, option("--negatives", min=1, help="Pairs of different texts for each of these.")] = 1,
    seed: Annotated[int, option("--seed", min=0, help="Of what is drawn.")] = 42,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a table of pairs of groups of texts that say the same, to compare texts by."""
    from jobs import pairs as command
    from jobs.show.output import emit
    from jobs.show.pairs import render_pairs

    options = command.PairsOptions(tuple(files), output, most, negatives, seed, force)
    emit(command.run(options), render_pairs, as_json=as_json, quiet=quiet)
