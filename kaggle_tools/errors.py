"""What a user can do wrong, told to a person: what was found, where, what was expected, what to do next.

`jobs/cli.py` shows these once, at the outermost level; anything else that is raised is a bug and keeps its traceback.
`models.errors` has the same shape, so that neither room needs the other.
"""

SHOWN = 40  # names in an error


class UserError(Exception):
    """A mistake in input, options or environment that the user can mend.

    Args:
        summary: One sentence, lower case, with the figures that were found.
        exit_code: What the process returns.
        **details: Shown below the summary, one a line, in the order given. Customary keys: ``where``, ``found``,
            ``expected``, ``first``, ``next``.

    Example:
        >>> raise UserError("test.csv has no column 'txt'", found="id, text", next="use --text text")
    """

    def __init__(self, summary: str, *, exit_code: int = 2, **details: object) -> None:
        super().__init__(summary)
        self.summary = summary
        self.exit_code = exit_code
        self.details = {key: str(value) for key, value in details.items()}

    def __str__(self) -> str:
        width = max((len(key) for key in self.details), default=0) + 1
        lines = [f"  {key + ':':<{width}} {value}" for key, value in self.details.items()]
        return "\n".join([self.summary, *lines])


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The nearest known name as a phrase to append to an error, or the first of the list where nothing is near."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(known) - SHOWN:,} more" if len(known) > SHOWN else ""
    return "known: " + (", ".join(known[:SHOWN]) + more if known else "none")
