"""What the tests of columns share: a model with providers of its own, frames of prompts, and a quiet run."""

from __future__ import annotations

from typing import Any

import pandas as pd

MODEL = "my/model"
PROVIDERS = ["one", "two", "three"]
LOG_COLUMNS = ["", "_status", "_attempts", "_route", "_error", "_run"]


def prompts(count: int, start: int = 0, **options: Any) -> pd.DataFrame:
    """Return a frame with `count` different prompts in the column `q`."""
    return pd.DataFrame({"q": [f"question {number}." for number in range(start, start + count)]}, **options)


def run(frame: pd.DataFrame, *args: Any, **options: Any) -> pd.DataFrame:
    """Run the column `q` (or what is given) without showing progress."""
    where = args or (() if "template" in options else ("q",))
    return frame.llm.run(MODEL, *where, **{"progress": False, **options})


def statuses(out: pd.DataFrame, name: str = "q_llm") -> dict[str, int]:
    """Return how many rows came to what, without what none came to."""
    counts = out[f"{name}_status"].value_counts()
    return {status: int(count) for status, count in counts.items() if count}


def assert_own_answers(out: pd.DataFrame, name: str = "q_llm") -> None:
    """Check that every row that has an answer has its own."""
    answered = out[out[name].notna()]
    assert all(f"'{asked}'" in answer for asked, answer in zip(answered["q"], answered[name], strict=True))
