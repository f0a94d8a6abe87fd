"""Stands in for OpenVINO and NNCF, behind the functions of `models.inference.openvino_runtime`: torch computes.

Its logits are off by a known factor, so that it can be told who computed; int8's depend on the rows of calibration.
"""

import copy
import hashlib

import numpy as np
import torch

from models.inference import openvino_runtime as runtime

OFF = {"fp32": 1 + 2e-6, "bf16": 1 + 2e-3}


class FakeOpenVino:
    """What was asked of it, and how it goes wrong."""

    def __init__(self):
        self.converted, self.quantised, self.compiled = 0, [], []
        self.off = dict(OFF)
        self.fails = None
        self.installed = True
        self._graphs = {}

    def install(self, patch):
        """In the place of the real functions."""
        patch.setattr(runtime, "is_installed", lambda *, quantiser=False: self.installed)
        patch.setattr(runtime, "versions", lambda *, quantiser=False: "openvino 0" + ", nncf 0" * quantiser)
        patch.setattr(runtime, "fixed_rows", lambda graph: False)
        for name in ("convert", "quantise", "save", "compile_graph"):
            patch.setattr(runtime, name, getattr(self, name))
        return self

    def convert(self, network, example):
        if self.fails:
            raise RuntimeError(self.fails)
        self.converted += 1
        return copy.deepcopy(network), 1.0

    def quantise(self, graph, rows):
        assert all(row["attention_mask"].all() for row in rows)  # no padding
        self.quantised.append(len(rows))
        seen = hashlib.md5(b"".join(row["input_ids"].tobytes() for row in rows)).digest()
        return graph[0], 1 + seen[0] / 2**15

    def save(self, graph, folder):
        name = f"graph {len(self._graphs)}"
        self._graphs[name] = graph
        (folder / "model.xml").write_text(name)

    def compile_graph(self, source, precision, threads):
        network, factor = self._graphs[(source / "model.xml").read_text()] if hasattr(source, "parts") else source
        self.compiled.append((precision, threads))

        def infer(inputs):
            tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in inputs.items()}
            with torch.inference_mode():
                return (network(**tensors) * factor * self.off[precision]).numpy()

        return infer
