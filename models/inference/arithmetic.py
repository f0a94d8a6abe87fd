"""How networks compute: in which number format, and who does it. What last digits depend on, besides threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.errors import ModelError, did_you_mean
from models.inference import openvino_runtime as runtime

BACKENDS = ("torch", "openvino")
LEAST_CALIBRATION = 32


@dataclass(frozen=True)
class Arithmetic:
    """A number format and a backend.

    Attributes:
        precision: ``fp32``, ``bf16``, ``fp16``, ``fp8`` or ``int8``.
        backend: ``torch`` or ``openvino``.
        calibration: Texts that int8 is calibrated on, as a text column holds them; empty for other formats.
    """

    precision: str = "fp32"
    backend: str = "torch"
    calibration: tuple[str, ...] = ()


@dataclass(frozen=True)
class Due:
    """What waits for the first texts that a notebook scores.

    Attributes:
        precision: Wanted number format.
        backend: Wanted backend; ``auto``: the faster one.
        calibration: Given texts for int8; empty: of those that come.
        gated: Whether the format must agree with float32 first.
        named: Whether it was asked for by name: then it is an error where it does not.
    """

    precision: str
    backend: str
    calibration: tuple[str, ...]
    gated: bool
    named: bool


def resolve_backend(name: str, precision: str, device: torch.device) -> str:
    """A backend that the device has and that computes in this format; ``auto`` stays where there is a choice.

    Args:
        name: ``auto``, ``torch`` or ``openvino``.
        precision: As `models.inference.device.resolve_precision` gives it.
        device: Of the networks.

    Raises:
        ModelError: Unknown name; OpenVINO where it is not installed, or for another device; int8 with torch.
    """
    if name not in ("auto", *BACKENDS):
        raise ModelError(f"unknown backend '{name}'", next=did_you_mean(name, ["auto", *BACKENDS]))
    if precision == "int8":
        if name == "torch":
            raise ModelError("int8 is computed by OpenVINO alone", next="--backend openvino (or auto)")
        return "openvino"
    if name == "openvino":
        if device.type != "cpu":
            raise ModelError(
                f"OpenVINO computes on a CPU, not on {device.type}", next="--device cpu, or --backend torch"
            )
        if precision == "fp16":
            raise ModelError("OpenVINO computes in fp32, bf16 and int8", found="fp16", next="--precision fp32")
        if not runtime.is_installed():
            raise ModelError("OpenVINO is not installed", next=runtime.INSTALL)
        return name
    if device.type != "cpu" or precision == "fp16" or not runtime.is_installed():
        return "torch"
    return name


def check_calibration(texts: Sequence[str]) -> None:
    """Refuse to conclude ranges of activations from next to nothing.

    Raises:
        ModelError: Too few texts.
    """
    if len(texts) < LEAST_CALIBRATION:
        raise ModelError(
            f"int8 is calibrated on {LEAST_CALIBRATION} texts at least, and here are {len(texts)}",
            next="--precision auto; in a notebook: Scorer(…, calibration=texts), or score more texts at first",
        )
