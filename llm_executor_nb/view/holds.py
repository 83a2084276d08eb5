"""The holds as a frame that says in words when there are none: an empty table reads like a fault."""

from __future__ import annotations

import pandas as pd

from llm_executor_nb.view.html import block, line

NOTHING_HELD = "Nothing is on hold."


class HoldsFrame(pd.DataFrame):
    """A frame of holds, a row each; what is made of it is a plain frame."""

    def __repr__(self) -> str:
        return super().__repr__() if len(self) else NOTHING_HELD

    def _repr_html_(self) -> str | None:
        if not len(self):
            return block(line(NOTHING_HELD, "dim"))
        shown: str | None = super()._repr_html_()  # type: ignore[misc]  # the stubs do not know it
        return shown
