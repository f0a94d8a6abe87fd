"""Cut `data/demo/` from GoEmotions: four coarse groups of feelings as classes, small enough to keep in the repository.

    python scripts/make_demo_data.py path/to/goemotions

The folder holds `train.csv.gz` and `test.csv.gz` with the columns id, text, group and emotion, labels joined by ``|``.
The same input always gives the same files. Where the data come from and what was changed: `data/demo/README.md`.
"""

import hashlib
import sys
from pathlib import Path

import polars as pl

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
N_TRAIN = 4_000
N_TEST = 1_500


def main(source: Path) -> None:
    """Write train, test, sample submission and solution."""
    train = single_label_rows(source / "train.csv.gz").head(N_TRAIN)
    unseen = single_label_rows(source / "test.csv.gz").join(train, on="text", how="anti", maintain_order="left")
    test = unseen.head(N_TEST)
    DEMO.mkdir(parents=True, exist_ok=True)
    train.write_csv(DEMO / "train.csv")
    test.select("id", "text").write_csv(DEMO / "test.csv")
    test.select("id", pl.lit("neutral").alias("group")).write_csv(DEMO / "sample_submission.csv")
    test.select("id", "group").write_csv(DEMO / "solution.csv")


def single_label_rows(path: Path) -> pl.DataFrame:
    """Rows with exactly one emotion and one group, texts that occur twice left out; columns id, text, group."""
    frame = pl.read_csv(path, infer_schema=False)
    one_label = ~pl.col("group").str.contains("|", literal=True) & ~pl.col("emotion").str.contains("|", literal=True)
    rows = frame.filter(one_label).unique("text", keep="none", maintain_order=True).select("id", "text", "group")
    # Shuffled by a hash of the id, which is the same with every version of every library.
    order = [hashlib.blake2b(name.encode()).digest() for name in rows["id"]]
    return rows[sorted(range(len(order)), key=order.__getitem__)]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER_OF_GOEMOTIONS")
    main(Path(sys.argv[1]))
