"""Jobs in a row in one process leave nothing behind (`python -m benchmarks.soak` makes them many and long)."""

import subprocess
import sys

from benchmarks import soak
from tests.conftest import ROOT, process_environment


def test_twenty_four_jobs_in_a_row_do_not_let_memory_files_or_handles_grow():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "jobs", "--jobs", "24", "--rows", "60"],
        cwd=ROOT,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing grew" in done.stdout


def test_what_grows_is_found():
    steady = [soak.State(600.0 + i / 10, 9, 16, 0) for i in range(24)]
    assert soak._grown(steady) == []
    late = soak.State(steady[21].resident_mb + 40, 9, 16, 0)  # pages that were not given back yet
    assert soak._grown([*steady[:21], late, *steady[22:]]) == []
    leaking = [soak.State(600.0 + 5 * i, 9 + i, 16, i // 20) for i in range(24)]
    assert soak._grown(leaking) == [
        "resident_mb, from 640 to 680",
        "handles, from 24 to 32",
        "strays, from 0 to 1",
        "1 files of no job",
    ]
