"""The four doors a request goes through by hand, as functions that look alike, and the two that stream."""

from __future__ import annotations

import asyncio
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import llm_executor_nb as llm

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessageChunk


def chunks_of(*args: Any, **options: Any) -> list[AIMessageChunk]:
    """Return all chunks of `stream_llm`."""
    return list(llm.stream_llm(*args, **options))


def achunks_of(*args: Any, **options: Any) -> list[AIMessageChunk]:
    """Return all chunks of `astream_llm`, read in an event loop of its own."""

    async def collect() -> list[AIMessageChunk]:
        return [chunk async for chunk in llm.astream_llm(*args, **options)]

    return asyncio.run(collect())


def _asked_in_a_loop(*args: Any, **options: Any) -> Any:
    return asyncio.run(llm.arun_llm(*args, **options))


def _sum_of(stream: Callable[..., list[AIMessageChunk]]) -> Callable[..., Any]:
    return lambda *args, **options: reduce(add, stream(*args, **options))


STREAMS: dict[str, Callable[..., list[AIMessageChunk]]] = {"stream": chunks_of, "astream": achunks_of}
"""The doors that stream, by name; each returns the list of chunks."""
DOORS: dict[str, Callable[..., Any]] = {
    "run": llm.run_llm,
    "arun": _asked_in_a_loop,
    **{name: _sum_of(stream) for name, stream in STREAMS.items()},
}
"""All four, by name; each returns the message, or the sum of the chunks."""
