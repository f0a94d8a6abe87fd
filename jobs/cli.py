"""The command line: gathers the commands (`jobs.commands`), and is the one place where errors become messages and exit
codes.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 done but something was found (see the command), 2
a mistake that the user can mend, 130 and 143 interrupted (run the same command again). Every option can also be set in
the environment: `KAGGLE_JOBS_SCORE_DEVICE=cpu` is `cli score --device cpu`.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import NoReturn

from jobs.commands import batch, jobs, kaggle, leaderboard, reporting, runs, scoring, search, submissions
from jobs.commands.app import app
from jobs.errors import USER_ERRORS, Interrupted, no_space, no_text

__all__ = ["app", "main"]

# Their import adds the commands.
SIGNATURES = (runs, scoring, jobs, batch, search, submissions, leaderboard, kaggle, reporting)


def main() -> None:
    """Run a command."""
    # Threads of torch that wait for each other would otherwise spin, and take the cores from whoever has work: another
    # job on the machine, or our own tokeniser.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    atexit.register(gc.freeze)  # else Python searches all of torch for garbage before it ends, which takes a second
    _open_standard_streams()
    try:
        app()
    except USER_ERRORS as exc:
        sys.stderr.write(f"error: {exc}\n")
        sys.exit(exc.exit_code)
    except Interrupted as exc:
        _say_interrupted(exc.exit_code)
    except SystemExit as exc:
        if exc.code == 130:  # typer's own answer to Ctrl-C, which says nothing
            _say_interrupted(130)
        raise
    except BrokenPipeError:
        # The reader of a pipe has gone (`cli jobs | head`); Python would complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as exc:
        said = no_space(exc) or no_text(exc)
        if said is None:
            raise
        sys.stderr.write(f"error: {said}\n")
        sys.exit(said.exit_code)


def _open_standard_streams() -> None:
    """Where a caller has closed stdin, stdout or stderr, nothing comes from it, and what is said goes nowhere.

    Else the next file that is opened would take its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _say_interrupted(exit_code: int) -> NoReturn:
    # Libraries tidy up at the end for a while: a second Ctrl-C then is no error of theirs.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    sys.stderr.write("interrupted: what was finished is kept; run the same command again to go on\n")
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
