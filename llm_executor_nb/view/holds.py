"""The holds as a frame with words for an empty one: an empty table reads like a fault."""

from __future__ import annotations

import pandas as pd

from llm_executor_nb.view.html import block, line, table

NOTHING_HELD = "Nothing is on hold."


class HoldsFrame(pd.DataFrame):
    """A frame of holds, a row each; a selection from it is a plain frame."""

    def __repr__(self) -> str:
        return super().__repr__() if len(self) else NOTHING_HELD

    def _repr_html_(self) -> str:
        if not len(self):
            return block(line(NOTHING_HELD, "dim"))
        # not pandas' own: it lets front ends typeset the formulas in a provider's words
        rows = self.astype(object).where(self.notna(), None).itertuples(index=False)
        return block(table([str(name) for name in self.columns], rows))
