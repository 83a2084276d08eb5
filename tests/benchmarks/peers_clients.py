"""The clients that `peers.py` compares; each runs in a process of its own: `python peers_clients.py NAME`.

Each line on stdin is a run as JSON; it prints a line with the seconds, the CPU, and how many rows were lost or wrong.
Every peer is used as its documentation shows, with care: a row that fails is asked again, up to `TRIES` times in all,
at the next key or provider where there is one. Connections are made for each run; imports are paid before it.
"""

# ruff: noqa: PLC0415 - each process loads only the libraries of its own client

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Answers = list[str | None]
    Ask = Callable[[int, str], Awaitable[str | None]]
    Work = Callable[[list[str]], Answers]

MODEL = "my/model"
TRIES = 4
LOOP = asyncio.Runner()
"""One for the life of the process: LangChain and litellm keep connections, and those belong to a loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One way to reach the model: an address, a key, and the model's name there."""

    url: str
    key: str
    provider: str | None = None

    @property
    def model(self) -> str:
        """The model, as it is written there."""
        return f"{MODEL}:{self.provider}" if self.provider else MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a client.

    Attributes:
        number: of the run; prompts and keys have it, so that nothing of an earlier one is reused.
        rows, concurrency: how many, and how many of them at once.
        timeout_s: of one attempt.
        keys: the endpoints that are equals.
        others: the endpoints for what those cannot answer, in order.
        rate: the requests a second that each key may send; only the bare client is told.
        options: further options of our own column.
    """

    number: int
    rows: int
    concurrency: int
    timeout_s: float
    keys: tuple[Endpoint, ...]
    others: tuple[Endpoint, ...] = ()
    rate: float = 0.0
    options: dict[str, Any]

    @classmethod
    def read(cls, line: str) -> Run:
        """Read a run from its JSON."""
        fields = json.loads(line)
        for name in ("keys", "others"):
            fields[name] = tuple(Endpoint(**one) for one in fields[name])
        return cls(**fields)

    @property
    def prompts(self) -> list[str]:
        """The prompts of the rows."""
        return [f"Question {row} of run {self.number}: what is the capital of France?" for row in range(self.rows)]

    def places(self, row: int) -> list[int]:
        """Return which endpoints a row asks, one for each try: its key first, so that the keys share the rows."""
        keys, others = len(self.keys), len(self.others)
        order = [(row + number) % keys for number in range(keys)] + [keys + number for number in range(others)]
        return (order * TRIES)[: max(TRIES, len(order))]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them, the equals first."""
        return self.keys + self.others


async def spread(prompts: list[str], concurrency: int, ask: Ask) -> Answers:
    """Ask all prompts with so many workers, who share one iterator: the cheapest way there is."""
    answers: Answers = [None] * len(prompts)
    rows = iter(enumerate(prompts))

    async def work() -> None:
        for row, prompt in rows:
            answers[row] = await ask(row, prompt)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return answers


@contextmanager
def bare(run: Run) -> Iterator[Work]:
    """Nothing but aiohttp: told the limits, asks again at once, never asks again what is dead. No log, no ledger."""
    import aiohttp

    dead: set[int] = set()
    due = [0.0] * len(run.endpoints)

    async def opened() -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=run.timeout_s)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)

    async def ask(row: int, prompt: str) -> str | None:
        for place in run.places(row) * 2:
            if place in dead:
                continue
            if run.rate:
                now = time.perf_counter()
                due[place] = max(now, due[place] + 1 / run.rate)
                await asyncio.sleep(due[place] - now)
            endpoint = run.endpoints[place]
            body = {"model": endpoint.model, "messages": [{"role": "user", "content": prompt}]}
            try:
                async with session.post(
                    f"{endpoint.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {endpoint.key}"}
                ) as reply:
                    answer = await reply.json()
            except TimeoutError:
                continue
            if "choices" in answer:
                return answer["choices"][0]["message"]["content"]
            if reply.status == 401 or (endpoint.provider and reply.status == 503):
                dead.add(place)
        return None

    session = LOOP.run(opened())
    yield lambda prompts: LOOP.run(spread(prompts, run.concurrency, ask))
    LOOP.run(session.close())


@contextmanager
def async_openai(run: Run, *, is_on_aiohttp: bool = False) -> Iterator[Work]:
    """AsyncOpenAI with its own retries, one client for each endpoint."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def opened() -> list[AsyncOpenAI]:
        return [
            AsyncOpenAI(
                api_key=endpoint.key,
                base_url=endpoint.url,
                timeout=run.timeout_s,
                http_client=DefaultAioHttpClient() if is_on_aiohttp else None,
            )
            for endpoint in run.endpoints
        ]

    async def ask(row: int, prompt: str) -> str | None:
        for place in run.places(row):
            try:
                reply = await clients[place].chat.completions.create(
                    model=run.endpoints[place].model, messages=[{"role": "user", "content": prompt}]
                )
                return reply.choices[0].message.content
            except Exception:  # noqa: BLE001, S112 - an error in a 200 is a TypeError here
                continue
        return None

    clients = LOOP.run(opened())
    yield lambda prompts: LOOP.run(spread(prompts, run.concurrency, ask))
    for client in clients:
        LOOP.run(client.close())


def on_aiohttp(run: Run) -> Any:
    """Return the same on aiohttp."""
    return async_openai(run, is_on_aiohttp=True)


def _chat_models(run: Run, **options: object) -> list[Any]:
    from langchain_openai import ChatOpenAI

    return [
        ChatOpenAI(model=one.model, api_key=one.key, base_url=one.url, timeout=run.timeout_s, **options)
        for one in run.endpoints
    ]


@contextmanager
def abatch(run: Run) -> Iterator[Work]:
    """LangChain: one abatch for each key, with all other endpoints as fallbacks."""
    models = _chat_models(run)
    count = min(len(run.keys), run.concurrency)
    asked = [_with_fallbacks(models, run.places(number)) for number in range(count)]
    config = {"max_concurrency": run.concurrency // count}

    async def work(prompts: list[str]) -> Answers:
        shares = (
            one.abatch(prompts[number::count], config=config, return_exceptions=True)
            for number, one in enumerate(asked)
        )
        answers: Answers = [None] * len(prompts)
        for number, share in enumerate(await asyncio.gather(*shares)):
            answers[number::count] = [getattr(message, "content", None) for message in share]
        return answers

    yield lambda prompts: LOOP.run(work(prompts))


def _with_fallbacks(models: list[Any], places: list[int]) -> Any:
    first, *others = dict.fromkeys(places)
    return models[first].with_fallbacks([models[place] for place in others]) if others else models[first]


@contextmanager
def threads(run: Run) -> Iterator[Work]:
    """A pool of threads, tenacity around ChatOpenAI, and the next endpoint at each try."""
    from tenacity import Retrying, stop_after_attempt, wait_random_exponential

    models = _chat_models(run, max_retries=0)
    retrying = Retrying(wait=wait_random_exponential(min=1, max=20), stop=stop_after_attempt(len(run.places(0))))

    def ask(row: int, prompt: str) -> str | None:
        places = iter(run.places(row))
        try:
            return retrying.copy()(lambda: models[next(places)].invoke(prompt).content)
        except Exception:  # noqa: BLE001 - a lost row
            return None

    with ThreadPoolExecutor(run.concurrency) as pool:
        yield lambda prompts: list(pool.map(ask, range(len(prompts)), prompts))


@contextmanager
def router(run: Run) -> Iterator[Work]:
    """The litellm Router: the keys are deployments of one group, the other endpoints its fallbacks."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    names = ["keys"] * len(run.keys) + [one.provider for one in run.others]
    deployments = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{one.model}", "api_key": one.key, "api_base": one.url},
        }
        for name, one in zip(names, run.endpoints, strict=True)
    ]
    fallbacks = [{"keys": names[len(run.keys) :]}] if run.others else []

    async def ask(_: int, prompt: str) -> str | None:
        try:
            reply = await made.acompletion("keys", [{"role": "user", "content": prompt}])
            return reply.choices[0].message.content
        except Exception:  # noqa: BLE001 - a lost row
            return None

    made = litellm.Router(deployments, num_retries=TRIES - 1, timeout=run.timeout_s, fallbacks=fallbacks)
    yield lambda prompts: LOOP.run(spread(prompts, run.concurrency, ask))


def _configured(run: Run) -> Any:
    import llm_executor_nb as llm

    tokens = {one.key for one in run.others}
    llm.models.add(MODEL, providers=[one.provider for one in run.others] or ["none"])
    llm.configure(
        openrouter_keys=[one.key for one in run.keys],
        huggingface_tokens=list(tokens),
        openrouter_base_url=run.keys[0].url,
        **({"huggingface_base_url": run.others[0].url} if run.others else {}),
    )
    llm.reset_health()
    return llm


class Column:
    """Our column, with its log and its ledger, as `df.llm.run` makes it."""

    def __init__(self, run: Run) -> None:
        import pandas as pd

        self._run, self._llm, self._frame, self._out = run, _configured(run), pd.DataFrame, None

    def __call__(self, prompts: list[str]) -> Answers:
        """Run the column."""
        run = self._run
        self._out = self._frame({"q": prompts}).llm.run(
            MODEL, "q", progress=False, timeout=run.timeout_s, **{"concurrency": run.concurrency, **run.options}
        )
        return self._out["q_llm"].to_list()

    @property
    def logged(self) -> int:
        """How many attempts its log has."""
        return len(self._llm.attempts(self._out))


@contextmanager
def column(run: Run) -> Iterator[Work]:
    """Our column."""
    yield Column(run)


@contextmanager
def calls(run: Run) -> Iterator[Work]:
    """Our calls by hand, one after the other."""
    llm = _configured(run)
    yield lambda prompts: [llm.run_llm(MODEL, prompt, timeout=run.timeout_s).content for prompt in prompts]


CLIENTS = {
    "column": column,
    "calls": calls,
    "bare": bare,
    "openai": async_openai,
    "openai-aiohttp": on_aiohttp,
    "abatch": abatch,
    "threads": threads,
    "router": router,
}


def measure(name: str, run: Run) -> dict[str, float]:
    """Make the client, let it ask all rows, and compare each answer with its prompt."""
    with CLIENTS[name](run) as work:
        prompts = run.prompts
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        answers = work(prompts)
        took, spent = time.perf_counter() - began, time.process_time() - cpu
    wanted = [prompt.replace("Question", "Answer") for prompt in prompts]
    is_text = [isinstance(answer, str) for answer in answers]
    wrong = sum(answer != want for answer, want, text in zip(answers, wanted, is_text, strict=True) if text)
    logged = getattr(work, "logged", 0)
    return {"wall_s": took, "cpu_s": spent, "lost": is_text.count(False), "wrong": wrong, "logged": logged}


def main() -> None:
    """Run what stdin says."""
    replies, sys.stdout = sys.stdout, sys.stderr  # the libraries may print
    for line in sys.stdin:
        print(json.dumps(measure(sys.argv[1], Run.read(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
