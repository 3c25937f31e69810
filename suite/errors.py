"""The one error that is the user's to mend; everything else is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: one sentence with what was found, what was expected and what to type next.

    The command line prints the sentence alone and exits with code 2.
    """


def nearest(found: str, valid: Iterable[str]) -> str:
    """The valid names closest to `found`, as the end of a sentence: ``"; did you mean 'a' or 'b'?"``.

    Without a close one, all valid names are listed when there are fewer than twenty.
    """
    names = sorted(valid)
    close = difflib.get_close_matches(found, names, n=3, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    if names and len(names) < 20:
        return "; there is " + ", ".join(f"'{name}'" for name in names)
    return ""
