"""Compare the shipped provider table with the lists of OpenRouter and of Hugging Face's router. Needs network, no key.

    python tests/by_hand/check_models.py

Prints each row with what the lists say of it, and exits with 1 when a model or a provider is gone. The row of the first
users stays as it is, so a provider that is known to have left is only named.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from llm_executor_nb.settings.shipped_models import LEFT, SHIPPED, Shipped

OPENROUTER, HUGGINGFACE = "https://openrouter.ai/api/v1", "https://router.huggingface.co/v1"
TIMEOUT_S = 30.0


def main(openrouter_url: str = OPENROUTER, huggingface_url: str = HUGGINGFACE) -> int:
    """Compare all rows, print what was found, and return the exit status."""
    ids = models_at(openrouter_url)
    offers = models_at(huggingface_url)
    found = {row.model: [*wrong_at_openrouter(row, ids), *wrong_at_huggingface(row, offers)] for row in SHIPPED}
    for row in SHIPPED:
        left = [f"{provider} {LEFT[provider]}" for provider in row.providers if provider in LEFT]
        print(f"{row.model} ({row.alias}): {'; '.join([*found[row.model], *left]) or 'as listed'}")
        print(f"    others at Hugging Face: {', '.join(others(row, offers)) or 'none'}")
    return 1 if any(found.values()) else 0


def models_at(url: str) -> dict[str, dict[str, Any]]:
    """Return the models that a backend lists, by id."""
    with urllib.request.urlopen(f"{url}/models", timeout=TIMEOUT_S) as reply:  # noqa: S310 - one of our two, or a test's
        return {model["id"]: model for model in json.load(reply)["data"]}


def wrong_at_openrouter(row: Shipped, ids: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is wrong with a row by OpenRouter's list."""
    if row.model not in ids:
        return ["OpenRouter does not list it"]
    told = ids[row.model].get("hugging_face_id") or row.id_at_huggingface
    is_same = told.casefold() == row.id_at_huggingface.casefold()
    return [] if is_same else [f"OpenRouter calls it {told} at Hugging Face, and the row {row.id_at_huggingface}"]


def wrong_at_huggingface(row: Shipped, offers: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is wrong with a row by the list of Hugging Face's router."""
    if row.id_at_huggingface not in offers:
        return [f"Hugging Face does not list {row.id_at_huggingface}"]
    live = live_providers(row, offers)
    return [f"{name} does not serve it" for name in row.providers if name not in live and name not in LEFT]


def live_providers(row: Shipped, offers: dict[str, dict[str, Any]]) -> list[str]:
    """Return the providers that serve a model now."""
    listed = offers.get(row.id_at_huggingface, {}).get("providers", [])
    return [offer["provider"] for offer in listed if offer.get("status", "live") == "live"]


def others(row: Shipped, offers: dict[str, dict[str, Any]]) -> list[str]:
    """Return the providers that serve a model and are not in its row."""
    return [name for name in live_providers(row, offers) if name not in row.providers]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
