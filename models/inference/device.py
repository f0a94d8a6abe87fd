"""What the machine can do: devices, number formats, the rate of its matrix products."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.errors import ModelError, did_you_mean
from models.inference import openvino_runtime as runtime

# What torch computes in. int8 is OpenVINO's alone; what of it is not quantised is float32 or bf16.
PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn,
}  # fmt: skip

# Where Linux tells what a CPU can do.
_CPU_INFO = Path("/proc/cpuinfo")

_FAILURES = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "CUBLAS_STATUS", "HIP error", "NVML")


@dataclass(frozen=True)
class DeviceDefaults:
    """Settings that depend on the kind of device alone, so that the same machine always cuts the same batches.

    Attributes:
        token_budget: Tokens in a batch: enough to fill the device, little enough for its caches.
        pass_cost: What one more forward pass costs, in tokens of computing (launches, weights read once more).
        flops: Nominal rate in FLOP/s, for what is decided before anything was measured.
    """

    token_budget: int
    pass_cost: int
    flops: float


DEFAULTS = {
    "cpu": DeviceDefaults(token_budget=2560, pass_cost=64, flops=3e11),
    "cuda": DeviceDefaults(token_budget=65536, pass_cost=4096, flops=3e14),
    "mps": DeviceDefaults(token_budget=8192, pass_cost=512, flops=5e12),
}


def resolve_device(name: str = "auto") -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps` as a device that exists.

    Raises:
        ModelError: The device is not known, or not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in DEFAULTS:
        raise ModelError(f"unknown device '{name}'", next=did_you_mean(kind, ["auto", *DEFAULTS]))
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    number = name.partition(":")[2] if ":" in name else "0"
    if not number.isdecimal():
        raise ModelError(f"unknown device '{name}'", next=f"{kind}, or {kind}:0 for the first of several")
    index = int(number)
    if index >= available:
        raise ModelError(
            f"no device '{name}' on this machine", found=f"{available} of kind {kind}", next="--device cpu"
        )
    return torch.device(kind, index) if kind == "cuda" else torch.device(kind)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products have hardware of their own; elsewhere they are 10 to 100 times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _has_flag("amx_bf16", "avx512_bf16")


def _has_only_fp16(device: torch.device) -> bool:
    """Volta and Turing (V100, T4): products of fp16 are eight times as fast as those of fp32."""
    return device.type == "cuda" and (7, 0) <= torch.cuda.get_device_capability(device) < (8, 0)


def has_fast_int8(device: torch.device) -> bool:
    """Whether OpenVINO has fast int8 products there: on an x86 CPU with VNNI or AMX; without it is slower than fp32."""
    return device.type == "cpu" and _has_flag("avx512_vnni", "avx_vnni", "amx_int8")


def processor_name() -> str:
    """What the CPU calls itself, or its architecture where that is not known."""
    lines = _cpu_info().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _has_flag(*names: str) -> bool:
    """Whether the CPU, as Linux describes it, has one of these sets of instructions."""
    described = _cpu_info()
    return any(name in described for name in names)


def _cpu_info() -> str:
    return _CPU_INFO.read_text(encoding="ascii", errors="ignore") if _CPU_INFO.is_file() else ""


def has_fp8(device: torch.device) -> bool:
    """Whether products of eight-bit floats have hardware: Ada, Hopper and newer."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` becomes bf16 where the device has fast bf16, fp16 on an older GPU that has that, else fp32.

    Raises:
        ModelError: Unknown name; a format that this device computes only in emulation; int8 without OpenVINO.
    """
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "fp16" if _has_only_fp16(device) else "fp32"
    if name not in (*PRECISIONS, "int8"):
        raise ModelError(f"unknown precision '{name}'", next=did_you_mean(name, ["auto", *PRECISIONS, "int8"]))
    if name == "int8":
        _check_int8(device)
    if name == "bf16" and not has_fast_bf16(device):
        raise ModelError(f"this {device.type} has no hardware for bf16", next="--precision fp32 (or auto)")
    if name == "fp16" and device.type == "cpu":
        raise ModelError("fp16 on a CPU is emulated and slow", next="--precision fp32 (or auto)")
    if name == "fp8" and not has_fp8(device):
        raise ModelError(f"this {device.type} has no hardware for fp8", next="--precision auto")
    return name


def _check_int8(device: torch.device) -> None:
    if not has_fast_int8(device):
        what = f"this {device.type}" if device.type == "cpu" else device.type
        raise ModelError(
            f"int8 is for CPUs with VNNI or AMX, which {what} has not",
            next="--precision bf16 or fp32 (auto takes the faster)"
            if device.type == "cpu"
            else "--device cpu, or auto",
        )
    if not runtime.is_installed(quantiser=True):
        raise ModelError("int8 needs OpenVINO and NNCF, which are not installed", next=runtime.INSTALL)


class DeviceFailed(ModelError):
    """The device broke down under the work: lost, reset, or a kernel that crashed."""


@contextmanager
def failures_told(device: torch.device) -> Iterator[None]:
    """Tell a person what to do where the device itself fails; errors of the program pass as they are.

    Raises:
        DeviceFailed: In place of torch's error.
    """
    try:
        yield
    except RuntimeError as exc:
        lines = str(exc).strip().splitlines()
        if not (isinstance(exc, torch.AcceleratorError) or any(sign in str(exc) for sign in _FAILURES)):
            raise
        raise DeviceFailed(
            f"the device {device} failed",
            found=lines[0] if lines else type(exc).__name__,
            next="run the same command again: it goes on where it was. If the device is gone: --device cpu, or another",
        ) from exc


def measure_matmul_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.15) -> float:
    """FLOP/s of a large matrix product on this device: the ceiling that scoring is held against.

    The fastest of those that fit into `seconds`: what else the machine does can only hide its rate.
    """
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    one = torch.ones(n, 1, device=device)

    def multiply() -> None:
        if dtype == torch.float8_e4m3fn:
            torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one.t(), out_dtype=torch.bfloat16, use_fast_accum=True)
        else:
            a @ b

    with torch.inference_mode():
        for _ in range(3):
            multiply()
        synchronise(device)
        best, until = float("inf"), time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            multiply()
            synchronise(device)
            best = min(best, time.perf_counter() - began)
    return 2.0 * n**3 / best


def current(device: torch.device) -> AbstractContextManager[Any]:
    """This device is the one that CUDA takes where none is named: for pinned memory, streams, generated kernels.

    It belongs to the thread, and is the first of the machine until it is told otherwise.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _CudnnAttention:
    """A switch of the whole process: while several threads compute, the last of them puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = True

    @contextmanager
    def off(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = torch.backends.cuda.cudnn_sdp_enabled()
                torch.backends.cuda.enable_cudnn_sdp(False)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    torch.backends.cuda.enable_cudnn_sdp(self._before)


_CUDNN_ATTENTION = _CudnnAttention()


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """Networks compute on this device, which is the `current` one, by kernels that serve batches of any shape.

    On Hopper and newer torch would rather have cuDNN attend, which makes a plan for each shape that it meets, 20 to 40
    ms of the processor each; batches of one exact length have some hundred shapes.
    """
    with current(device), _CUDNN_ATTENTION.off() if device.type == "cuda" else nullcontext():
        yield


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Most device memory in use at once so far, in bytes; 0 for a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
