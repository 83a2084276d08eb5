"""What `peers.py` measures: the scenarios, and who takes part in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from peers_server import Faults

QUICKER = 4
"""So many times fewer rows with `--quick`."""


class Figure(StrEnum):
    """What is told of a run."""

    CPU = "ms CPU a call"
    RATE = "rows/s"
    RATIO = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One client, and how it is used.

    Attributes:
        label: how it is called in what is printed.
        client: its name in `peers_clients.py`.
        options: further options of our column.
    """

    label: str
    client: str
    options: dict[str, Any] = field(default_factory=dict)


BARE = Variant(label="bare aiohttp", client="bare")
PEERS = (
    Variant(label="AsyncOpenAI", client="openai"),
    Variant(label="AsyncOpenAI on aiohttp", client="openai-aiohttp"),
    Variant(label="ChatOpenAI.abatch", client="abatch"),
    Variant(label="ChatOpenAI, threads, tenacity", client="threads"),
    Variant(label="litellm Router", client="router"),
)
OURS = Variant(label="ours", client="column")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario.

    Attributes:
        name: for `--only`.
        title: for the table.
        faults: how the provider behaves.
        rows: how many are asked.
        concurrency: how many at once.
        in_flight: how many at once the best time is reckoned with; None: as many as `concurrency`.
        keys: how many keys.
        providers: the providers behind the keys' backend, in order.
        timeout_s: of one attempt.
        figure: what is told.
        wanted: what ours should reach.
        ours: how ours is used; the last one is what the table shows.
        with_peers: whether others take part.
    """

    name: str
    title: str
    faults: Faults
    rows: int
    concurrency: int = 64
    in_flight: int | None = None
    keys: int = 2
    providers: tuple[str, ...] = ()
    timeout_s: float = 60.0
    figure: Figure = Figure.RATIO
    wanted: str
    ours: tuple[Variant, ...] = (OURS,)
    with_peers: bool = True

    @property
    def best_s(self) -> float:
        """The shortest time that the provider allows for all rows."""
        if self.faults.rate:
            return self.rows / (self.keys * self.faults.rate)
        return self.rows * self.faults.mean_s / (self.in_flight or self.concurrency)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Who takes part."""
        return self.ours + ((BARE, *PEERS) if self.with_peers else ())

    def quick(self) -> Scenario:
        """Return the same with fewer rows."""
        return replace(self, rows=self.rows // QUICKER)


def _ours(label: str, **options: object) -> Variant:
    return Variant(label=f"ours, {label}", client="column", options=options)


_FINDS = (_ours("concurrency=None", concurrency=None),)
SCENARIOS = (
    Scenario(
        name="calls",
        title="CPU of one call, one at a time",
        faults=Faults(),
        rows=1000,
        concurrency=1,
        keys=1,
        figure=Figure.CPU,
        wanted="<= 0.45 x AsyncOpenAI",
        ours=(Variant(label="ours", client="calls"),),
    ),
    Scenario(
        name="column",
        title="no latency, 64 at once",
        faults=Faults(),
        rows=8000,
        figure=Figure.RATE,
        wanted=">= 3 x AsyncOpenAI on aiohttp",
    ),
    Scenario(
        name="c256",
        title="200 ms, 256 at once",
        faults=Faults(latency_s=0.2),
        rows=5120,
        concurrency=256,
        wanted="<= 1.12",
    ),
    Scenario(
        name="c1000",
        title="1 s, 1000 at once",
        faults=Faults(latency_s=1.0),
        rows=5000,
        concurrency=1000,
        wanted="<= 1.20",
    ),
    Scenario(
        name="finds",
        title="the same with `concurrency=None`",
        faults=Faults(latency_s=1.0),
        rows=5000,
        in_flight=1000,
        wanted="<= 6",
        ours=_FINDS,
        with_peers=False,
    ),
    Scenario(
        name="hangs",
        title="5 % hang for 30 s, timeout 3 s",
        faults=Faults(latency_s=0.2, hangs=0.05),
        rows=2000,
        timeout_s=3.0,
        wanted="<= 1.5 hedged, <= 6 % more requests",
        ours=(OURS, _ours("hedge=0.95", hedge=0.95)),
    ),
    Scenario(
        name="lognormal",
        title="lognormal latency, median 200 ms, sigma 1",
        faults=Faults(latency_s=0.2, sigma=1.0),
        rows=2000,
        wanted="<= 1.3 hedged, <= 4 % more requests",
        ours=(OURS, _ours("hedge=True", hedge=True)),
    ),
    Scenario(
        name="rates",
        title="three keys that allow 50/s each, which no client but bare aiohttp is told",
        faults=Faults(latency_s=0.05, rate=50, burst=5),
        rows=1500,
        keys=3,
        wanted="<= 1.30",
    ),
    Scenario(
        name="dead",
        title="two dead keys and a dead provider before the good one",
        faults=Faults(latency_s=0.2, dead_keys=(1, 2), dead_providers=("one",)),
        rows=2000,
        providers=("one", "two"),
        wanted="<= 1.15",
    ),
    Scenario(
        name="failures",
        title="10 % fail with a 5xx",
        faults=Faults(latency_s=0.2, failures=0.10),
        rows=2000,
        wanted="<= 1.10",
    ),
    Scenario(
        name="error-bodies",
        title="5 % are an error in a 200",
        faults=Faults(latency_s=0.2, error_bodies=0.05),
        rows=2000,
        wanted="<= 1.10",
    ),
    Scenario(
        name="knee",
        title="latency grows in proportion beyond 32 in flight",
        faults=Faults(latency_s=0.2, knee=32),
        rows=2000,
        in_flight=32,
        wanted="None: 95 % of the rows/s of 32, at most 80 in flight after 5 s",
        ours=(_ours("concurrency=32", concurrency=32), *_FINDS),
        with_peers=False,
    ),
    *(
        Scenario(
            name=f"full-{refusal}",
            title=f"{refusal} beyond 100 in flight",
            faults=Faults(latency_s=0.2, at_once=100, refusal=refusal),
            rows=6000,
            in_flight=100,
            wanted="None: no row lost, refusals < 3 % after 5 s",
            ours=_FINDS,
            with_peers=False,
        )
        for refusal in (429, 503)
    ),
)
