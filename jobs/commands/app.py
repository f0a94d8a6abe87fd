"""What every command's signature is made of: the app itself, shared options, examples.

Beside this file lie the signatures, a module for each group of commands. They do no work: each imports the module of
its command when it is called, so that `--help` imports nothing heavy.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# The modules beside this file, as `cli --help` lists their commands.
_ORDER = ("runs", "scoring", "jobs", "batch", "search", "submissions", "leaderboard", "kaggle", "reporting")


class InOrder(TyperGroup):
    """Lists commands as a competition takes its course; typer would go by the order of imports."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        return sorted(super().list_commands(ctx), key=self._place)

    def _place(self, name: str) -> int:
        return _ORDER.index(self.commands[name].callback.__module__.rpartition(".")[2])


app = typer.Typer(
    cls=InOrder,
    name="cli",
    help="Score huge tables with transformer classifiers, and climb leaderboards with what comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes would cost every `--help` a tenth of a second
    context_settings={"auto_envvar_prefix": "KAGGLE_JOBS", "max_content_width": 100},
)

option = partial(typer.Option, show_envvar=False)  # one sentence in jobs/cli.py says it for all

Json = Annotated[bool, option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, option("--quiet", "-q", help="Print errors only.")]
Force = Annotated[bool, option("--force", help="Replace what is there.")]


def examples(*lines: str) -> str:
    """The last words of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
