"""The first call after an import: ours in a real ipykernel, two seconds after the import; the peers in a plain Python.

python peers_first.py URL FOLDER SUPPORT     one kernel; SUPPORT is tests/support of the checkout that is measured
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "first"
IDLE_S = 2.0
"""Between the import and the call, as when a person writes the next cell."""
_KEY = "sk-or-v1-practice-0001"
_SETUP = """
llm.models.add("my/model", providers=["none"])
llm.configure(openrouter_keys=[{key!r}], huggingface_tokens=[], openrouter_base_url={url!r})
"""
_CALL = """
import time
began = time.perf_counter()
assert "Answer 0" in llm.run_llm("my/model", "Question 0 of run 0").content
print(time.perf_counter() - began)
"""
_PEER = """
import time
began = time.perf_counter()
{imports}
imported = time.perf_counter()
time.sleep({idle_s})
began_call = time.perf_counter()
answer = {call}
took = time.perf_counter() - began_call
assert "Answer 0" in answer, answer
print(imported - began, took)
"""
_PEERS = {
    "OpenAI": (
        "from openai import OpenAI",
        (
            "OpenAI(api_key={key!r}, base_url={url!r}).chat.completions.create(model='my/model', "
            "messages=[{{'role': 'user', 'content': 'Question 0 of run 0'}}]).choices[0].message.content"
        ),
    ),
    "ChatOpenAI": (
        "from langchain_openai import ChatOpenAI",
        "ChatOpenAI(model='my/model', api_key={key!r}, base_url={url!r}).invoke('Question 0 of run 0').content",
    ),
    "litellm": (
        "from litellm import completion",
        (
            "completion('openai/my/model', [{{'role': 'user', 'content': 'Question 0 of run 0'}}], api_key={key!r}, "
            "api_base={url!r}).choices[0].message.content"
        ),
    ),
}


def measure(
    root: str, folder: Path, rounds: int, checkouts: Sequence[Path], *, peers_python: Path | str | None
) -> None:
    """Measure each in a process of its own, so often, and print medians."""
    url = f"{root}/openrouter/api/v1"
    print(f"\n{NAME}: the first call, {IDLE_S:g} s after the import (wanted <= 0.4 s)", flush=True)
    for label, checkout in zip(("ours, in a kernel", "base ours, in a kernel"), checkouts, strict=False):
        figures = [_ours_s(url, folder / f"first-{label}-{number}", checkout) for number in range(rounds)]
        print(f"  {label:32} {statistics.median(figures):.2f} s", flush=True)
    for label, (imports, call) in _PEERS.items() if peers_python else ():
        code = _PEER.format(imports=imports, idle_s=IDLE_S, call=call.format(key=_KEY, url=url))
        told = [
            _printed([str(peers_python), "-c", code], {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}) for _ in range(rounds)
        ]
        imported, took = (statistics.median(figures) for figures in zip(*told, strict=True))
        print(f"  {label:32} {took:.2f} s, and {imported:.2f} s for its import", flush=True)


def _ours_s(url: str, folder: Path, checkout: Path) -> float:
    folder.mkdir()
    command = [sys.executable, __file__, url, str(folder), str(checkout / "tests" / "support")]
    (took,) = _printed(command, {"PYTHONPATH": str(checkout)})
    return took


def _printed(command: list[str], environment: dict[str, str]) -> list[float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    return [float(number) for number in done.stdout.split()]


def main(url: str, folder: str, support: str) -> None:
    """Measure one first call in a kernel that has imported the package."""
    sys.path.insert(0, support)
    from shells import kernel  # noqa: PLC0415 - of the checkout that is measured

    with kernel(Path(folder)) as running:
        imported = time.monotonic()
        running.run(_SETUP.format(key=_KEY, url=url))
        time.sleep(max(0.0, imported + IDLE_S - time.monotonic()))
        print(running.run(_CALL).of("stream")[0]["text"].strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
