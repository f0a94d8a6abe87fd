"""What this machine can do at most, measured once by `cli doctor --measure` and kept in the user's cache folder.

    measure(resolve_device("cpu"))         # some seconds; writes ~/.cache/kaggle-jobs/ceilings.json
    known(resolve_device("cpu"))           # what was measured of this device with this torch, or None

`cli score` holds what it achieved against these rates. They are kept by device, torch version and number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jobs.machine import processor
from jobs.user_cache import keep_in_cache, read_cache

if TYPE_CHECKING:
    import torch

FILE = "ceilings.json"
# Name of a rate → what it is, and its unit.
RATES = {
    "fp32": ("matrix product, fp32", "FLOP/s"),
    "bf16": ("matrix product, bf16", "FLOP/s"),
    "fp16": ("matrix product, fp16", "FLOP/s"),
    "fp8": ("matrix product, fp8", "FLOP/s"),
    "int8": ("matrix product, int8", "FLOP/s"),
    "bandwidth": ("memory, read and written", "B/s"),
    "tokenizer": ("WordPiece", "tokens/s"),
    "csv_index": ("index of a CSV", "B/s"),
    "csv_read": ("rows of a CSV read", "rows/s"),
    "parquet_write": ("rows of Parquet written", "rows/s"),
}


@dataclass(frozen=True)
class Ceilings:
    """Measured rates of one device.

    Attributes:
        device: What it calls itself.
        torch: Version of torch.
        threads: Of torch, on a CPU; 0 elsewhere.
        measured: When, ISO 8601.
        rates: Name in `RATES` → units a second. What a device cannot do is absent; what has nothing to do with the
            network (tokenizer, tables) stands with the CPU.
    """

    device: str
    torch: str
    threads: int
    measured: str
    rates: Mapping[str, float]

    @property
    def key(self) -> str:
        """What they are kept under."""
        return f"{self.device}, torch {self.torch}" + (f", {self.threads} threads" if self.threads else "")


def identify(device: torch.device) -> tuple[str, str, int]:
    """Name of a device, version of torch, number of threads (0 elsewhere than on a CPU)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device), torch.__version__, 0
    if device.type == "mps":
        return f"{processor().model} GPU", torch.__version__, 0
    return processor().model, torch.__version__, torch.get_num_threads()


def known(device: torch.device) -> Ceilings | None:
    """What was measured of this device before, or None. A file that cannot be read counts as none."""
    name, version, threads = identify(device)
    found = read_cache(FILE).get(Ceilings(name, version, threads, "", {}).key)
    try:
        return None if found is None else Ceilings(**found)
    except TypeError:
        return None


def keep(ceilings: Ceilings) -> None:
    """Add to the file, in place of older ones of the same device.

    Raises:
        UserError: The cache folder cannot be written to.
    """
    keep_in_cache(FILE, ceilings.key, asdict(ceilings))
