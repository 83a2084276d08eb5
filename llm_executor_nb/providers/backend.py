"""What a backend is: where it listens, how it names a model, and how its answer is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from llm_executor_nb.core.records import CHAT_COMPLETIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.providers.chunks import ChunkReader


class Backend(Protocol):
    """One wire that speaks chat completions.

    Attributes:
        name: the word users know it by, as in `Route.backend`.
        url: where chat completions are posted.
    """

    @property
    def name(self) -> str:
        """The word users know it by."""

    @property
    def url(self) -> str:
        """Where chat completions are posted."""

    def headers(self, route: Route) -> Mapping[str, str]:
        """Return the headers of its own that go with a request to `route`; never the key."""

    def message(self, body: dict[str, Any], model: str) -> AIMessage:
        """Return the message of an answer.

        Args:
            body: the parsed JSON of a reply that was found to be an answer; it is not changed.
            model: the model that was asked.

        Raises:
            ValueError: LangChain cannot read it as a message; the reply is malformed.
        """

    def chunk_reader(self, model: str) -> ChunkReader:
        """Return what reads the events of one streamed answer, in their order; each stream needs its own.

        Args:
            model: the model that was asked.
        """


def chat_url(base_url: str) -> str:
    """Return where chat completions are posted under `base_url`."""
    return base_url.rstrip("/") + CHAT_COMPLETIONS
