"""A search result as data: what to do with the models' probabilities, in a JSON file that replays bit for bit.

    recipe = Recipe("linear_pool", "single_label", classes, ("roberta", "bert"), "macro_f1", {"weights": (0.6, 0.4)})
    save(recipe, Path("blend.json"))
    apply(load(Path("blend.json")), {"roberta": test_a, "bert": test_b}).save(...)
    print(explain(recipe))

Knows nothing of how the numbers in it were found.
"""

from kaggle_tools.search.recipe.data import KINDS, VERSION, Recipe
from kaggle_tools.search.recipe.replay import apply, apply_stack, decide
from kaggle_tools.search.recipe.storage import load, save
from kaggle_tools.search.recipe.words import explain

__all__ = ["KINDS", "VERSION", "Recipe", "apply", "apply_stack", "decide", "explain", "load", "save"]
