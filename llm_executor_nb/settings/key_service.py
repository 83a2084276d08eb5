"""The system's keyring (macOS Keychain, Windows Credential Locker, Secret Service), with an end to every wait.

A locked keyring may open a dialogue and wait for a hand, so each question runs in a thread of its own and is given
up after a while. keyring is an extra, loaded when a key is saved there or is known to be.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from llm_executor_nb.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = "llm_executor_nb"
WAIT_S = 30.0
"""Seconds a user has to unlock the keyring."""
T = TypeVar("T")


def read(name: str) -> str | None:
    """Return the key that is kept under a name; None: none is.

    Raises:
        ConfigError: there is no keyring, or it does not answer.
    """
    keyring = _load()
    found: str | None = _within(lambda: keyring.get_password(SERVICE, name))
    return found


def write(name: str, key: str) -> None:
    """Keep a key under a name.

    Raises:
        ConfigError: there is no keyring, or it does not answer.
    """
    keyring = _load()
    _within(lambda: keyring.set_password(SERVICE, name, key))


def delete(name: str) -> None:
    """Delete what is kept under a name; nothing kept there is as good.

    Raises:
        ConfigError: there is no keyring, or it does not answer.
    """
    keyring = _load()

    def forget() -> None:
        if keyring.get_password(SERVICE, name) is not None:
            keyring.delete_password(SERVICE, name)

    _within(forget)


def _load() -> Any:  # noqa: ANN401 - an optional library's module
    try:
        import keyring  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError(
            "To keep keys in the system's keyring: pip install 'llm_executor_nb[keyring]'. "
            "Without it they can be kept in a file that only you can read: save(..., to='file').",
        ) from None
    if _within(lambda: keyring.get_keyring().priority) <= 0:
        raise ConfigError(
            "There is no keyring service on this machine. Keep keys in a file that only you can read: "
            "llm.keys.save(backend, label, to='file').",
        )
    return keyring


def _within(ask: Callable[[], T]) -> T:
    """Return what a function answers in a thread of its own, if it does in time; its errors show no key."""
    answers: list[T] = []
    failures: list[str] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # noqa: BLE001 - each keyring has its own, and their texts are not ours to show
            failures.append(type(error).__name__)

    thread = threading.Thread(target=work, name="llm_executor_nb keyring", daemon=True)
    thread.start()
    thread.join(WAIT_S)
    if answers:
        return answers[0]
    why = f"failed ({failures[0]})" if failures else f"did not answer within {WAIT_S:.0f} s"
    raise ConfigError(f"The system's keyring {why}. Unlock it, then llm.keys.refresh().")
