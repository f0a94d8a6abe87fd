"""Which device each worker of this machine has, by `--device` and `--workers`, whatever work they share out.

devices_of_workers("cuda:all", None)      # ("cuda:0", "cuda:1") on a machine with two GPUs
devices_of_workers("cpu", 2)              # ("cpu", "cpu")
"""

from __future__ import annotations

import torch

from kaggle_tools.errors import UserError


def devices_of_workers(device: str, workers: int | None) -> tuple[str, ...]:
    """The device of each worker; of one alone where there is nothing to share out.

    Several workers share out the GPUs where `device` leaves open which.

    Args:
        device: As asked for; may name several: ``cuda:0,cuda:1`` or ``cuda:all``. Whether they exist is not looked at.
        workers: As asked for; None: one a named device.

    Raises:
        UserError: Devices of different kinds, or more of them than workers.
    """
    devices = _named(device)
    if workers is not None and workers > 1 and _leaves_open_which_gpu(device):
        devices = _named("cuda:all")[:workers]
    n_workers = workers or len(devices)
    if n_workers < len(devices):
        raise UserError(f"{len(devices)} devices and {n_workers} workers", next="a worker or more for each device")
    return tuple(devices[i % len(devices)] for i in range(n_workers))


def idle_gpus(device: str, workers: int | None) -> str | None:
    """What to say where one worker has one of several GPUs, and `device` left open which; None: nothing."""
    n_gpus = torch.cuda.device_count()
    if (workers or 1) > 1 or not _leaves_open_which_gpu(device) or n_gpus < 2:
        return None
    return f"one of {n_gpus} GPUs is used; --device cuda:all uses them all"


def _leaves_open_which_gpu(device: str) -> bool:
    return device in ("auto", "cuda") and torch.cuda.is_available()


def _named(device: str) -> tuple[str, ...]:
    if device == "cuda:all":
        return tuple(f"cuda:{i}" for i in range(max(1, torch.cuda.device_count())))
    names = tuple(name.strip() for name in device.split(","))
    if len({name.split(":")[0] for name in names}) > 1:
        raise UserError(f"devices of different kinds: {device}", next="one kind: their last digits differ")
    return names
