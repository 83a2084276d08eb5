"""The provider table as it is shipped: a dozen open models that many people use.

The ids and providers are those that OpenRouter and Hugging Face's router listed in August to October 2026. The row of
the first users stays as they had it. Lists change: `tests/by_hand/check_models.py` compares this table with both, and
`llm.sync_models()` does so for a user.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from llm_executor_nb.core.records import HUGGINGFACE

LEFT: Final = {"nebius": "left Hugging Face on 2026-07-01"}
"""Providers that are known to have left, and when; shown beside their name."""


class Shipped(NamedTuple):
    """A row: the model's id at OpenRouter, a short name, its id at Hugging Face, and its providers there in order."""

    model: str
    alias: str
    id_at_huggingface: str
    providers: tuple[str, ...]


SHIPPED: Final = (
    # nebius costs one refused request and is then held
    Shipped("google/gemma-3-27b-it", "gemma", "google/gemma-3-27b-it", ("nebius", "featherless-ai", "scaleway")),
    Shipped("google/gemma-4-31b-it", "gemma-4", "google/gemma-4-31B-it", ("novita", "cerebras")),
    Shipped(
        "google/gemma-4-26b-a4b-it", "gemma-4-26b", "google/gemma-4-26B-A4B-it", ("deepinfra", "scaleway", "novita")
    ),
    Shipped("openai/gpt-oss-120b", "gpt-oss", "openai/gpt-oss-120b", ("ovhcloud", "groq", "scaleway")),
    Shipped("openai/gpt-oss-20b", "gpt-oss-20b", "openai/gpt-oss-20b", ("ovhcloud", "groq", "together")),
    Shipped(
        "meta-llama/llama-3.3-70b-instruct",
        "llama",
        "meta-llama/Llama-3.3-70B-Instruct",
        ("ovhcloud", "scaleway", "together"),
    ),
    Shipped(
        "meta-llama/llama-3.1-8b-instruct",
        "llama-8b",
        "meta-llama/Llama-3.1-8B-Instruct",
        ("deepinfra", "nscale", "novita"),
    ),
    Shipped("qwen/qwen3.8-27b", "qwen", "Qwen/Qwen3.8-27B", ("ovhcloud", "deepinfra", "cerebras")),
    Shipped("qwen/qwen3.5-9b", "qwen-9b", "Qwen/Qwen3.5-9B", ("ovhcloud", "deepinfra", "together")),
    Shipped(
        "deepseek/deepseek-v4-flash-0731",
        "deepseek",
        "deepseek-ai/DeepSeek-V4-Flash-0731",
        ("deepinfra", "together", "scaleway"),
    ),
    Shipped("z-ai/glm-5.2", "glm", "zai-org/GLM-5.2", ("together", "fireworks-ai", "scaleway")),
    Shipped("moonshotai/kimi-k3", "kimi", "moonshotai/Kimi-K3", ("fireworks-ai", "together", "baseten")),
)


def shipped_parts() -> dict[str, Any]:
    """Return the shipped table as the attributes of a `ModelTable`, for its user to change."""
    return {
        "providers": {row.model: list(row.providers) for row in SHIPPED},
        "aliases": {row.alias: row.model for row in SHIPPED},
        "names": {
            row.model: {HUGGINGFACE: row.id_at_huggingface} for row in SHIPPED if row.id_at_huggingface != row.model
        },
        "off_openrouter": set(),
    }
