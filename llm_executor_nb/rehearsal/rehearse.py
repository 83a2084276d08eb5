"""Puts a rehearsal in place of the live configuration, and takes it away again.

While it runs, keys, base URLs, holds and the attempt log are the rehearsal's own; the user's models, waits and bounds
stay as they are. What was there before comes back into the same objects.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.rehearsal.lookups import practice_models
from llm_executor_nb.rehearsal.server import RehearsalServer

if TYPE_CHECKING:
    from types import TracebackType

    from llm_executor_nb.rehearsal.lines import ServerLine
    from llm_executor_nb.rehearsal.lookups import LookupLine

_running: list[Rehearsal] = []


class Rehearsal:
    """Practice providers on this machine. A with-block, or `start()` and `stop()`.

    Attributes:
        openrouter_keys, huggingface_tokens: the practice keys, in the order they are asked.
    """

    def __init__(
        self, script: str, *, latency_s: float, seed: int, openrouter_keys: int, huggingface_tokens: int
    ) -> None:
        self.openrouter_keys = [f"sk-or-v1-practice-{number:04d}" for number in range(1, openrouter_keys + 1)]
        self.huggingface_tokens = [f"hf_practicetoken{number:04d}" for number in range(1, huggingface_tokens + 1)]
        self._server = RehearsalServer(
            script,
            latency_s=latency_s,
            seed=seed,
            openrouter_keys=self.openrouter_keys,
            huggingface_tokens=self.huggingface_tokens,
            models=lambda backend: practice_models(session().config, backend),
        )
        self._undo = ExitStack()

    @property
    def lines(self) -> tuple[ServerLine, ...]:
        """What the practice providers saw: a line per request, in the order of arrival."""
        return self._server.lines

    @property
    def lookups(self) -> tuple[LookupLine, ...]:
        """The free look-ups that reached the practice providers: of keys, and of lists of models."""
        return self._server.lookups

    @property
    def in_flight_peak(self) -> int:
        """The most requests that were with the practice providers at once."""
        return self._server.in_flight_peak

    def clear(self) -> None:
        """Forget the lines and look-ups so far; the script goes on where it is."""
        self._server.clear()

    def start(self) -> Self:
        """Take the live configuration's place.

        Raises:
            ConfigError: another rehearsal runs already.
        """
        if _running:
            raise ConfigError("A rehearsal is running already. End it first: leave its with-block, or call its stop().")
        now = session()
        with ExitStack() as undo:
            self._server.start()
            undo.callback(self._server.stop)
            undo.callback(now.config.save())
            undo.callback(now.begin_anew())
            now.config.begin_rehearsal(
                keys={OPENROUTER: self.openrouter_keys, HUGGINGFACE: self.huggingface_tokens},
                urls={OPENROUTER: self._server.openrouter_url, HUGGINGFACE: self._server.huggingface_url},
                own_url=self._server.own_url,
                url=self._server.root,
            )
            self._undo = undo.pop_all()  # only when all is in place; an error before takes everything back
        _running.append(self)
        return self

    def stop(self) -> None:
        """Bring back what was there before; does nothing when it is not running."""
        if self in _running:
            _running.remove(self)
            self._undo.close()

    __enter__ = start

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self in _running else "not running"
        return f"<Rehearsal {state}: {self._server.script or 'every request is answered'}>"


def rehearse(
    script: str = "",
    *,
    latency_s: float = 0.0,
    seed: int = 0,
    openrouter_keys: int = 2,
    huggingface_tokens: int = 1,
) -> Rehearsal:
    """Run your own code against practice providers on this machine: no key is needed, nothing is spent.

    The real LangChain models speak real HTTP to a server on loopback; answers are visibly practice answers, the same
    for the same prompt. Nothing said in a rehearsal is stored or reused. Practice answers stand in for backends of
    your own too, servers and chat model objects alike; the script's faults meet OpenRouter and Hugging Face only.

    Args:
        script: what goes wrong, such as `openrouter: 429*2; huggingface/scaleway: down`; empty: nothing does.
        latency_s: seconds each reply takes.
        seed: of the random faults (`5%503`).
        openrouter_keys: how many practice keys there are for OpenRouter.
        huggingface_tokens: how many for Hugging Face.

    Returns:
        The rehearsal, for a with-block, or to `start()` and `stop()`; `.lines` is what the providers saw.

    Raises:
        ConfigError: the script cannot be read; the message says where, and what there is.
    """
    return Rehearsal(
        script,
        latency_s=latency_s,
        seed=seed,
        openrouter_keys=openrouter_keys,
        huggingface_tokens=huggingface_tokens,
    )
