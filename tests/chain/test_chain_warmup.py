"""LangChain loads in the background where the package is imported in a kernel, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTED = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
if {is_kernel}:
    shell.kernel = object()  # as a kernel's shell has it
import llm_executor_nb
from llm_executor_nb.chain import warmup
if warmup._thread is not None:
    warmup._thread.join()
print("langchain_openai" in sys.modules, "aiohttp" in sys.modules, warmup.is_loading())
"""


@pytest.mark.parametrize(("is_kernel", "told"), [(True, "True True False"), (False, "False False True")])
def test_an_import_in_a_kernel_loads_langchain_in_the_background(is_kernel, told):
    program = IMPORTED.format(is_kernel=is_kernel)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == (told, "")
