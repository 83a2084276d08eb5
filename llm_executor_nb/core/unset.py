"""The mark of an argument that was not given, where None has a meaning of its own."""

from __future__ import annotations

from typing import Final


class Unset:
    """Its one instance, `UNSET`, says that an argument was left out."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()
