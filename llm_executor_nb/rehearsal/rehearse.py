"""A rehearsal: practice providers on this machine, and a session of its own on the stack of sessions.

The session has practice keys and URLs, no holds, an empty log and a ledger in memory. It begins with the user's waits
and bounds and with a copy of their provider table. The end of the rehearsal takes it off the stack again (design 5), so
a key list or a table that the user imported by name stays their own all the time.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from llm_executor_nb.chain.session import own_session, session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import door
from llm_executor_nb.rehearsal.practice_lists import practice_models
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.backends import OwnBackend
from llm_executor_nb.settings.key_references import practice_key
from llm_executor_nb.settings.key_ring import KeyRing

if TYPE_CHECKING:
    from types import TracebackType

    from llm_executor_nb.rehearsal.lines import ServerLine
    from llm_executor_nb.rehearsal.lookups import LookupLine
    from llm_executor_nb.settings.options import Options


class Rehearsal:
    """Practice providers on this machine. A with-block, or `start()` and `stop()`.

    Attributes:
        openrouter_keys, huggingface_tokens: the practice keys, in the order they are used.
    """

    def __init__(
        self, script: str, *, latency_s: float, seed: int, openrouter_keys: int, huggingface_tokens: int
    ) -> None:
        self.openrouter_keys = [practice_key(OPENROUTER, number) for number in range(1, openrouter_keys + 1)]
        self.huggingface_tokens = [practice_key(HUGGINGFACE, number) for number in range(1, huggingface_tokens + 1)]
        self._server = RehearsalServer(
            script,
            latency_s=latency_s,
            seed=seed,
            openrouter_keys=self.openrouter_keys,
            huggingface_tokens=self.huggingface_tokens,
            models=lambda backend: practice_models(session().options, backend),
        )
        self._running: ExitStack | None = None

    @property
    def lines(self) -> tuple[ServerLine, ...]:
        """The requests that reached the practice providers: a line each, in the order of arrival."""
        return self._server.lines

    @property
    def lookups(self) -> tuple[LookupLine, ...]:
        """The free look-ups that reached the practice providers: of keys, and of lists of models."""
        return self._server.lookups

    @property
    def in_flight_peak(self) -> int:
        """The highest number of requests in the practice providers at once."""
        return self._server.in_flight_peak

    def clear(self) -> None:
        """Drop the lines and look-ups so far; the script goes on where it is."""
        self._server.clear()

    def start(self) -> Self:
        """Begin the rehearsal: from now on practice providers answer.

        Raises:
            ConfigError: another rehearsal is running.
        """
        if session().is_rehearsal:
            raise ConfigError("A rehearsal is running already. End it first: leave its with-block, or call its stop().")
        with ExitStack() as running:
            self._server.start()
            running.callback(self._server.stop)
            running.enter_context(own_session(self._options(session().options)))
            self._running = running.pop_all()  # only now: an error above stops the server again
        return self

    def stop(self) -> None:
        """End the rehearsal: the user's own session answers again. Does nothing when the rehearsal is not running."""
        if self._running is not None:
            running, self._running = self._running, None
            running.close()

    def _options(self, own: Options) -> Options:
        """Return the user's own options with practice keys, practice URLs and nothing that is stored."""
        keys = {
            OPENROUTER: self.openrouter_keys,
            HUGGINGFACE: self.huggingface_tokens,
            **dict.fromkeys(own.backends, ()),  # a practice server without a key replaces each of the user's own
        }
        return replace(
            own,
            keys=KeyRing(practice=keys),  # practice keys alone: a rehearsal never sends a real one
            models=copy.deepcopy(own.models),
            backends={
                name: OwnBackend(name=name, base_url=self._server.own_url(name), is_trusted=backend.is_trusted)
                for name, backend in own.backends.items()
            },
            base_urls={OPENROUTER: self._server.openrouter_url, HUGGINGFACE: self._server.huggingface_url},
            practice_url=self._server.root,
        )

    __enter__ = start

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self._running else "not running"
        return f"<Rehearsal {state}: {self._server.script or 'every request is answered'}>"


@door
@noted_as("llm.rehearse")
def rehearse(
    script: str = "",
    *,
    latency_s: float = 0.0,
    seed: int = 0,
    openrouter_keys: int = 2,
    huggingface_tokens: int = 1,
) -> Rehearsal:
    """Run your own code against practice providers on this machine: no key is needed, nothing is spent.

    The real LangChain models send real HTTP requests to a server on loopback. Answers are visibly practice answers, the
    same for the same prompt. Nothing in a rehearsal is stored or reused. Practice answers replace your own backends
    too, servers and chat model objects. The script's faults concern OpenRouter and Hugging Face only.

    Practice OpenRouter has the providers Practice, DeepInfra, Novita and Together. It honours `only`, `ignore`, `zdr`,
    `data_collection`, `quantizations` and `max_price`, so that a policy can be rehearsed.
    Practice OpenRouter lists 600 models and practice Hugging Face 150, those of your table first, so that
    `llm.models.search` can be rehearsed; `list-large`, `list-odd`, `list-unpriced` and `list-drift` spoil these lists.

    Key lists and the provider table that you imported by name stay your own; `llm.OPENROUTER_KEYS` and
    `llm.MODEL_INFERENCE_PROVIDERS` are the rehearsal's. What is set in a rehearsal ends with it.

    Args:
        script: the faults, such as `openrouter: 429*2; huggingface/scaleway: down`; empty: every request is answered.
        latency_s: seconds each reply takes.
        seed: the seed of the random faults (`5%503`).
        openrouter_keys: how many practice keys there are for OpenRouter.
        huggingface_tokens: how many for Hugging Face.

    Returns:
        The rehearsal, for a with-block, or to `start()` and `stop()`. Its `.lines` are what the providers saw.

    Raises:
        ConfigError: the script cannot be read; the message says where, and which faults exist.
    """
    return Rehearsal(
        script,
        latency_s=latency_s,
        seed=seed,
        openrouter_keys=openrouter_keys,
        huggingface_tokens=huggingface_tokens,
    )
