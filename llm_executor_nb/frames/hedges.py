"""What hedging did in a job, by its attempt log: the twins of late requests, what they saved, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.view.text import dollars, duration

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedges:
    """The twins of a job's late requests.

    Attributes:
        twins: how many were sent.
        won: answers that came from a twin.
        saved_s: an estimate of the seconds that they saved, all rows added up: how much longer requests took that were
            left to end. None: none of them took as long.
        cost_usd: dollars of the requests that lost, as far as they are known; None: none is.
        unknown: requests that lost and whose cost is unknown.
    """

    twins: int
    won: int
    saved_s: float | None
    cost_usd: float | None
    unknown: int

    def __str__(self) -> str:
        saved = "" if self.saved_s is None else f"; about {duration(self.saved_s)} saved, all rows added up"
        known = "" if self.cost_usd is None else f"; they cost {dollars(self.cost_usd)}"
        unknown = f"; {self.unknown:,} of unknown cost" if self.unknown else ""
        return f"{self.twins:,} twins, {self.won:,} of them answered first{saved}{known}{unknown}"


def hedges_in(attempts: pd.DataFrame) -> Hedges:
    """Return what hedging did.

    Args:
        attempts: the attempts of a job, as `attempts()` returns them.
    """
    is_hedged = attempts["decision"] == Decision.HEDGE.value
    hedged, accepted = attempts[is_hedged], attempts[attempts["decision"] == Decision.ACCEPT.value]
    after = accepted.assign(attempt=accepted["attempt"] - 1)[["run_id", "attempt", "started_utc"]]
    pairs = hedged.merge(after, on=["run_id", "attempt"], suffixes=("", "_of_answer"))
    won = pairs[pairs["started_utc"] < pairs["started_utc_of_answer"]]
    cut = won.loc[won["outcome"] == Outcome.CANCELLED.value, "duration_s"]
    ended = attempts.loc[attempts["outcome"] != Outcome.CANCELLED.value, "duration_s"]
    known = hedged["cost_usd"].dropna()
    return Hedges(
        twins=len(hedged),
        won=len(won),
        saved_s=_saved_s(_floats(cut), np.sort(_floats(ended))),
        cost_usd=float(known.sum()) if len(known) else None,
        unknown=len(hedged) - len(known),
    )


def _saved_s(cut: NDArray[Any], ended: NDArray[Any]) -> float | None:
    """Return how much longer cancelled requests would have taken, by those that ended, in ascending order."""
    if not len(cut) or not len(ended):
        return None
    longer = np.append(np.cumsum(ended[::-1])[::-1] / np.arange(len(ended), 0, -1), np.nan)
    left = longer[np.searchsorted(ended, cut, side="right")] - cut
    return None if np.isnan(left).all() else float(np.nansum(left))


def _floats(seconds: pd.Series[Any]) -> NDArray[Any]:
    return seconds.dropna().to_numpy(dtype=float)
