"""The one kind of error a user can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what was wrong, and what to do about it. The command line prints it
    on stderr and exits with code 2; from Python it is a `ValueError`.
    """
