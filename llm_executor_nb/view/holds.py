"""The holds as a frame with words for an empty one: an empty table reads like a fault."""

from __future__ import annotations

import pandas as pd

from llm_executor_nb.view.html import block, line

NOTHING_HELD = "Nothing is on hold."


class HoldsFrame(pd.DataFrame):
    """A frame of holds, a row each; a selection from it is a plain frame."""

    def __repr__(self) -> str:
        return super().__repr__() if len(self) else NOTHING_HELD

    def _repr_html_(self) -> str | None:
        if not len(self):
            return block(line(NOTHING_HELD, "dim"))
        html: str | None = super()._repr_html_()  # type: ignore[misc]  # the stubs do not know it
        return html
