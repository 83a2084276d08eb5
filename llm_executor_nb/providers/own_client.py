"""ChatOpenAI with its own HTTP client, for the day LangChain renames a private name that our own transport needs.

Every wire speaks chat completions, so it does for all of them. ChatHuggingFace does not: it keeps its token as plain
text in fields and repr, looks providers up at the hub, takes no base URL beside a provider, and sends a temperature and
a max_tokens that nobody set. The object is made for one request. It gets no key: the key goes into the request's header
where the HTTP client sends it, so no object of LangChain's or OpenAI's ever holds one.
"""

from __future__ import annotations

import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.errors import ConfigError, LLMExecutorWarning
from llm_executor_nb.core.records import CHAT_COMPLETIONS, HUGGINGFACE, Reply
from llm_executor_nb.providers import langchain
from llm_executor_nb.providers.network import Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.language_models import BaseChatModel

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.providers.backend import Backend

_ANY: Final = "any/model"
_EVENT_STREAM: Final = "text/event-stream"
_NOT_OURS: Final = ("openai-organization", "openai-project")
"""What OpenAI's client takes from the environment, and nobody else is to be told."""
_told: set[str] = set()


@dataclass(slots=True)
class Seen:
    """What the HTTP client saw.

    Attributes:
        status: of the reply; None: none had begun.
        reply: the whole reply, before LangChain sees it; None: none came, or it is an event stream.
    """

    status: int | None = None
    reply: Reply | None = None


def is_needed(backend: str) -> bool:
    """Say whether a wire lacks a private name of LangChain's; the first time that one does, it warns."""
    try:
        langchain.payload_builder()
        if backend == HUGGINGFACE:
            langchain.huggingface_reader(_ANY)
            langchain.huggingface_chunk_reader()
            langchain.usage_reader()
        else:
            langchain.openai_reader()
            langchain.openai_chunk_reader()
    except ConfigError as error:
        _warn(str(error))
        return True
    return False


def _warn(words: str) -> None:
    if words in _told:
        return
    _told.add(words)
    warnings.warn(
        f"{words} Until then ChatOpenAI's own client sends: slower, and what a stream costs is not known.",
        LLMExecutorWarning,
        stacklevel=4,
    )


@asynccontextmanager
async def own_client(
    backend: Backend, route: Route, *, asks_usage: bool = True
) -> AsyncIterator[tuple[BaseChatModel, Seen]]:
    """Open a ChatOpenAI for one request to a route, with what its client sees of the reply.

    It sets no parameter, not even a model: the whole body comes to it as `extra_body`. Only the usage of a stream it
    asks for itself, if it shall.
    """
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - loads on first use
    from langsmith import tracing_context  # noqa: PLC0415 - loads on first use
    from openai import DefaultAsyncHttpxClient  # noqa: PLC0415 - loads on first use

    seen, url = Seen(), backend.url
    proxy = _network().proxy(url)
    settings: dict[str, Any] = {
        "model": "",
        "api_key": "none",
        "base_url": url.removesuffix(CHAT_COMPLETIONS),
        "max_retries": 0,
        "stream_usage": asks_usage,
        "use_responses_api": False,
        "output_version": "v0",
        "openai_proxy": "",
        "client": object(),  # stands where the synchronous client would be made
    }
    if "stream_chunk_timeout" in ChatOpenAI.model_fields:
        settings["stream_chunk_timeout"] = None  # the run bounds the silence
    async with DefaultAsyncHttpxClient(
        verify=_network().tls() if proxy or url.startswith("https:") else False,
        proxy=proxy,
        trust_env=False,
        follow_redirects=False,
        timeout=None,
        event_hooks=_hooks(backend, route, seen),
    ) as client:
        with tracing_context(enabled=False):
            yield ChatOpenAI(http_async_client=client, **settings), seen


def _hooks(backend: Backend, route: Route, seen: Seen) -> dict[str, list[Any]]:
    secret = route.key.secret if route.key else None

    async def sign(request: Any) -> None:  # noqa: ANN401 - httpx's, by whichever name OpenAI's package has it
        for name in ("authorization", *_NOT_OURS):
            request.headers.pop(name, None)
        request.headers.update(backend.headers(route))
        if secret is not None:
            request.headers["Authorization"] = f"Bearer {secret.reveal()}"

    async def note(response: Any) -> None:  # noqa: ANN401 - as above
        seen.status = response.status_code
        if _EVENT_STREAM not in response.headers.get("content-type", ""):
            headers = {name.lower(): value for name, value in response.headers.items()}
            seen.reply = Reply(status=seen.status, headers=headers, body=await response.aread())

    return {"request": [sign], "response": [note]}


@cache
def _network() -> Network:
    return Network()
