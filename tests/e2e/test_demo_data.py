import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data" / "demo"
SOURCE = ROOT.parent / "shared" / "data" / "goemotions"
FILES = ("train.csv", "test.csv", "sample_submission.csv", "solution.csv")


def test_demo_files_belong_together_and_are_small() -> None:
    train, test, sample, solution = (pl.read_csv(DEMO / name, infer_schema=False) for name in FILES)
    assert train.columns == ["id", "text", "group"]
    assert (train.height, test.height) == (4_000, 1_500)
    assert test["id"].to_list() == sample["id"].to_list() == solution["id"].to_list()
    assert set(solution["group"]) == set(train["group"]) == {"positive", "negative", "ambiguous", "neutral"}
    assert not set(train["id"]) & set(test["id"])
    assert not set(train["text"]) & set(test["text"])
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 1_000_000


def test_demo_data_name_their_source_and_licence() -> None:
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    assert all(word in readme for word in ("GoEmotions", "CC BY 4.0", "Demszky", "What was changed"))


@pytest.mark.shared
@pytest.mark.skipif(not SOURCE.is_dir(), reason="needs the development data")
def test_demo_files_are_what_the_script_makes(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "make_demo_data.py"
    script.write_bytes((ROOT / "scripts" / "make_demo_data.py").read_bytes())
    subprocess.run([sys.executable, script, SOURCE], check=True)
    for name in FILES:
        assert (tmp_path / "data" / "demo" / name).read_bytes() == (DEMO / name).read_bytes()
