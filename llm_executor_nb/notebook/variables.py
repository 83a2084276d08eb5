"""The user's own variables: what they made, without what IPython put beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def variables_of(shell: InteractiveShell | None) -> dict[str, Any]:
    """Return the variables of a shell's user; `In`, `Out`, `exit` and what begins with `_` are IPython's."""
    if shell is None:
        return {}
    hidden = shell.user_ns_hidden
    return {
        name: value
        for name, value in shell.user_ns.items()
        if not name.startswith("_") and (name not in hidden or hidden[name] is not value)
    }
