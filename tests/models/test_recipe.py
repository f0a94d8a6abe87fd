"""Recipes are read strictly and written back exactly."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.pretraining.recipe import load_pretraining
from models.recipe import HeadOptions, Recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
SCRATCH = "[encoder.scratch]\nlayers = 1\n"


def load(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_gallery_loads_and_survives_a_round_trip(path, tmp_path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert load(tmp_path, recipe.to_toml()) == recipe


def test_defaults_fill_what_a_recipe_leaves_out(tmp_path):
    recipe = load(tmp_path, '[encoder]\npath = "some/model"\n')
    assert (recipe.name, recipe.kind, recipe.folds.n, recipe.training.learning_rate) == ("mine", "transformer", 5, 2e-5)


@pytest.mark.parametrize(
    ("text", "message", "next_step"),
    [
        ("sed = 1\n" + SCRATCH, "unknown key 'sed'", "did you mean 'seed'?"),
        (SCRATCH + "[training]\nepoch = 3", "[training] unknown key 'epoch'", "did you mean 'epochs'?"),
        (SCRATCH + "width = 3", "[encoder.scratch] unknown key 'width'", None),
        (SCRATCH + "[training]\nepochs = 1.5", "[training] epochs must be a whole number", None),
        (SCRATCH + "[training]\nepochs = true", "[training] epochs must be a whole number", None),
        (SCRATCH + '[training]\nlearning_rate = "1e-3"', "[training] learning_rate must be a number", None),
        (SCRATCH + "[training]\nlearning_rate = nan", "[training] learning_rate is out of range", None),
        (SCRATCH + "[training]\nlearning_rate = inf", "[training] learning_rate is out of range", None),
        (SCRATCH + f"[training]\nweight_decay = 1{'0' * 400}", "[training] weight_decay is out of range", None),
        (SCRATCH + "[loss]\nalpha = [1.0, nan]", "[loss] alpha is out of range", None),
        (SCRATCH + "[loss]\ngroup_weights = [inf, 1.0]", "[loss] group_weights is out of range", None),
        (SCRATCH + '[adversary]\nname = "fgm"\nepsilon = inf', "[adversary] epsilon is out of range", None),
        (f"seed = {2**63}\n" + SCRATCH, "seed is out of range", None),
        (f"seeds = [1, {2**63}]\n" + SCRATCH, "seeds is out of range", None),
        (SCRATCH + f"[data]\nmax_length = {2**63}", "[data] max_length is out of range", None),
        (SCRATCH + f"[data]\nmax_length = {2**40}", "[data] max_length is out of range", None),
        (SCRATCH + f"[folds]\nn = {2**62}", "[folds] n is out of range", None),
        (SCRATCH + f"hidden = {2**62}\nheads = 1", "[encoder.scratch] hidden is out of range", None),
        (SCRATCH + f"vocab_size = {2**31 - 1}", "[encoder.scratch] vocab_size is out of range", None),
        (SCRATCH + f"[training]\nbatch_size = {2**62}", "[training] batch_size is out of range", None),
        (SCRATCH + f"[training]\nepochs = {2**62}", "[training] epochs is out of range", None),
        (SCRATCH + f'[head]\nname = "attention"\nwidth = {2**62}', "[head] width is out of range", None),
        (SCRATCH + f"[folds]\nseed = {2**32}", "[folds] seed is out of range", None),
        ('kind = "linear"\n[linear]\nC = inf', "[linear] 'C' must be positive", None),
        (SCRATCH + "[training]\nbatch_size = 0", "[training] batch_size is out of range", None),
        (SCRATCH + '[training]\nschedule = "cosin"', "[training] schedule cannot be 'cosin'", "did you mean 'cosine'?"),
        (SCRATCH + '[data]\ncleaning = "strip"', "[data] cleaning must be a list", None),
        (SCRATCH + '[data]\ncleaning = ["stripp"]', "unknown cleaning step 'stripp'", "did you mean 'strip'?"),
        (SCRATCH + '[head]\nname = "maen"', "[head] unknown head 'maen'", "did you mean 'mean'?"),
        (SCRATCH + '[head]\nname = "mean"\ndroput = 0.1', "[head] unknown key 'droput'", "did you mean 'dropout'?"),
        (SCRATCH + '[head]\nname = "mean"\ndropout = 2', "[head] dropout is out of range", None),
        (SCRATCH + '[head]\nname = "mean"\ndropout = "x"', "[head] dropout must be a number", None),
        (SCRATCH + '[loss]\nname = "focall"', "[loss] unknown loss 'focall'", "did you mean 'focal'?"),
        (SCRATCH + '[loss]\nname = "focal"\ngama = 1', "[loss] unknown key 'gama'", "did you mean 'gamma'?"),
        (
            SCRATCH + '[loss]\nname = "smooth_f1"\naverage = "mikro"',
            "[loss] average cannot be 'mikro'",
            "did you mean 'micro'?",
        ),
        (SCRATCH + '[sampler]\nname = "powr"', "[sampler] unknown sampler 'powr'", "did you mean 'power'?"),
        (SCRATCH + '[sampler]\nname = "power"\nq = 2', "[sampler] q is out of range", None),
        (SCRATCH + '[adversary]\nname = "fmg"', "[adversary] unknown adversary 'fmg'", "did you mean 'fgm'?"),
        (
            SCRATCH + '[adversary]\nname = "fgm"\nsteps = 2',
            "[adversary] unknown key 'steps'",
            "known: epsilon, relative",
        ),
        (SCRATCH + '[adversary]\nname = "xyz"', "[adversary] unknown adversary", "known: none, fgm, pgd, awp"),
        (SCRATCH + "[adversary]\nstart_epoch = 2", "[adversary] start_epoch without a name", None),
        (
            SCRATCH + '[adversary]\nname = "awp"\nstart_epoch = 4\n[training]\nepochs = 3',
            "[adversary] start_epoch = 4, but there are 3 epochs",
            "start_epoch = 3 at most, or more epochs",
        ),
        (
            SCRATCH + '[adversary]\nname = "fgm"\n[training]\nunfreeze = 1.0',
            "[adversary] fgm moves word embeddings, which unfreeze = 1.0 keeps frozen to the last step",
            'unfreeze below 1 under [training], or name = "awp"',
        ),
        (SCRATCH + "[contrast]\nscale = 20.0", "[contrast] has no weight", None),
        (SCRATCH + "[words]\nsize = 300", "[words] names no vectors", 'name = "glove", or leave the section out'),
        (SCRATCH + '[augmentation]\nsteps = ["swop"]', "[augmentation] unknown step 'swop'", "did you mean 'swap'?"),
        (SCRATCH + '[augmentation]\ncopies = 1\nsteps = ["replace"]', "[augmentation] step 'replace' needs", None),
        (
            SCRATCH + "[augmentation]\nrate = 0.5",
            "[augmentation] has no copies",
            "copies = 1, or leave the section out",
        ),
        (SCRATCH + '[augmentation]\nsteps = ["swap"]\ntable = "a.csv"', "[augmentation] has no copies", None),
        ('kind = "linear"\n[linear]\nc = 2.0', "[linear] unknown option 'c'", None),
        ('kind = "linear"\n[linear]\nC = -1.0', "[linear] 'C' must be positive", None),
        (SCRATCH + '[distill]\nteacher = "x"\nalpha = 0.0', "[distill] alpha = 0 leaves the teacher no share", None),
        (
            SCRATCH + '[distill]\nteacher = "x"\nalpha = 1.0\n[loss]\nclass_weights = "balanced"',
            "[distill] alpha = 1 leaves [loss] no share",
            None,
        ),
        ('kind = "linear"\n[linear]\nC = 1e-40', "[linear] 'C' must be at least 1e-30", None),
        (SCRATCH + "[augmentation]\ncopies = 1\nsteps = []", "[augmentation] copies without steps", None),
        (SCRATCH + '[pseudo_labels]\nsource = "folds"', "[pseudo_labels] source cannot be", "did you mean 'fold'?"),
        (SCRATCH + "[head]\ndropout_samples = 2", "[head] dropout_samples is not for head 'stock'", None),
        (SCRATCH + '[head]\nname = "tags"\nwidth = 64', "[head] width without rnn", None),
        (SCRATCH + '[head]\nname = "crf"\ndropout_samples = 2', "[head] dropout_samples is not for head 'crf'", None),
        (SCRATCH + "[loss]\nalpha = [1.0, -1.0]", "[loss] alpha = [1.0, -1.0], class_weights = 'none'", None),
        (SCRATCH + '[loss]\nalpha = [1.0]\nclass_weights = "balanced"', "[loss] alpha = [1.0]", None),
        (SCRATCH + '[head]\nname = "crf"\n[loss]\nname = "focal"', "[loss] a CRF has a loss of its own", None),
        ("[encoder]\nreinit_layers = 1\n" + SCRATCH, "[encoder] reinit_layers is for pretrained", None),
        ('kind = "linear"\n[augmentation]\ncopies = 1', "[augmentation] has no meaning in a linear", None),
        (SCRATCH + "hidden = 10\nheads = 3", "[encoder.scratch] hidden = 10 is not a multiple", None),
        (SCRATCH + '[encoder]\npath = "a"', "[encoder] needs exactly one of", None),
        ("seed = 1", "[encoder] needs exactly one of", None),
        (SCRATCH + "[linear]\nC = 1.0", "[linear] has no meaning in a transformer recipe", None),
        ('kind = "linear"\n[training]\nepochs = 1', "[training] has no meaning in a linear recipe", None),
        (SCRATCH + '[folds]\nkind = "group"', "[folds] kind = 'group' needs a group_column", None),
        (SCRATCH + '[folds]\ngroup_column = "g"', "[folds] kind = 'stratified' does not use a group_column", None),
        (SCRATCH + '[training]\nkeep = "last"\npatience = 1', "[training] patience waits", None),
        (
            SCRATCH + "[training]\nbatch_size = 8\nmicro_batch_size = 9",
            "[training] micro_batch_size = 9, but a step has batch_size = 8 rows",
            None,
        ),
        ("[encoder.scratch]\nlayers = 0\n[training]\nlayer_decay = 0.9", "[training] layer_decay and", None),
        (
            "[encoder.scratch]\nlayers = 0\n[training]\ngradient_checkpointing = true",
            "[training] layer_decay and",
            None,
        ),
        (
            SCRATCH + '[head]\nname = "mean"\ndropout = 0\ndropout_samples = 3',
            "[head] dropout_samples = 3, but dropout = 0: all draws are the same",
            None,
        ),
        (SCRATCH + '[adversary]\nname = "fgm"\nepsilon = 0', "[adversary] epsilon = 0 moves nothing", None),
        (
            SCRATCH + '[augmentation]\ncopies = 1\nsteps = ["swap"]\nsynonyms = "a.tsv"',
            "[augmentation] synonyms are for steps 'replace' and 'insert', not for swap",
            "leave them out",
        ),
        ('kind = "linear"\n[data]\nmax_length = 64', "[data] max_length has no meaning in a linear", "leave it out"),
        ('kind = "linear"\n[data]\nform = "marked"', "[data] form has no meaning in a linear", None),
        (
            'kind = "linear"\n[linear]\nchars = false\nchar_ngrams = [2, 4]',
            "[linear] 'char_ngrams' mean nothing where chars = false",
            None,
        ),
        ('name = "a/b"\n' + SCRATCH, "'a/b' cannot be the name", None),
        ("training = 3\n" + SCRATCH, "training must be a section", None),
        ("a = [", "mine.toml is not valid TOML", None),
    ],
)
def test_a_mistake_is_told_with_file_section_and_key(tmp_path, text, message, next_step):
    with pytest.raises(ModelError) as error:
        load(tmp_path, text)
    assert error.value.summary.startswith(message)
    if next_step is not None:
        assert error.value.details["next"] == next_step
    if "cleaning step" not in message:
        assert error.value.details["where"].endswith("mine.toml")


def test_a_missing_file_says_where_it_looked(tmp_path):
    with pytest.raises(ModelError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")


def test_a_folder_is_no_recipe_but_may_hold_one(tmp_path):
    with pytest.raises(ModelError, match="a folder, not a recipe") as error:
        load_recipe(tmp_path)
    assert "see recipes/" in error.value.details["next"]
    (tmp_path / "recipe.toml").write_text(SCRATCH)
    for read in (load_recipe, load_pretraining):
        with pytest.raises(ModelError, match="a folder, not a recipe") as error:
            read(tmp_path)
        assert error.value.details["next"].endswith(str(tmp_path / "recipe.toml"))


@pytest.mark.parametrize(
    ("read", "text"), [(load_recipe, SCRATCH), (load_pretraining, 'kind = "pretraining"\n' + SCRATCH)]
)
def test_a_mark_of_byte_order_at_the_beginning_of_a_file_is_passed_over(tmp_path, read, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    expected = read(path)
    path.write_text(text, encoding="utf-8-sig")
    assert read(path) == expected


names = st.text(alphabet=st.characters(exclude_characters="/\\\0", exclude_categories=("Cs",)), min_size=1).filter(
    lambda name: not name.startswith((".", "-"))
)


@settings(deadline=None)
@given(
    name=names,
    seed=st.integers(0, 2**40),
    rate=st.floats(0, 1e3, allow_subnormal=True),
    dropout=st.none() | st.floats(0, 0.95),
    path=st.text(alphabet=st.characters(exclude_categories=("Cs",))),
)
def test_any_recipe_survives_a_round_trip_through_toml(tmp_path_factory, name, seed, rate, dropout, path):
    base = Recipe(name="x")
    recipe = dataclasses.replace(
        base,
        name=name,
        seed=seed,
        encoder=dataclasses.replace(base.encoder, path=path),
        head=HeadOptions("mean", {"dropout": 0.25}),
        training=dataclasses.replace(base.training, learning_rate=rate, dropout=dropout),
    )
    assert load(tmp_path_factory.mktemp("r"), recipe.to_toml()) == recipe
