"""`%llm models search`: what the search found, as a table of a few columns."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.model_search import search
from llm_executor_nb.settings.models import SHOWN
from llm_executor_nb.view.html import line_part, stacked, table_part
from llm_executor_nb.view.text import dollars, fitted

if TYPE_CHECKING:
    from llm_executor_nb.view.html import Bundle

_COLUMNS = ("model", "input", "output", "context", "takes", "Hugging Face")
_NONE_LISTED = "There is no list to search; openrouter.ai/models shows one in a browser."
_THOUSAND, _MILLION = 1_000, 1_000_000


def found_models(text: str) -> Bundle:
    """Return the models of the backends' lists that fit a text, as many as can be read, and how to add one."""
    found = search(text)
    if found.empty:
        is_listed = any(age is not None for age in found.attrs["age_s"].values())
        none = f"No model of the lists has {text} in its name. openrouter.ai/models has them all."
        return line_part(none if is_listed else _NONE_LISTED, "dim")
    rows = [_row(one) for one in found.head(SHOWN).itertuples()]
    more = len(found) - SHOWN
    rest = [line_part(f"… and {more:,} more; a longer part of the name finds fewer", "dim")] if more > 0 else []
    more_words = line_part("prices of a million tokens; llm.models.search has more conditions", "dim")
    add = line_part(f"llm.models.add({found['model'].iloc[0]!r}) adds one", "dim")
    ends = [line_part(words, "dim") for one in found.head(SHOWN).itertuples() if (words := _end(one))]
    return stacked(_fitted_to_terminal(table_part(_COLUMNS, rows)), *rest, *ends, more_words, add)


def _fitted_to_terminal(table: Bundle) -> Bundle:
    """Cut the text's lines, whose last column is a list, where a terminal would break them."""
    columns = shutil.get_terminal_size().columns
    return {**table, "text/plain": "\n".join(fitted(line, columns) for line in table["text/plain"].splitlines())}


def _row(one: Any) -> list[object]:  # noqa: ANN401 - a row of a frame has no type
    context = None if pd.isna(one.context_length) else _tokens(one.context_length)
    names = None if one.providers is None else ", ".join(each["provider"] for each in one.providers)
    prices = (_price(one.input_usd_per_million), _price(one.output_usd_per_million))
    modalities = None if pd.isna(one.modalities) else one.modalities
    return [one.model, *prices, context, modalities, names]


def _end(one: Any) -> str:  # noqa: ANN401 - as above
    return "" if pd.isna(one.expires) else f"{one.model} ends on {one.expires:%Y-%m-%d}"


def _tokens(count: int) -> str:
    """Return a number of tokens, rounded: `131k`, `1.0M`."""
    return f"{count / _MILLION:.1f}M" if count >= _MILLION else f"{count // _THOUSAND}k"


def _price(usd: Any) -> str | None:  # noqa: ANN401 - as above
    return None if pd.isna(usd) else dollars(usd)
