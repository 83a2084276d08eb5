"""The settings as attributes of the package itself: read, assigned, deleted and patched like any module attribute."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import forgetful
from llm_executor_nb.settings.config import check_wait, live

if TYPE_CHECKING:
    from collections.abc import Callable

_deleted: set[str] = set()


def _setting(name: str, read: Callable[[], Any], write: Callable[[Any], None]) -> property:
    """Make a property whose deletion leaves the name missing, as `mock.patch` needs it, until it is set again."""

    def getter(_: object) -> Any:  # noqa: ANN401 - each setting has its own type
        if name in _deleted:
            raise AttributeError(f"{name} was deleted; assign it again.")
        return read()

    def setter(_: object, value: Any) -> None:  # noqa: ANN401 - each setting has its own type
        write(value)
        _deleted.discard(name)

    def deleter(_: object) -> None:
        _deleted.add(name)

    return property(getter, setter, deleter)


def _refuse(name: str) -> Callable[[Any], None]:
    def write(_: object) -> None:
        raise ConfigError(f"{name} is not assigned; use its methods, such as llm.{name}.add(...).")

    return write


class SettingsModule(ModuleType):
    """The package's module, with the settings of the live configuration as attributes.

    It is pickled and copied by its name, as cloudpickle does it with modules of the plain class: a function that says
    `llm.` can be sent to another process, which finds its own settings there. No setting, and so no key, is sent.
    """

    OPENROUTER_KEYS = _setting(
        "OPENROUTER_KEYS",
        lambda: live().keys.code[OPENROUTER],
        lambda value: live().keys_setter(OPENROUTER, value)(),
    )
    HUGGINGFACE_TOKENS = _setting(
        "HUGGINGFACE_TOKENS",
        lambda: live().keys.code[HUGGINGFACE],
        lambda value: live().keys_setter(HUGGINGFACE, value)(),
    )
    MODEL_INFERENCE_PROVIDERS = _setting(
        "MODEL_INFERENCE_PROVIDERS",
        lambda: live().models.providers,
        lambda value: live().providers_setter(value)(),
    )
    retry_wait_strategy = _setting(
        "retry_wait_strategy",
        lambda: live().retry_wait_strategy,
        lambda value: setattr(live(), "retry_wait_strategy", check_wait(value)),
    )
    keys = _setting("keys", lambda: live().keys, _refuse("keys"))
    models = _setting("models", lambda: live().models, _refuse("models"))

    @forgetful
    def __setattr__(self, name: str, value: object) -> None:
        if name.isupper() and name not in SETTINGS and not name.startswith("_"):
            near = difflib.get_close_matches(name, SETTINGS, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(SETTINGS)}."
            raise ConfigError(f"{name} is no setting of llm_executor_nb.{hint}")
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        return importlib.import_module, (self.__name__,)


SETTINGS = tuple(name for name in vars(SettingsModule) if name.isupper())
"""The settings that are written in upper case."""
