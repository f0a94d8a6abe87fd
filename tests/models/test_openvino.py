"""OpenVINO and NNCF themselves: logits, bytes, silence. Tiny random networks; skipped where they are not installed."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, DebertaV2Config, GPT2Config

from models.classifier import TextClassifier
from models.heads import HEADS, HeadShape
from models.inference import disentangled, exported
from models.inference import openvino_runtime as runtime
from models.inference.exported import NotExported, export
from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer
from models.words import WordVectors
from tests.conftest import process_environment
from tests.models.test_packed import CONFIGS, SHAPE, classifier

pytestmark = pytest.mark.skipif(
    not runtime.is_installed(quantiser=True), reason="the extra 'openvino' is not installed"
)

DEBERTA = DebertaV2Config(
    max_position_embeddings=64, type_vocab_size=0, relative_attention=True, pos_att_type=["p2c", "c2p"],
    position_buckets=16, share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False, **SHAPE,
)  # fmt: skip
TEXTS = [f"w{i} w{i // 7} {'w3 ' * (i % 9)}" for i in range(190)]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """One for all tests of a process: what one exported the next finds."""
    folder = tmp_path_factory.getbasetemp() / "openvino-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("models.inference.device.has_fast_int8", lambda device: device.type == "cpu")
    return folder


@pytest.fixture
def source(tmp_path):
    """A folder to be fingerprinted."""
    (tmp_path / "config.json").write_text(str(tmp_path))
    return str(tmp_path)


def example():
    return {"input_ids": torch.full((2, 3), 5), "attention_mask": torch.ones(2, 3, dtype=torch.long)}


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0, num_hidden_layers=1)


@pytest.mark.parametrize("config", [CONFIGS["bert"], CONFIGS["roberta"], CONFIGS["distilbert"], DEBERTA])
def test_logits_are_those_of_the_stock_forward_pass(config, source):
    network = classifier(config)
    own = export(network, source, 64, "fp32")
    random = torch.Generator().manual_seed(1)
    for n_rows, length, ends in ((1, 1, None), (6, 64, None), (3, 20, (20, 9, 1))):
        ids = torch.randint(3, 90, (n_rows, length), generator=random)
        mask = None if ends is None else (torch.arange(length) < torch.tensor(ends)[:, None]).long()
        with torch.inference_mode():
            stock = network(ids, mask)
        torch.testing.assert_close(own(ids, mask), stock, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("buckets", "faster"), [(16, False), (40, True), (100, True)])
def test_debertas_faster_attention_is_exported_where_it_is_faster(buckets, faster, source):
    network = classifier(DebertaV2Config.from_dict({**DEBERTA.to_dict(), "position_buckets": buckets}))
    batches = [torch.randint(3, 90, (3, length)) for length in (1, 2, 31, 64)]
    mask = (torch.arange(64) < torch.tensor([[64], [20], [1]])).long()
    with torch.inference_mode():
        stock = [network(ids) for ids in batches] + [network(batches[-1], mask)]
    disentangled.disentangle(network, 64, one_way=True)
    assert disentangled.is_disentangled(network) == faster
    own = export(network, source, 64, "fp32")
    for ids, expected in zip(batches, stock, strict=False):
        torch.testing.assert_close(own(ids), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(own(batches[-1], mask), stock[-1], atol=1e-5, rtol=1e-5)


def test_a_graph_serves_no_longer_rows_than_its_tables_do(source):
    """Nor one that attends to long rows in another way than the trace."""
    network = classifier(DebertaV2Config.from_dict({**DEBERTA.to_dict(), "position_buckets": 40}))
    keys = set()
    for max_length in (50, 64, 64):
        disentangled.disentangle(network, max_length, one_way=True)
        keys.add(exported._key(network, source, None))
        disentangled.restore(network)
    assert len(keys | {exported._key(network, source, None)}) == 3
    disentangled.disentangle(network, 64)
    with pytest.raises(ValueError, match="in another way"):
        export(network, source, 64, "fp32")


def test_token_types_reach_the_network(source):
    network = classifier(CONFIGS["bert"])
    own = export(network, source, 64, "fp32")
    ids, types = torch.arange(20).reshape(2, 10), torch.arange(20).reshape(2, 10) % 2
    with torch.inference_mode():
        assert (network(ids, None, types) - network(ids)).abs().max() > 1e-3
        torch.testing.assert_close(own(ids, None, types), network(ids, None, types), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("head", "why"), [("rnn", "Conversion is failed for: prim::PackPadded"), ("last", "a fixed number of rows")]
)
def test_heads_that_cannot_be_traced_are_refused_before_they_are_computed(head, why, source):
    network = classifier(CONFIGS["bert"], HEADS[head](HeadShape(hidden=32, layers=3, classes=3)))
    with pytest.raises(NotExported, match=why):
        export(network, source, 64, "fp32")


def test_a_head_of_ours_with_all_layers_is_exported(source):
    network = classifier(CONFIGS["bert"], HEADS["weighted_layers"](HeadShape(hidden=32, layers=3, classes=3)))
    assert isinstance(export(network, source, 64, "fp32"), exported.ExportedNetwork)


def test_what_the_trace_makes_transformers_warn_of_is_not_shown(tmp_path, model):
    """In a process of its own: transformers says it once."""
    words = [sys.executable, "-c", f"from models import Scorer; Scorer({model!r}, backend='openvino').score(['w1'])"]
    environment = process_environment({"XDG_CACHE_HOME": str(tmp_path)})
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.rglob("*.xml"))


def test_decoders_pairs_read_apart_and_word_vectors_are_not_tried(source):
    config = GPT2Config(vocab_size=90, n_embd=32, n_layer=1, n_head=2, num_labels=3, pad_token_id=0)
    gpt = TextClassifier(AutoModelForSequenceClassification.from_config(config)).eval()
    with pytest.raises(NotExported, match="not known for gpt2"):
        export(gpt, source, 64, "fp32")
    pair = HEADS["cosine"](HeadShape(hidden=32, layers=3, classes=2))
    with pytest.raises(NotExported, match="two texts apart"):
        export(TextClassifier(AutoModel.from_config(CONFIGS["bert"]), pair, "apart"), source, 64, "fp32")
    worded = TextClassifier(
        AutoModel.from_config(CONFIGS["bert"]), pair, words=WordVectors.of([(5,)], torch.ones(1, 2), 9)
    )
    with pytest.raises(NotExported, match="looks words up"):
        export(worded, source, 64, "fp32")


def test_a_batch_gives_the_same_bytes_whatever_was_computed_before_it_and_by_whom(model):
    rows = [TEXTS[:1], TEXTS[:70], TEXTS[70:], TEXTS[5:6]]
    one, two = (Scorer(model, precision="fp32", backend="openvino", token_budget=256) for _ in range(2))
    there = [one.score(part)["tiny"].tobytes() for part in rows]
    back = [two.score(part)["tiny"].tobytes() for part in reversed(rows)][::-1]
    assert there == back == [one.score(part)["tiny"].tobytes() for part in rows]


def test_int8_moves_probabilities_a_little_and_the_gate_says_how_far(model):
    scorer = Scorer(model, precision="fp32", backend="torch")
    exact = scorer.score(TEXTS).probabilities
    assert not try_precision(scorer, "int8", TEXTS, GateBounds(1.0, 0.0), calibration=TEXTS[:40]).passed
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, exact)
    report = try_precision(scorer, "int8", TEXTS, GateBounds(0.5, 0.5), calibration=TEXTS[:40])
    assert report.passed
    assert 0 < report.difference < 0.2
    assert report.difference == pytest.approx(np.abs(scorer.score(TEXTS).probabilities - exact).max())


def test_embeddings_and_early_narrowing_products_are_left_as_they_are(source):
    graph = runtime.convert(classifier(CONFIGS["bert"]), example())
    tables = runtime._lookups(graph)
    assert len(tables) == 3
    assert all("embeddings" in name for name in tables)
    wide = classifier(BertConfig(**{**SHAPE, "intermediate_size": 64, "num_hidden_layers": 6}))
    narrowing = runtime._early_narrowing(runtime.convert(wide, example()))
    assert ["layer.0.output" in narrowing[0], "layer.1.output" in narrowing[1], len(narrowing)] == [True, True, 2]


def test_nothing_is_told_to_anybody_and_nothing_is_printed(tmp_path):
    """In a process without pytest, which NNCF would notice, with a home of its own, where consent would be kept."""
    script = textwrap.dedent("""
        import socket, sys
        attempts = []
        def refuse(_socket, address, *_):
            attempts.append(address)
            raise ConnectionRefusedError
        socket.socket.connect = socket.socket.connect_ex = refuse
        socket.getaddrinfo = lambda *address, **_: refuse(None, address)
        import numpy, torch
        torch.set_num_threads(1)
        from models.inference import openvino_runtime as runtime

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.table, self.out = torch.nn.Embedding(9, 32), torch.nn.Linear(32, 3)
            def forward(self, input_ids):
                return self.out(self.table(input_ids).mean(1))

        rows = [{"input_ids": numpy.array([[i % 9, 2]]), "attention_mask": numpy.ones((1, 2))} for i in range(8)]
        graph = runtime.quantise(runtime.convert(Net(), {"input_ids": torch.ones(2, 3, dtype=torch.long)}), rows)
        assert runtime.compile_graph(graph, "fp32", 1)(rows[0]).shape == (1, 3)
        assert "nncf" in sys.modules and "openvino" in sys.modules and "pytest" not in sys.modules
        assert sys.modules["openvino_telemetry"] is None
        assert attempts == [], attempts
    """)
    environment = process_environment({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    environment = {name: value for name, value in environment.items() if not name.startswith(("CI", "NNCF"))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_telemetry_that_a_notebook_has_loaded_itself_is_silenced(monkeypatch):
    sent = []

    class Telemetry:
        def send_event(self, *_):
            sent.append("event")

    module = type(sys)("openvino_telemetry")
    module.Telemetry = Telemetry
    monkeypatch.setitem(sys.modules, "openvino_telemetry", module)
    runtime._silence()
    Telemetry().send_event("mo", "version")
    assert sent == []
