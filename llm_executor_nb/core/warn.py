"""Warns at the user's own line: however deep in the package something was found out, no line here is to blame."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from llm_executor_nb.core.errors import LLMExecutorWarning

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


def warn(words: str) -> None:
    """Warn, pointing at the innermost line that is not the package's own."""
    level, frame = 1, sys._getframe()  # noqa: SLF001 - how the library itself counts; 3.12 has skip_file_prefixes
    while (caller := frame.f_back) is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, caller
    warnings.warn(words, LLMExecutorWarning, stacklevel=level)
