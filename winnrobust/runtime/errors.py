"""The one kind of error a user can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what was wrong, and what to do about it. The command line prints it
    on stderr and exits with code 2; from Python it is a `ValueError`.
    """


def brief(error: BaseException) -> str:
    """Return what an error says on one line, cut where it becomes a story."""
    return " ".join(str(error).split())[:200] or type(error).__name__
