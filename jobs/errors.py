"""What ends a command early, light enough for `cli --help`: mistakes that a user can mend, and requests to stop."""

from __future__ import annotations

import signal

from kaggle_tools.errors import UserError
from models.errors import ModelError

USER_ERRORS = (UserError, ModelError)


class Interrupted(Exception):
    """The process was asked to stop; what was finished stays, and the same command goes on from there.

    Attributes:
        exit_code: As shells have it: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number
