"""Search OpenRouter's catalogue and Hugging Face's router list together: `llm.models.search`. Costs nothing.

The lists are kept on disk with their age, so that a search works offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

COLUMNS = {
    "model": "string",
    "input_usd_per_million": "Float64",
    "output_usd_per_million": "Float64",
    "context_length": "Int64",
    "modalities": "string",
    "tools": "boolean",
    "schema": "boolean",
    "providers": "object",
    "is_free": "boolean",
    "zdr": "boolean",
    "expires": "datetime64[us, UTC]",
}
"""`providers`: a list of dicts, one for each Hugging Face provider: name, latency_s, throughput, prices."""


def search(
    text: str = "",
    *,
    images: bool | None = None,
    files: bool | None = None,
    tools: bool | None = None,
    schema: bool | None = None,
    free: bool | None = None,
    max_price: tuple[float, float] | None = None,
    providers: str | Iterable[str] | None = None,
    zdr: bool | None = None,
) -> pd.DataFrame:
    """Return the models that match, one row each, those whose name fits best first."""
    raise NotImplementedError
