"""A user's own backends: servers that speak OpenAI's chat completions, and LangChain chat model objects.

Here they are only described and checked; nothing is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import Secret

EXAMPLE_URL = "http://localhost:11434/v1"
"""Where Ollama listens; shown where a base URL is missing."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_NAMES_A_SECRET = re.compile(r"(^|_)(key|token|secret|password)s?$", re.IGNORECASE)
_SHORTEST_SECRET = 12
"""Characters below which a plain text is not taken for a key, whatever its name."""
_DEEPEST = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnBackend:
    """One backend of the user's. Two are the same only if they are one object: adding a name again makes a new one.

    Attributes:
        name: what rows of the provider table call it.
        base_url: where an OpenAI-compatible server listens; None: it is an object.
        chat_model: a LangChain chat model; None: it is a server.
    """

    name: str
    base_url: str | None = None
    chat_model: Any = None

    def __repr__(self) -> str:
        return f"<backend {self.name}: {self.base_url or type(self.chat_model).__name__}>"


def check_name(name: str) -> str:
    """Return the name of a backend, if it can be one.

    Raises:
        ConfigError: it is taken, or could not stand in a provider row and in the attempt log.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a backend; give letters, digits, '-', '_' or '.', such as 'ollama'.")
    if name.lower() in {OPENROUTER, HUGGINGFACE}:
        raise ConfigError(f"{name!r} is a backend already; move it with llm.configure({name.lower()}_base_url=...).")
    return name


def check_chat_model(chat_model: object) -> object:
    """Return an object that can be asked as a LangChain chat model; its keys are scrubbed from all texts from now on.

    Raises:
        ConfigError: it cannot be asked.
    """
    is_asked = any(callable(getattr(chat_model, name, None)) for name in ("ainvoke", "invoke"))
    if isinstance(chat_model, type) or not is_asked:
        shown = chat_model.__name__ if isinstance(chat_model, type) else type(chat_model).__name__
        raise ConfigError(
            f"chat_model must be an object with LangChain's invoke, such as ChatOllama(model='gemma3'), not {shown}.",
        )
    _learn_secrets(chat_model, _DEEPEST)
    return chat_model


def refuse_credentials(url: str) -> None:
    """Refuse a URL with a password in it, which would be shown wherever the URL is.

    Raises:
        ConfigError: it has one; the message does not show it.
    """
    try:
        has_credentials = "@" in urlsplit(url).netloc
    except (ValueError, AttributeError, TypeError):  # no URL at all, which is said elsewhere
        return
    if has_credentials:
        raise ConfigError("A base URL holds no user name or password. Give the key in keys=[...].")


def _learn_secrets(thing: object, depth: int) -> None:
    """Make what looks like a key of a foreign object known to the scrubber: SecretStr, and texts named like one."""
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
        Secret(value)  # type: ignore[arg-type] # what is no text is refused
    except ConfigError:  # empty, or nothing that could be sent
        return
