"""LLM calls in notebooks that survive rate limits, dead keys and provider outages.

    import llm_executor_nb as llm
    llm.run_llm("google/gemma-3-27b-it", "What is the capital of France?").content
    out = df.llm.run("google/gemma-3-27b-it", "review")

The settings `OPENROUTER_KEYS`, `HUGGINGFACE_TOKENS`, `MODEL_INFERENCE_PROVIDERS` and `retry_wait_strategy` may be
changed in place or assigned; the next call uses them. (A name got by `from llm_executor_nb import OPENROUTER_KEYS`
sees what is appended, not what is assigned later.)
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain import warmup as _warmup
from llm_executor_nb.chain.api import arun_llm, astream_llm, chat_model, run_llm, stream_llm
from llm_executor_nb.chain.compile import _build_fallback_chain, _fallback_chain_cache
from llm_executor_nb.chain.configuration import SettingsModule, add_backend, configure
from llm_executor_nb.chain.inspection import attempts, health, reset_health
from llm_executor_nb.chain.key_lookups import check_keys
from llm_executor_nb.chain.login import login
from llm_executor_nb.chain.lookups import sync_models
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import last as _last
from llm_executor_nb.core.errors import (
    AllRoutesFailedError,
    BudgetError,
    ConfigError,
    DeadlineError,
    JobInterrupted,
    LLMExecutorError,
    LLMExecutorWarning,
    MissingExtraError,
    MissingKeyError,
    ModelNotSupportedError,
    RequestError,
    StreamInterruptedError,
)
from llm_executor_nb.core.policy import Policy
from llm_executor_nb.frames.accessor import register_accessors
from llm_executor_nb.frames.dask_import import register_dask_accessor
from llm_executor_nb.notebook.panel import panel
from llm_executor_nb.rehearsal.rehearse import rehearse
from llm_executor_nb.store.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell
    from langchain_core.messages import AIMessage
    from tenacity import RetryCallState

    from llm_executor_nb.chain.models import Models
    from llm_executor_nb.settings.keys import Keys

    OPENROUTER_KEYS: list[str]
    HUGGINGFACE_TOKENS: list[str]
    MODEL_INFERENCE_PROVIDERS: dict[str, list[str]]
    retry_wait_strategy: Callable[[RetryCallState], float]
    keys: Keys
    models: Models
    ledger: Ledger
    last: AIMessage | pd.DataFrame | pd.Series[Any] | None

__version__ = "0.1.0"
__all__ = [
    "HUGGINGFACE_TOKENS",
    "MODEL_INFERENCE_PROVIDERS",
    "OPENROUTER_KEYS",
    "AllRoutesFailedError",
    "BudgetError",
    "ConfigError",
    "DeadlineError",
    "JobInterrupted",
    "LLMExecutorError",
    "LLMExecutorWarning",
    "MissingExtraError",
    "MissingKeyError",
    "ModelNotSupportedError",
    "Policy",
    "RequestError",
    "StreamInterruptedError",
    "add_backend",
    "arun_llm",
    "astream_llm",
    "attempts",
    "chat_model",
    "check_keys",
    "configure",
    "health",
    "keys",
    "last",
    "ledger",
    "login",
    "models",
    "panel",
    "rehearse",
    "reset_health",
    "retry_wait_strategy",
    "run_llm",
    "stream_llm",
    "sync_models",
]
_CACHED_CHAINS = (_build_fallback_chain, _fallback_chain_cache)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has its own type
    if name == "ledger":
        return Ledger(session().ledger)
    if name == "last":
        return _last()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Make `%%llm` and `%llm` known to an IPython shell: `%load_ext llm_executor_nb`."""
    from llm_executor_nb.notebook.magics import load  # noqa: PLC0415 - IPython is loaded only where it runs

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take `%%llm` and `%llm` out of an IPython shell."""
    from llm_executor_nb.notebook.magics import unload  # noqa: PLC0415 - IPython is loaded only where it runs

    unload(shell)


if not logging.getLogger(__name__).handlers:  # a reloaded module adds no second one
    logging.getLogger(__name__).addHandler(logging.NullHandler())
register_accessors()
register_dask_accessor()
_module: Any = sys.modules[__name__]
_module.__class__ = SettingsModule
_warmup.begin_in_a_kernel()
