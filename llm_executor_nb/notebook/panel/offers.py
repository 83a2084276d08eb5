"""A search of all models in words: one line for each model, with its prices, its context and who serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.core.advice import counted
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.view.text import dollars, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHOWN = 20
"""Models of a search that are shown; a longer text finds fewer."""
_SHOWN_PROVIDERS = 3
_NEW_S = 60.0
"""Seconds up to which the age of a list is not worth a word."""
_UNKNOWN = "unknown"


def found_words(found: pd.DataFrame) -> str:
    """Return how many models a search found, how many of them are shown, and how old the lists are."""
    shown = f"; {SHOWN} are shown, and a longer text finds fewer" if len(found) > SHOWN else ""
    ages = [age for age in found.attrs["age_s"].values() if age is not None]
    age = f" The lists are from {duration(max(ages))} ago." if ages and max(ages) > _NEW_S else ""
    return f"{counted(len(found), 'model')} found{shown}.{age}"


def offer_rows(found: pd.DataFrame) -> list[dict[str, str]]:
    """Return what is shown of the models that a search found, those that fit best first."""
    return [_offer_row(row) for row in found.head(SHOWN).to_dict("records")]


def _offer_row(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "model": row["model"],
        "price": _price(row),
        "context": _UNKNOWN if pd.isna(row["context_length"]) else f"{row['context_length']:,}",
        "providers": _providers(row["providers"] or ()),
        "marks": " · ".join(_marks(row)),
    }


def _price(row: Mapping[Any, Any]) -> str:
    if row["is_free"] is True:
        return "free"
    asked, answered = row["input_usd_per_million"], row["output_usd_per_million"]
    return _UNKNOWN if pd.isna(asked) or pd.isna(answered) else f"{dollars(asked)} in, {dollars(answered)} out"


def _providers(listed: Iterable[Mapping[str, Any]]) -> str:
    names = [_provider(one) for one in listed]
    more = len(names) - _SHOWN_PROVIDERS
    return " · ".join([*names[:_SHOWN_PROVIDERS], *([f"{more} more"] if more > 0 else [])]) or "none"


def _provider(one: Mapping[str, Any]) -> str:
    figures = [
        "" if one["latency_s"] is None else f"{one['latency_s']:.1f} s",
        "" if one["throughput"] is None else f"{one['throughput']:.0f} tokens/s",
    ]
    words = ", ".join(filter(None, figures))
    return plain(one["provider"]) + (f" ({words})" if words else "")


def _marks(row: Mapping[Any, Any]) -> Iterable[str]:
    """Yield what a model can do besides text, and what is particular about it."""
    if not pd.isna(row["modalities"]):
        yield row["modalities"]
    for name, words in (("tools", "tools"), ("schema", "structured output"), ("zdr", "keeps nothing")):
        if row[name] is True:
            yield words
    if not pd.isna(row["expires"]):
        yield f"until {row['expires']:%Y-%m-%d}"
