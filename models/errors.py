"""What a user can do wrong, told to a person: what was found, where, what was expected, what to do next.

`jobs/cli.py` shows these once, at the outermost level; anything else that is raised is a bug and keeps its traceback.
The same shape as `kaggle_tools.errors`, so that neither room needs the other.
"""


class ModelError(Exception):
    """A recipe, checkpoint or device that cannot be used as asked; the user can mend it.

    Args:
        summary: One sentence, lower case, with the figures that were found.
        exit_code: What the process returns.
        **details: Shown below the summary, one a line, in the order given. Customary keys: ``where``, ``found``,
            ``expected``, ``first``, ``next``.

    Example:
        >>> raise ModelError("runs/a/fold0 has no tokenizer", next="copy tokenizer.json beside config.json")
    """

    def __init__(self, summary: str, *, exit_code: int = 2, **details: object) -> None:
        super().__init__(summary)
        self.summary = summary
        self.exit_code = exit_code
        self.details = {key: str(value) for key, value in details.items()}

    def __reduce__(self) -> tuple[object, ...]:
        # Kinds of this error take other arguments; from another process they come as they were.
        return _as_it_was, (type(self), self.args, vars(self))

    def __str__(self) -> str:
        width = max((len(key) for key in self.details), default=0) + 1
        lines = [f"  {key + ':':<{width}} {value}" for key, value in self.details.items()]
        return "\n".join([self.summary, *lines])


def _as_it_was(kind: type[ModelError], args: tuple[object, ...], state: dict[str, object]) -> ModelError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The nearest known name as a phrase to append to an error, or the whole list where nothing is near."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + (", ".join(known) if known else "none")
