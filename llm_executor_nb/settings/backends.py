"""A user's own backends: servers that speak OpenAI's chat completions, and LangChain chat model objects.

This module describes and checks them. It sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from llm_executor_nb.core.addresses import is_private
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import clean
from llm_executor_nb.core.records import CHAT_COMPLETIONS, HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.threads import OwnLoop
from llm_executor_nb.settings.provider_names import LIVE_ORDERS

EXAMPLE_URL = "http://localhost:11434/v1"
"""Where Ollama listens; shown where a base URL is missing."""
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_NEVER_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f\\]")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_NAMES_A_SECRET = re.compile(r"(^|_)(key|token|secret|password)s?$", re.IGNORECASE)
_SHORTEST_SECRET = 12
"""A shorter text is not taken for a key, whatever its field is called: it would be scrubbed out of ordinary words."""
_DEEPEST = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnBackend:
    """One backend of the user's. Compared by identity: adding a name again makes another backend with its own holds.

    Attributes:
        name: what rows of the provider table call it.
        base_url: the URL of an OpenAI-compatible server; None: it is an object.
        chat_model: a LangChain chat model; None: it is a server.
        loop: the event loop of the chat model.
        is_trusted: the user says that it keeps no texts and does not train on them.
    """

    name: str
    base_url: str | None = None
    chat_model: Any = None
    loop: OwnLoop = field(default_factory=OwnLoop)
    is_trusted: bool = False

    def __repr__(self) -> str:
        return f"<backend {self.name}: {self.base_url or type(self.chat_model).__name__}>"


def make_backend(name: str, *, base_url: str | None, chat_model: object, allow_http: bool, trusted: bool) -> OwnBackend:
    """Return a backend, checked.

    Raises:
        ConfigError: the name, the URL or the object cannot be used, or not exactly one of the two was given.
    """
    _check_name(name)
    if not isinstance(trusted, bool):
        raise ConfigError(f"trusted={trusted!r} must be True or False.")
    if (base_url is None) == (chat_model is None):
        raise ConfigError(f"Give one of base_url and chat_model: llm.add_backend({name!r}, base_url={EXAMPLE_URL!r}).")
    if base_url is None:
        return OwnBackend(name=name, chat_model=check_chat_model(chat_model), is_trusted=trusted)
    refuse_credentials(base_url)
    again = f"llm.add_backend({name!r}, base_url=..., allow_http=True)"
    url = checked_url(base_url, example=EXAMPLE_URL, again=None if allow_http else again)
    return OwnBackend(name=name, base_url=url, is_trusted=trusted)


def checked_url(url: str, *, example: str, again: str | None, where: str = "") -> str:
    """Return a base URL without a slash at its end.

    Args:
        url: as the user wrote it.
        example: a base URL to show.
        again: what allows plain HTTP over the internet; None: it is allowed.
        where: what stands in front of a message.

    Raises:
        ConfigError: it has no http or https scheme or no host, it has a part that a base URL must not have, or it sends
            keys and texts unencrypted over the internet.
    """
    whole = url.strip() if isinstance(url, str) else url
    shown = _QUERY.sub("", whole) if isinstance(whole, str) else whole  # the query may hold a key
    if not _is_base_url(whole, shown):
        # a text without a scheme may be a key in the wrong place
        named = repr(shown) if isinstance(shown, str) and "://" in shown else "This"
        raise ConfigError(f"{where}{named} is not a base URL; give one such as {example!r}.")
    base = shown.rstrip("/").removesuffix(CHAT_COMPLETIONS)
    if base != whole.rstrip("/"):
        raise ConfigError(
            f"{where}A base URL has no query, no fragment and no {CHAT_COMPLETIONS}, which is added to it. "
            f"Write {base!r}; a key goes with the keys.",
        )
    parts = urlsplit(base)
    if again is not None and parts.scheme == "http" and not is_private(parts.hostname or ""):
        raise ConfigError(
            f"{where}{base!r} would send keys and texts unencrypted over the internet. Write https://, or, if the way "
            f"there is safe, {again}.",
        )
    return base


def _is_base_url(url: str, shown: str) -> bool:
    try:
        parts = urlsplit(url)
        has_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return has_server and not _NEVER_IN_A_URL.search(shown)
    except (ValueError, AttributeError, TypeError):
        return False


def _check_name(name: str) -> None:
    """Refuse a name that is taken, or that a provider row and the attempt log could not show."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or clean(name) != name:
        raise ConfigError("This cannot name a backend; give letters, digits, '-', '_' or '.', such as 'ollama'.")
    if name.lower() in LIVE_ORDERS:
        raise ConfigError(f"{name!r} cannot name a backend: in a row it stands for the providers of Hugging Face.")
    if name.lower() in {OPENROUTER, HUGGINGFACE}:
        raise ConfigError(
            f"{name!r} is already a backend; change its URL with llm.configure({name.lower()}_base_url=...)."
        )


def check_chat_model(chat_model: object) -> object:
    """Return an object that can be called as a LangChain chat model. Its keys are scrubbed from all texts from now on.

    Raises:
        ConfigError: it cannot be called.
    """
    can_answer = any(callable(getattr(chat_model, name, None)) for name in ("ainvoke", "invoke"))
    if isinstance(chat_model, type) or not can_answer:
        shown = chat_model.__name__ if isinstance(chat_model, type) else type(chat_model).__name__
        raise ConfigError(
            f"chat_model must be an object with LangChain's invoke, such as ChatOllama(model='gemma3'), not {shown}.",
        )
    _learn_secrets(chat_model, _DEEPEST)
    return chat_model


def refuse_credentials(url: str) -> None:
    """Refuse a URL that holds a password: it would be shown wherever the URL is. The message does not show it."""
    try:
        has_credentials = "@" in urlsplit(url).netloc
    except (ValueError, AttributeError, TypeError):  # `checked_url` refuses it with its own message
        return
    if has_credentials:
        raise ConfigError("A base URL holds no user name or password. Give the key in keys=[...].")


def _learn_secrets(thing: object, depth: int) -> None:
    """Let the scrubber know the keys of a foreign object: every SecretStr, and texts in fields named like a key."""
    if isinstance(thing, list | tuple):
        fields: Mapping[str, object] = {str(number): value for number, value in enumerate(thing)}
    else:
        fields = thing if isinstance(thing, Mapping) else getattr(thing, "__dict__", {})
    for name, value in list(fields.items()):
        if callable(reveal := getattr(value, "get_secret_value", None)):
            _learn(reveal())
        elif isinstance(value, str):
            if _NAMES_A_SECRET.search(str(name)) and len(value) >= _SHORTEST_SECRET:
                _learn(value)
        elif depth and (isinstance(value, Mapping | list | tuple) or hasattr(type(value), "model_fields")):
            _learn_secrets(value, depth - 1)


def _learn(value: object) -> None:
    try:
        Secret(value)  # type: ignore[arg-type] # a value that is not a text is refused there
    except ConfigError:  # it is empty, or cannot be sent in a header, so it is not a key
        return
