"""What every search says in the end: its scores, what its gain is worth, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rich.console import Console

from jobs.show.output import short_path, signed


class Worth(Protocol):
    """A result with scores."""

    @property
    def fitted(self) -> float:
        """On the rows that it was fitted to."""

    @property
    def honest(self) -> float:
        """On rows that it was not fitted to."""

    @property
    def optimism(self) -> float:
        """How much better `fitted` looks."""

    @property
    def gain(self) -> float:
        """Honest gain."""

    @property
    def low(self) -> float:
        """Lower end of its interval."""

    @property
    def high(self) -> float:
        """Upper end."""

    @property
    def verdict(self) -> str:
        """What the interval advises."""


class Files(Protocol):
    """A result with files."""

    @property
    def recipe(self) -> Path:
        """The recipe's file."""

    @property
    def submission(self) -> str | None:
        """Title of the version."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""


def print_worth(console: Console, worth: Worth, how: str, over: str) -> None:
    """Fitted, honest, the gain with its interval, the verdict."""
    console.print(f"fitted    {worth.fitted:.5f}", markup=False)
    console.print(f"honest    {worth.honest:.5f}  {how}; optimism {signed(worth.optimism)}", markup=False)
    interval = f"95 % within [{signed(worth.low)}, {signed(worth.high)}]"
    console.print(f"gain      {signed(worth.gain)}  over {over}, {interval}", markup=False)
    console.print(worth.verdict, markup=False)


def print_files(console: Console, files: Files) -> None:
    """Where the recipe and the submission are."""
    console.print(f"recipe      {short_path(files.recipe)}", markup=False)
    print_submission(console, files.submission, files.notes)


def print_submission(console: Console, submission: str | None, notes: tuple[str, ...]) -> None:
    """Where the submission is, where there is one, and what a reader should know of it."""
    if submission:
        console.print(f"submission  submissions/{submission}/submission.csv", markup=False)
    for note in notes:
        console.print(f"note        {note}", markup=False)
