"""How large `cli report` is and how fast it opens: 20 runs × 100,000 rows in a real Chromium.

    python -m benchmarks.report                   # three classes
    python -m benchmarks.report --classes 27 --keep /tmp/big

The clock of `opened` is the browser's own: from the start of the navigation to the end of the load event, and then to
the first frame that was painted after it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from jobs import report
from kaggle_tools.predictions import Predictions
from tests.browser.chromium import Visit, browser


def make_workspace(folder: Path, n_runs: int, n_rows: int, n_classes: int) -> None:
    """Runs of different skill over the same rows, and two submissions of theirs."""
    rng = np.random.default_rng(0)
    classes = tuple(f"class-{i:02d}" for i in range(n_classes))
    truth = rng.choice(n_classes, n_rows, p=rng.dirichlet(np.full(n_classes, 5.0)))
    ids = pl.Series("id", [f"id{i:07d}" for i in range(n_rows)])
    labels = pl.Series("label", classes).gather(truth)
    words = [f"{'word ' * int(n)}{i}" for i, n in enumerate(rng.lognormal(3, 0.6, n_rows))]
    pl.DataFrame([ids, pl.Series("text", words), labels]).write_csv(folder / "train.csv")
    pl.DataFrame([ids, pl.Series("text", words)]).head(n_rows // 2).write_csv(folder / "test.csv")
    quoted = ", ".join(f'"{name}"' for name in classes)
    (folder / "competition.toml").write_text(
        f'name = "Twenty runs"\ntask = "single_label"\nmetric = "macro_f1"\ntext_column = "text"\n'
        f'classes = [{quoted}]\nid_column = "id"\nlabel_column = "label"\ntrain = "train.csv"\ntest = "test.csv"\n'
    )
    shared = rng.normal(size=(n_rows, n_classes))
    for run in range(n_runs):
        logits = shared + rng.normal(size=(n_rows, n_classes)) * (1 + run / n_runs)
        logits[np.arange(n_rows), truth] += 3
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        path = folder / "runs" / f"model-{run:02d}"
        folds = (np.arange(n_rows) % 5).astype(np.int16)
        Predictions(ids, classes, probs.astype(np.float32), labels, folds).save(path / "oof.parquet")
        (path / "run.json").write_text(json.dumps({"kind": "imported", "seconds": 60 * run}))


def measure_opening(path: Path) -> dict[str, float]:
    """Seconds in the browser."""
    with browser() as running:
        visit = Visit(running, path)
        visit.page.wait_for_function("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        loaded = visit.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        painted = visit.page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
        )
        elements = visit.page.evaluate("document.querySelectorAll('*').length")
        assert not visit.errors, visit.errors
        assert not visit.asked, visit.asked
    return {"loaded_s": loaded / 1000, "painted_s": painted / 1000, "elements": elements}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="Folder in which the workspace stays.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "competition.toml").is_file():
            make_workspace(folder, arguments.runs, arguments.rows, arguments.classes)
        began = time.perf_counter()
        result = report.run(report.ReportOptions(output=folder / "report.html", start=folder))
        written_s = time.perf_counter() - began
        opened = measure_opening(result.path)
        print(f"{arguments.runs} runs × {arguments.rows:,} rows × {arguments.classes} classes")
        print(f"written  {written_s:.1f} s, {result.n_bytes / 1e6:.2f} MB, {opened['elements']:,.0f} elements")
        print(f"opened   {opened['loaded_s']:.2f} s to the load event, {opened['painted_s']:.2f} s painted")


if __name__ == "__main__":
    main()
