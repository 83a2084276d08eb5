"""`%llm models search`: what the search found, as a table of a few columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.model_search import search
from llm_executor_nb.settings.models import SHOWN
from llm_executor_nb.view.html import line_part, stacked, table_part
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from llm_executor_nb.view.html import Bundle

_COLUMNS = ("model", "input, million tokens", "output", "context", "modalities", "Hugging Face", "ends")


def found_models(text: str) -> Bundle:
    """Return the models of the backends' lists that fit a text, as many as can be read, and how to add one."""
    found = search(text)
    if found.empty:
        return stacked(
            line_part(f"No model of the lists has {text} in its name. openrouter.ai/models has them all.", "dim")
        )
    rows = [_row(one) for one in found.head(SHOWN).itertuples()]
    more = len(found) - SHOWN
    rest = [line_part(f"… and {more:,} more; a longer part of the name finds fewer", "dim")] if more > 0 else []
    add = line_part(
        f"llm.models.add({found['model'].iloc[0]!r}) adds one; llm.models.search has more conditions", "dim"
    )
    return stacked(table_part(_COLUMNS, rows), *rest, add)


def _row(one: Any) -> list[object]:  # noqa: ANN401 - a row of a frame has no type
    context = None if pd.isna(one.context_length) else f"{one.context_length:,}"
    names = None if one.providers is None else ", ".join(each["provider"] for each in one.providers)
    prices = (_price(one.input_usd_per_million), _price(one.output_usd_per_million))
    modalities = None if pd.isna(one.modalities) else one.modalities
    return [one.model, *prices, context, modalities, names, None if pd.isna(one.expires) else f"{one.expires:%Y-%m-%d}"]


def _price(usd: Any) -> str | None:  # noqa: ANN401 - as above
    return None if pd.isna(usd) else dollars(usd)
