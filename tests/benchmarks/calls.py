"""CPU of one plain call, against the OpenAI client that LangChain would use, in one interleaved run.

    python tests/benchmarks/calls.py

Prints milliseconds of CPU per call (this thread's and the private loop's) and the ratio; read the ratio.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import llm_executor_nb as llm

ROUNDS, CALLS = 9, 100
KEY = "sk-or-v1-fake-0001"
PROMPT = "What is the capital of France?"


def _ours() -> None:
    for _ in range(CALLS):
        llm.run_llm("gemma", PROMPT)


def _openai(url: str) -> None:
    from openai import AsyncOpenAI  # noqa: PLC0415 - a benchmark of two things

    async def calls() -> None:
        async with AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0) as client:
            for _ in range(CALLS):
                await client.chat.completions.create(
                    model="google/gemma-3-27b-it",
                    messages=[{"role": "user", "content": PROMPT}],
                )

    asyncio.run(calls())


def main() -> None:
    """Run both in turns, the server in a process of its own."""
    import subprocess  # noqa: PLC0415 - only the benchmark starts one

    serve = (
        "import sys, time; from llm_executor_nb.rehearsal.server import RehearsalServer as S; s = S().start(); "
        "print(s.openrouter_url, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        llm.configure(openrouter_keys=[KEY], huggingface_tokens=[], openrouter_base_url=url)
        found = {"llm.run_llm": [], "AsyncOpenAI": []}
        llm.run_llm("gemma", PROMPT)
        for _ in range(ROUNDS):
            for name, work in (("llm.run_llm", _ours), ("AsyncOpenAI", lambda: _openai(url))):
                began = time.process_time()
                work()
                found[name].append((time.process_time() - began) / CALLS * 1000)
        server.stdin.close()
    ours, theirs = (statistics.median(times) for times in found.values())
    print(f"run_llm {ours:.3f} ms, AsyncOpenAI {theirs:.3f} ms, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
