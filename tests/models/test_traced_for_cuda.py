"""Whole shards through a CUDA device that is only pretended: which operators are called, on what, and in what formats.

Tensors have shapes, formats and a device, and no numbers, so that anything that would wait for the device to look at
one fails; so does a tensor that was left on the CPU. No GPU is needed, nor a CUDA build of torch.
"""

from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from transformers import BertConfig, DebertaV2Config, MPNetConfig

from models.inference import disentangled, forward, fp8, groups, joined
from models.inference.forward import TokenBudget, run_networks
from models.inference.last_layer import compute_exactly
from models.inference.tokens import Tokens
from tests.models.test_compiled_layers import DEBERTA
from tests.models.test_packed import CONFIGS, SHAPE, classifier

ALL = {**CONFIGS, "deberta-v2": DEBERTA, "mpnet": MPNetConfig(max_position_embeddings=66, pad_token_id=1, **SHAPE)}
CUDA = torch.device("cuda", 0)
LENGTHS = np.random.default_rng(0).integers(3, 60, 400)
ALIKE = np.repeat([7, 31], 80)  # fill batches of one length each, and leave rows over


class WithoutDriver(TorchFunctionMode):
    """Indexing and attention by the operators behind them: to choose one, torch would ask the device itself."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is nn.functional.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is Tensor.__getitem__:
            return self._index(*args)
        if func is Tensor.__setitem__:
            target, places, values = args
            return torch.ops.aten.index_put_(target, [places], values)
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _attend(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
        efficient = torch.ops.aten._scaled_dot_product_efficient_attention
        return efficient(query, key, value, attn_mask, False, dropout_p, is_causal, scale=scale)[0]

    @staticmethod
    def _index(part, index):
        dim, places = 0, []
        index = index if isinstance(index, tuple) else (index,)
        for at in index:
            if at is ...:
                dim += part.ndim - sum(other is not None and other is not ... for other in index)
                continue
            if isinstance(at, int):
                part = torch.ops.aten.select(part, dim, at)
                continue
            if at is None:
                part = torch.ops.aten.unsqueeze(part, dim)
            elif isinstance(at, slice):
                part = torch.ops.aten.slice(part, dim, at.start, at.stop, at.step or 1)
            else:
                assert isinstance(at, Tensor), at
                places = [*places, *[None] * (dim - len(places)), at]
            dim += 1
        return torch.ops.aten.index(part, places) if places else part


@pytest.fixture
def pretended(monkeypatch):
    """Without a driver there is no pinned memory, either."""
    for module in (forward, groups):
        monkeypatch.setattr(module, "send", lambda array, device: torch.from_numpy(array).to(device))
    with FakeTensorMode(allow_non_fake_inputs=True), WithoutDriver():
        yield


def on_cuda(network, dtype):
    """Parameters without numbers in place of the real ones; only within a FakeTensorMode."""
    for module in network.modules():
        for kept in (module._parameters, module._buffers):
            for name, part in kept.items():
                if part is not None:
                    own = torch.empty(part.shape, device=CUDA, dtype=dtype if part.is_floating_point() else part.dtype)
                    kept[name] = nn.Parameter(own, requires_grad=False) if isinstance(part, nn.Parameter) else own
    return network


def run(network, lengths=LENGTHS, *, packed=True):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.random.default_rng(0).integers(5, 90, offsets[-1]).astype(np.int32)
    budget = TokenBudget(1024, 256)
    return run_networks([network], Tokens(ids, offsets, 0, 0), CUDA, budget, lambda _: None, packed=packed)


@pytest.fixture(params=CONFIGS)
def network(request):
    """Made before anything is pretended."""
    return classifier(CONFIGS[request.param])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_shard_of_packed_rows_waits_for_nothing(network, pretended, dtype):
    (logits,), batches = run(on_cuda(network, dtype))
    assert (logits.device, logits.shape, logits.dtype) == (CUDA, (400, 3), torch.float32)
    assert any(batch.packed_tokens for batch in batches)
    assert not any(batch.padded for batch in batches)


def test_neither_do_batches_of_one_length(network, pretended):
    (logits,), batches = run(on_cuda(network, torch.bfloat16), ALIKE)
    assert (logits.device, logits.shape) == (CUDA, (160, 3))
    assert any(not batch.packed_tokens for batch in batches)


def test_nor_do_query_key_and_value_as_one_product(network, pretended):
    joined.join(on_cuda(network, torch.bfloat16))
    (logits,), batches = run(network)
    assert (logits.device, logits.shape) == (CUDA, (400, 3))
    assert any(batch.packed_tokens for batch in batches)


@pytest.mark.parametrize("task", ["single_label", "multi_label", "multi_group"])
def test_nor_does_what_becomes_of_logits(task, pretended):
    classes = ("a:1", "a:2", "b:1")
    group = SimpleNamespace(members=[SimpleNamespace(spec=SimpleNamespace(task=task, classes=classes))] * 2)
    logits = [torch.empty(400, 3, device=CUDA) for _ in group.members]
    for parts in (
        groups.NetworkGroup.probabilities(group, logits, classes[::-1]),
        groups.NetworkGroup.in_order(group, logits, classes[::-1]).values(),
    ):
        assert {(part.device, part.shape) for part in parts} == {(CUDA, (400, 3))}


@pytest.fixture
def exact(network):
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    compute_exactly(network, last)
    return network


def test_nor_does_the_last_product_in_float32(exact, pretended):
    (logits,), _ = run(on_cuda(exact, torch.bfloat16))
    assert (logits.device, logits.shape, logits.dtype) == (CUDA, (400, 3), torch.float32)


@pytest.fixture
def wide():
    return classifier(BertConfig(hidden_size=512, num_hidden_layers=2, num_attention_heads=8, num_labels=3))


@pytest.mark.parametrize("together", [False, True])
def test_eight_bits_go_into_products_that_take_their_layout(together, wide, pretended):
    on_cuda(wide, fp8.REST)
    assert fp8.convert(wide) == 12
    assert joined.wants_joining(wide)
    if together:
        assert joined.join(wide) == 2
    (logits,), _ = run(wide)
    assert (logits.device, logits.shape) == (CUDA, (400, 3))


class Copies(TorchFunctionMode):
    """Counts what a CPU holds and a GPU is given."""

    found = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (Tensor.to, Tensor.type_as) and args[0].device.type == "cpu" and len(args) > 1:
            where = args[1].device if isinstance(args[1], Tensor) else args[1]
            if where == CUDA:
                self.found += 1
                return torch.empty(args[0].shape, dtype=args[0].dtype, device=CUDA)
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=ALL)
def small(request):
    return classifier(ALL[request.param])


def test_what_copies_in_its_forward_pass_is_not_recorded(small, pretended):
    """A copy from memory that is not pinned waits, which breaks a recording off."""
    network = on_cuda(small, torch.bfloat16)
    # What torch for a CPU lacks of MPNet and DeBERTa comes behind the copies.
    with torch.inference_mode(), Copies() as copies, suppress(RuntimeError):
        network(input_ids=torch.empty(4, 9, dtype=torch.int64, device=CUDA))
    group = SimpleNamespace(form="joined", networks=[network], flop_per_token=1.0)
    groups.NetworkGroup.choose_graphs(group, CUDA, 65_536)
    if copies.found:
        assert group.graphs is None
    if network.body.config.model_type not in ("deberta-v2", "mpnet"):  # MPNet copies before transformers 5.23
        assert group.graphs is not None


@pytest.fixture(params=[16, 256])
def deberta(request):
    """With tables of distances that reach to 16 tokens, and to all."""
    config = DebertaV2Config.from_dict({**DEBERTA.to_dict(), "position_buckets": request.param})
    network = classifier(config)
    disentangled.disentangle(network, 64)
    return network


def test_debertas_attention_copies_nothing_and_waits_for_nothing(deberta, pretended):
    on_cuda(deberta, torch.bfloat16)
    with Copies() as copies:
        (logits,), batches = run(deberta, packed=False)
        (alike,), others = run(deberta, ALIKE, packed=False)
    assert copies.found == 2 * 3  # of each shard, its tokens, where rows begin, and their order
    assert (logits.device, logits.shape, alike.shape) == (CUDA, (400, 3), (160, 3))
    assert any(batch.padded for batch in batches)
    assert not all(batch.padded for batch in others)
    group = SimpleNamespace(form="joined", networks=[deberta], flop_per_token=1.0)
    groups.NetworkGroup.choose_graphs(group, CUDA, 65_536)
    assert group.graphs is not None


def test_looking_at_a_number_would_have_been_noticed(pretended):
    with pytest.raises(Exception, match=r"aten\._local_scalar_dense"):
        torch.ones(3, device=CUDA).sum().item()
