"""Which models are alike, and which add most to which: all pairs of many models over a million rows in seconds."""

from kaggle_tools.similarity.clusters import Link, Tree, cluster
from kaggle_tools.similarity.complement import Complement, complement
from kaggle_tools.similarity.measures import MEASURES, Measure, Similarity, measure
from kaggle_tools.similarity.table import Table, join

__all__ = [
    "MEASURES",
    "Complement",
    "Link",
    "Measure",
    "Similarity",
    "Table",
    "Tree",
    "cluster",
    "complement",
    "join",
    "measure",
]
