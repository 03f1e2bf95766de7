"""The one kind of error a user can cause, and how anything is shown on a terminal."""

import sys
import warnings

LONGEST = 1000
"""Characters of a message; what is longer was not written by us."""

BRIEF = 200
"""Characters of another library's error that are shown."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what was wrong, and what to do about it. The command line prints it
    on stderr and exits with code 2; from Python it is a `ValueError`.

    >>> import winnrobust
    >>> winnrobust.load("zoo:nonesuch")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: no model 'nonesuch' comes with winnrobust; ...
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, keep="")[:LONGEST])


class EvaluationWarning(UserWarning):
    """A model seems to be used in another way than it was made for, so numbers may mean little.

    >>> import warnings, winnrobust
    >>> warnings.simplefilter("error", winnrobust.EvaluationWarning)  # take them seriously
    >>> warnings.simplefilter("default", winnrobust.EvaluationWarning)
    """


def warn(message: str) -> None:
    """Give an `EvaluationWarning` that points to the caller's code, not to ours."""
    level, frame = 2, sys._getframe(1)  # 1 is this function
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("winnrobust."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, EvaluationWarning, stacklevel=level)


def printable(text: str, keep: str = "\n") -> str:
    r"""Return text with everything that a terminal does not print shown as an escape.

    So the name of a file can neither move the cursor nor, where its bytes are not UTF-8, fail to be
    printed.

    Args:
        keep: characters that stay as they are.

    >>> printable("a\x1b[2Jb\udcff.png")
    'a\\x1b[2Jb\\xff.png'
    """
    return "".join(
        character if character.isprintable() or character in keep else _escaped(character)
        for character in text
    )


def brief(error: BaseException) -> str:
    """Return what an error says on one line, cut after a word where it becomes a story.

    >>> brief(ValueError("one  two\\nthree")), brief(KeyError()), brief(ValueError("x " * 200))[-8:]
    ('one two three', 'KeyError', 'x x x ...')
    """
    text = " ".join(str(error).split())
    if len(text) > BRIEF:
        text = text[:BRIEF].rsplit(" ", 1)[0] + " ..."
    return text or type(error).__name__


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
