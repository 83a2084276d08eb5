"""The secrets of notebook services: Colab's, Kaggle's and Databricks', under the names that the variables have.

A service may be slow, or show the user a question, so it is asked when a key is needed, and its answers are kept.
In an Azure or a SageMaker notebook the environment is all there is to read.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import warn
from llm_executor_nb.settings.key_names import SHOWN, key_of, keys_asked_for, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_executor_nb.core.records import Key

COLAB = "Colab's secrets"
KAGGLE = "Kaggle's secrets"
DATABRICKS = "Databricks' secrets"
_SCOPES_S = 15.0
"""Seconds after which no further scope of Databricks is listed: a workspace may have a thousand, each a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """The secrets of one notebook service.

    Attributes:
        title: what messages call it.
        is_here: whether this program runs in that service.
        read: yields the keys of a backend.
        has_front_end: its front end answers, and that never answers another thread than the main one.
    """

    title: str
    is_here: Callable[[], bool]
    read: Callable[[str], Iterator[Key]]
    has_front_end: bool = False

    @property
    def may_be_asked(self) -> bool:
        """Whether this thread gets an answer."""
        return self.is_here() and (is_main_thread() or not self.has_front_end)


def is_main_thread() -> bool:
    """Whether this is the thread that a front end answers."""
    # a front end's reply is read by the thread that runs the cell, and any other would wait for ever
    return threading.current_thread() is threading.main_thread()


# --- Colab ---------------------------------------------------------------------------------------------------------


def is_colab() -> bool:
    """Whether this is a Colab kernel. A program started from one has no front end to ask."""
    return "google.colab" in sys.modules


def _colab(backend: str) -> Iterator[Key]:
    from google.colab import userdata  # type: ignore[import-not-found] # noqa: PLC0415 - there in Colab only

    def ask(name: str) -> object:
        try:
            return userdata.get(name)
        except userdata.SecretNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - a front end's refusal or silence, of classes it may rename
            warn(
                f"{COLAB} did not give {name} ({type(error).__name__}). Allow it in the key icon on the left, then "
                "llm.keys.refresh().",
            )
            return None

    return keys_asked_for(backend, ask, f"{COLAB} ")


# --- Kaggle --------------------------------------------------------------------------------------------------------


def _is_kaggle() -> bool:
    return "kaggle_secrets" in sys.modules or "KAGGLE_USER_SECRETS_TOKEN" in os.environ


def _kaggle(backend: str) -> Iterator[Key]:
    """Yield what the user has attached to the notebook; a service that does not answer is asked once only."""
    try:
        from kaggle_secrets import UserSecretsClient  # type: ignore[import-not-found] # noqa: PLC0415 - in Kaggle only

        client = UserSecretsClient()
        yield from keys_asked_for(backend, lambda name: _kaggle_secret(client, name), f"{KAGGLE} ")
    except ImportError:  # a program that was started from a notebook, in an environment of its own
        return
    except Exception as error:  # noqa: BLE001 - each request may wait 40 s, so the others are not sent
        warn(
            f"{KAGGLE} did not answer ({type(error).__name__}). Turn the notebook's internet on, then "
            "llm.keys.refresh().",
        )


def _kaggle_secret(client: Any, name: str) -> object:  # noqa: ANN401 - an object of Kaggle's
    try:
        return client.get_secret(name)
    except Exception as error:
        # it has no class of its own for a secret that does not exist or is not attached
        if isinstance(error, OSError) or type(error).__name__ == "CredentialError":
            raise
        return None


# --- Databricks ----------------------------------------------------------------------------------------------------


def _dbutils() -> Any:  # noqa: ANN401 - an object of Databricks', None outside
    """Return the `dbutils` that Databricks puts among a notebook's variables."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if shell is None else shell.user_ns.get("dbutils")


def _is_databricks() -> bool:
    try:
        return hasattr(_dbutils(), "secrets")
    except Exception:  # noqa: BLE001 - outside a cluster, an object of its SDK looks for one
        return False


def _databricks(backend: str) -> Iterator[Key]:
    secrets = _dbutils().secrets
    try:
        scopes = [scope.name for scope in secrets.listScopes()]
    except Exception as error:  # noqa: BLE001 - of classes that depend on the runtime
        warn(f"{DATABRICKS} could not be listed ({type(error).__name__}), so no key is taken from them.")
        return
    # between scopes only: a request that was sent is waited for
    until = clock.current().now() + _SCOPES_S
    for count, scope in enumerate(scopes):
        if clock.current().now() >= until:
            warn(
                f"{DATABRICKS} answer slowly, so {len(scopes) - count:,} of {len(scopes):,} scopes were not searched "
                f"for {SHOWN[backend]}. If your key is in one of them: "
                f"llm.keys.add({backend!r}, dbutils.secrets.get(scope, name)).",
            )
            return
        with contextlib.suppress(Exception):  # most scopes belong to others, and may not be listed or read
            yield from _keys_of_scope(backend, secrets, scope)


def _keys_of_scope(backend: str, secrets: Any, scope: str) -> list[Key]:  # noqa: ANN401 - an object of Databricks'
    # a scope in Azure's Key Vault takes no underscores, and names are told apart by letters alone
    called = {one.key.upper().replace("-", "_"): one.key for one in secrets.list(scope)}
    wanted = [called[name] for name in names_in(backend, called)]
    found = [(name, secrets.get(scope, name)) for name in wanted]
    return [key for name, value in found if value for key in key_of(backend, value, f"{DATABRICKS} {scope}/{name}")]


VAULTS = (
    Vault(title=COLAB, is_here=is_colab, read=_colab, has_front_end=True),
    Vault(title=KAGGLE, is_here=_is_kaggle, read=_kaggle),
    Vault(title=DATABRICKS, is_here=_is_databricks, read=_databricks),
)
