"""What ends a command early, light enough for `cli --help`: mistakes that a user can mend, and requests to stop."""

from __future__ import annotations

import errno
import os
import re
import signal

from kaggle_tools.errors import UserError
from models.errors import ModelError

USER_ERRORS = (UserError, ModelError)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def no_space(problem: Exception) -> UserError | None:
    """What to say where a disk, a quota or a limit is full, or nothing may be written, whoever wrote; else None.

    Libraries written in Rust have errors of their own, which end in ``(os error 28)``.
    """
    rust = re.search(r"\(os error (\d+)\)", str(problem))
    number = problem.errno if isinstance(problem, OSError) else int(rust[1]) if rust else None
    if number not in _NO_SPACE:
        return None
    path = problem.filename if isinstance(problem, OSError) else None
    return UserError(
        f"cannot write {path or 'a file'}: {os.strerror(number)}",
        next="free some space, in the folder of temporary files too (TMPDIR), then run the same command again",
    )


def no_text(problem: Exception) -> UserError | None:
    """What to say of a name whose bytes are not UTF-8, such as one from a zip archive of another system; else None."""
    if not isinstance(problem, UnicodeEncodeError) or problem.reason != "surrogates not allowed":
        return None
    found = re.search(r"[^\s\"]*[\udc80-\udcff][^\s\"]*", str(problem.object))  # what Python makes of such bytes
    if found is None:
        return None
    return UserError(
        "a name is not UTF-8",
        found=found[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        next="rename it; of a zip archive of Windows: convmv -f gb18030 -t utf-8 --notest FOLDER",
    )


class Interrupted(Exception):
    """The process was asked to stop; what was finished stays, and the same command goes on from there.

    Attributes:
        exit_code: As shells have it: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number
