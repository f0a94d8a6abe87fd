"""Which backend computes, and what int8 asks for: with something that behaves like OpenVINO in its place."""

import numpy as np
import pytest
import torch

from models import cache
from models.errors import ModelError
from models.inference import choice, exported
from models.inference.choice import choose_backend
from models.inference.device import resolve_precision
from models.inference.forward import TokenBudget
from models.inference.gate import calibration_texts, sample_positions
from models.inference.scorer import Scorer
from models.inference.shards import NonFinite
from models.text.pairs import as_series
from tests.conftest import VOCABULARY
from tests.fake_openvino import FakeOpenVino

TEXTS = [f"w{i} w{i // 7} {'w3 ' * (i % 9)}" for i in range(190)]


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture
def seconds(monkeypatch):
    """What the race says that torch and OpenVINO take, after the work was really done."""
    said = {"torch": 1.0, "openvino": 1.0, "races": 0}

    def timed(work):
        work()
        said["races"] += 1
        return said["torch" if said["races"] % 2 else "openvino"]

    monkeypatch.setattr(choice, "_timed", timed)
    return said


def chosen(model, n_rows=10**9, precision="fp32"):
    scorer = Scorer(model, precision="fp32", backend="torch")
    return choose_backend(scorer, precision, as_series(TEXTS), n_rows)


@pytest.mark.parametrize(
    ("torch_s", "backend"), [(1.3, "openvino"), (1.1, "openvino"), (1.09, "torch"), (0.5, "torch")]
)
def test_openvino_is_chosen_where_it_is_faster_by_the_margin(model, fake_openvino, seconds, torch_s, backend):
    seconds["torch"] = torch_s
    found = chosen(model)
    assert found.backend == backend
    assert f"{torch_s:.2f} times as fast as torch in fp32" in found.note


def test_what_was_measured_is_remembered_until_something_else_computes(model, fake_openvino, seconds, monkeypatch):
    seconds["torch"] = 2.0
    assert chosen(model).backend == "openvino"
    races = seconds["races"]
    seconds["torch"] = 0.1
    assert chosen(model) == choice.Choice("openvino")  # from memory, with nothing to tell
    assert chosen(model, n_rows=1).backend == "torch"  # compiling would take longer
    assert seconds["races"] == races
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert chosen(model).backend == "torch"
    monkeypatch.setattr(choice, "processor_name", lambda: "another")
    assert seconds["races"] == 2 * races
    assert chosen(model).backend == "torch"
    assert seconds["races"] == 3 * races
    assert len(cache.read_notes(choice.FILE)) == 3


def test_a_small_table_is_not_worth_a_race(model, fake_openvino, seconds):
    assert chosen(model, n_rows=1000) == choice.Choice("torch")
    assert (seconds["races"], fake_openvino.converted) == (0, 0)


def test_a_choice_that_cannot_be_kept_is_made_all_the_same(model, fake_openvino, seconds, tmp_path):
    (tmp_path / "cache").write_text("a file")
    seconds["torch"] = 2.0
    assert [chosen(model).backend for _ in range(2)] == ["openvino"] * 2
    assert fake_openvino.converted == 2


def test_a_network_that_cannot_be_exported_stays_with_torch_and_the_reason_is_told(model, fake_openvino, seconds):
    fake_openvino.fails = "Model wasn't converted:\n-- Conversion is failed for: aten::lstm"
    found = chosen(model)
    assert found.backend == "torch"
    assert "it cannot be exported: Conversion is failed for: aten::lstm" in found.note
    scorer = Scorer(model, precision="fp32", backend="openvino")
    expected = Scorer(model, precision="fp32", backend="torch").score(TEXTS).probabilities
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, expected)
    assert scorer.backend == "torch"
    assert [note for note in scorer.notes if "computed by torch, not by OpenVINO" in note]


@pytest.mark.parametrize(("off", "why"), [(1 + 3e-5, "3.0e-05 off"), (float("nan"), "nan off")])
def test_a_graph_with_other_logits_than_the_stock_forward_pass_is_not_used(model, fake_openvino, off, why):
    fake_openvino.off["fp32"] = off
    scorer = Scorer(model, precision="fp32", backend="openvino")
    assert (scorer.backend, why in scorer.notes[0]) == ("torch", True)


def test_networks_of_unknown_architecture_are_not_tried(model, fake_openvino, monkeypatch):
    monkeypatch.setattr(exported, "ARCHITECTURES", ("roberta",))
    assert "not known for bert" in Scorer(model, precision="fp32", backend="openvino").notes[0]
    assert fake_openvino.converted == 0


def test_openvino_computes_in_the_place_of_torch_and_is_told(model, fake_openvino):
    exact = Scorer(model, precision="fp32", backend="torch").score(TEXTS, logits=True)
    scores = Scorer(model, precision="fp32", backend="openvino").score(TEXTS, logits=True)
    np.testing.assert_allclose(scores.logits["tiny"], exact.logits["tiny"] * fake_openvino.off["fp32"], rtol=1e-6)
    assert (scores.logits["tiny"] != exact.logits["tiny"]).mean() > 0.9
    assert "fp32 on cpu with OpenVINO" in repr(scores)
    assert (scores.backend, exact.backend) == ("openvino", "torch")


def test_an_export_is_made_once_for_all_processes_and_again_where_it_was_damaged(model, fake_openvino, tmp_path):
    for _ in range(2):
        Scorer(model, precision="fp32", backend="openvino")
    assert fake_openvino.converted == 1
    (graph,) = (tmp_path / "cache").rglob("model.xml")
    graph.write_text("damaged")
    assert Scorer(model, precision="fp32", backend="openvino").backend == "openvino"
    assert fake_openvino.converted == 2


def test_threads_are_those_of_torch_at_the_time(model, fake_openvino):
    scorer = Scorer(model, precision="fp32", backend="openvino")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        scorer.set_precision("fp32", "openvino")
        scorer.set_precision("fp32", "openvino")
    finally:
        torch.set_num_threads(before)
    assert fake_openvino.compiled == [("fp32", before), ("fp32", before + 1)]


def test_the_way_back_from_openvino_gives_the_bytes_of_torch(model, fake_openvino):
    scorer = Scorer(model, precision="fp32", backend="torch")
    exact = scorer.score(TEXTS).probabilities
    scorer.set_precision("int8", calibration=TEXTS[:40])
    assert (scorer.precision, scorer.backend) == ("int8", "openvino")
    assert not np.array_equal(scorer.score(TEXTS).probabilities, exact)
    scorer.set_precision("fp32")
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, exact)


def test_int8_in_a_notebook_is_calibrated_and_judged_on_the_first_texts(model, fake_openvino):
    scorer = Scorer(model, precision="int8")
    scores = scorer.score(TEXTS)
    assert (scores.precision, scores.backend, scores.gate.precision) == ("int8", "openvino", "int8")
    assert scores.gate.passed
    assert len(fake_openvino.quantised) == 1
    assert scorer.score(TEXTS[:3]).gate is scores.gate
    calibration = list(calibration_texts(as_series(TEXTS), set(sample_positions(len(TEXTS), 128))))
    again = Scorer(model, precision="int8", calibration=calibration)
    np.testing.assert_array_equal(again.score(TEXTS).probabilities, scores.probabilities)
    assert len(fake_openvino.quantised) == 1  # from the cache


def test_int8_that_strays_is_an_error_where_it_was_asked_for_by_name(model, fake_openvino):
    fake_openvino.off = dict.fromkeys(fake_openvino.off, 1.0)
    scorer = Scorer(model, precision="int8")
    fake_openvino.quantise = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.inference.openvino_runtime.quantise", lambda graph, rows: (graph[0], -1.0))
        with pytest.raises(ModelError, match="int8 strays too far from float32") as caught:
            scorer.score(TEXTS)
    assert "labels flipped" in caught.value.details["found"]


def test_int8_is_calibrated_on_other_texts_than_those_it_is_judged_by():
    texts = as_series([str(i) for i in range(400)])
    judged = sample_positions(400, 128)
    calibrated = [int(text) for text in calibration_texts(texts, set(judged))]
    assert len(calibrated) == len(set(calibrated)) == 128
    assert not set(judged) & set(calibrated)
    assert calibrated == sorted(calibrated)
    assert (calibrated[0] < 10, calibrated[-1] > 390) == (True, True)
    few = as_series([str(i) for i in range(50)])
    assert calibration_texts(few, set(sample_positions(50, 128))).to_list() == few.to_list()  # too few to part them


def test_int8_is_not_calibrated_on_a_handful_of_texts(model, fake_openvino):
    with pytest.raises(ModelError, match="calibrated on 32 texts at least, and here are 5"):
        Scorer(model, precision="int8").score(TEXTS[:5])


def test_what_is_not_installed_or_not_there_is_an_error_that_says_what_to_install(model, fake_openvino, monkeypatch):
    cpu = torch.device("cpu")
    with pytest.raises(ModelError, match="int8 is computed by OpenVINO alone"):
        Scorer(model, precision="int8", backend="torch")
    with pytest.raises(ModelError, match="unknown backend 'opnvino'") as caught:
        Scorer(model, backend="opnvino")
    assert "openvino" in caught.value.details["next"]
    fake_openvino.installed = False
    for asked in ({"precision": "int8"}, {"precision": "fp32", "backend": "openvino"}):
        with pytest.raises(ModelError, match="installed") as caught:
            Scorer(model, **asked)
        assert caught.value.details["next"] == "pip install 'kaggle-jobs[openvino]'"
    monkeypatch.setattr("models.inference.device.has_fast_int8", lambda device: False)
    with pytest.raises(ModelError, match="int8 is for CPUs with VNNI or AMX, which this cpu has not"):
        resolve_precision("int8", cpu)
    with pytest.raises(ModelError, match="int8 is for CPUs with VNNI or AMX, which cuda has not"):
        resolve_precision("int8", torch.device("cuda"))


def test_int8_of_networks_that_cannot_be_exported_is_an_error(model, fake_openvino):
    fake_openvino.fails = "no"
    with pytest.raises(ModelError, match="no network can be computed in int8") as caught:
        Scorer(model, precision="int8").score(TEXTS)
    assert "it cannot be exported: no" in caught.value.details["found"]


def test_out_of_memory_in_openvino_halves_the_batches_as_in_torch(model, fake_openvino):
    scorer = Scorer(model, precision="fp32", backend="openvino", token_budget=80)
    expected = scorer.score(TEXTS).probabilities
    (network,) = scorer.groups[0].networks
    real = network._infer

    def little(inputs):
        if inputs["input_ids"].size > 40:
            raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:224:\nstd::bad_alloc")
        return real(inputs)

    network._infer = little
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, expected, atol=1e-6)
    assert scorer.budget == TokenBudget(40, scorer.budget.pass_cost, 1)
    network._infer = lambda inputs: (_ for _ in ()).throw(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        scorer.score(TEXTS)


def test_nan_in_openvino_names_its_rows(model, fake_openvino):
    scorer = Scorer(model, precision="fp32", backend="openvino")
    (network,) = scorer.groups[0].networks
    real, poison = network._infer, VOCABULARY.index("w9")

    def poisoned(inputs):
        logits = real(inputs)
        logits[(inputs["input_ids"] == poison).any(1)] = np.nan
        return logits

    network._infer = poisoned
    with pytest.raises(NonFinite) as caught:
        scorer.score(["w1", "w9", "w2", "w3 w9"])
    assert caught.value.rows == [1, 3]


def test_layers_of_a_network_that_openvino_computes_are_not_compiled_and_it_is_told(model, fake_openvino):
    scorer = Scorer(model, precision="fp32", backend="openvino", compile=True)
    assert (scorer.backend, scorer.compiled) == ("openvino", False)
    assert scorer.notes == ["layers are not compiled: OpenVINO computes them"]
    scorer.set_compiled(False)
    assert scorer.notes == []


def test_folds_share_batches_and_are_averaged(save_model, tmp_path, fake_openvino):
    folds = [save_model(tmp_path / "run" / f"fold{i}", i) for i in range(2)]
    scores = Scorer({"run": folds}, precision="fp32", backend="openvino").score(TEXTS)
    each = [Scorer(fold, precision="fp32", backend="openvino").score(TEXTS).probabilities for fold in folds]
    np.testing.assert_allclose(scores.probabilities, np.mean(each, axis=0), atol=1e-7)
    assert scores.stats.computed_tokens == 2 * (scores.stats.tokens + scores.stats.padding // 2)


def test_the_stand_in_has_every_function_that_is_used():
    assert {name for name in vars(FakeOpenVino) if not name.startswith("_")} == {
        "convert", "quantise", "save", "compile_graph", "install",
    }  # fmt: skip
