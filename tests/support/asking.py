"""The ways in which a LangChain model is asked, as functions that look alike, and what they are asked here."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel
from rehearsing import fresh
from tenacity import wait_none

import llm_executor_nb as llm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_executor_nb.rehearsal.rehearse import Rehearsal

OTHER = "my/other"
NO_KEY = "openrouter: 401"
QUESTION = "What is 'red' times 7?"


class Report(BaseModel):
    """A report."""

    colour: str
    number: int


REPORT = Report(colour="red", number=7)
"""What a practice answer makes of QUESTION."""


@tool
def paint(colour: str, number: int) -> str:
    """Paint."""
    return f"{number} {colour}"


@contextmanager
def rehearsals() -> Iterator[Callable[..., Rehearsal]]:
    """Give a test what starts a rehearsal of a script, without waits, and end what it started."""
    servers = []

    def begin(script="", **options):
        servers.append(llm.rehearse(script, **options).start())
        llm.retry_wait_strategy = wait_none()
        llm.MODEL_INFERENCE_PROVIDERS[OTHER] = ["b"]
        return servers[-1]

    with fresh():
        yield begin
        for server in servers:
            server.stop()


def invoked(model, /, *args, **kwargs):
    return model.invoke(*args, **kwargs)


def ainvoked(model, /, *args, **kwargs):
    return asyncio.run(model.ainvoke(*args, **kwargs))


def streamed(model, /, *args, **kwargs):
    return reduce(add, model.stream(*args, **kwargs))


def astreamed(model, /, *args, **kwargs):
    async def collect():
        return [chunk async for chunk in model.astream(*args, **kwargs)]

    return reduce(add, asyncio.run(collect()))


def batched(model, /, *args, **kwargs):
    return model.batch([*args], **kwargs)[0]


def abatched(model, /, *args, **kwargs):
    return asyncio.run(model.abatch([*args], **kwargs))[0]


WAYS = pytest.mark.parametrize("ask", [invoked, ainvoked, streamed, astreamed, batched, abatched])
