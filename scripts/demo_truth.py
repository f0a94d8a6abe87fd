"""How well the out-of-fold score foretold the truth: the demo knows its test labels. Run in the demo's folder."""

from pathlib import Path

from kaggle_tools import metrics
from kaggle_tools.competition import Competition
from kaggle_tools.predictions import encode_labels
from kaggle_tools.submissions import find_version
from kaggle_tools.tables import read_table

competition = Competition.find()
version = find_version(Path("submissions"), "latest")
truth = read_table(Path("../data/demo/solution.csv"))
submitted = read_table(version.submission)
assert submitted["id"].equals(truth["id"]), "the submission follows the sample's order, and so does the solution"

codes = encode_labels(truth["group"], competition.classes)
answers = encode_labels(submitted["group"], competition.classes)
metric = metrics.find_metric(competition.metric)
assert metric.from_confusion is not None
score = metric.from_confusion(metrics.confusion(codes, answers, len(competition.classes)))
print(
    f"{version.title}: {metric.name} {version.manifest.oof_score:.4f} out-of-fold, {score:.4f} on the true test labels"
)
