"""Looking at a competition's files and concluding what `competition.toml` should say, each conclusion with its reason.

    found = conclude(Path("train.csv"), Path("test.csv"), Path("sample_submission.csv"), root=Path.cwd())
    found.competition           # a Competition, not yet saved
    found.reasons               # Reason("label_column", "author", "the sample's columns are its values")
    found.findings              # what else is worth knowing: counts of classes, duplicates, empty texts

Where the files do not tell, a UserError lists the candidates and the flag that decides. Reads the files whole.
"""

from kaggle_tools.inspect.conclude import Conclusions, Overrides, Reason, conclude

__all__ = ["Conclusions", "Overrides", "Reason", "conclude"]
