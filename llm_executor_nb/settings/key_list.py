"""Lists of keys as the first users write them, `OPENROUTER_KEYS.append(...)`, that show only their last characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.secret import Secret, ending, forgetful

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER_PICKLED = "A key is never pickled. Read it from the environment where it is needed."


class KeyText(str):
    """A key as plain text that shows only its last characters where a notebook would echo it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{ending(self)}'"

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(NEVER_PICKLED)


class KeyList(list[str]):
    """A list of keys that shows only their last characters. None entries are dropped, spaces around a key removed.

    Attributes:
        is_given: a user assigned the list or put a key into it, so the search for keys ends here.
    """

    @forgetful
    def __init__(self, values: Iterable[str | None] = (), *, is_given: bool = False) -> None:
        super().__init__(_checked(values))
        self.is_given = is_given or bool(self)

    @forgetful
    def append(self, value: str | None) -> None:
        """Add a key at the end; None is dropped."""
        self.extend([value])

    @forgetful
    def extend(self, values: Iterable[str | None]) -> None:
        """Add keys at the end; None entries are dropped."""
        super().extend(_checked(values))
        self.is_given = self.is_given or bool(self)

    @forgetful
    def insert(self, index: SupportsIndex, value: str | None) -> None:
        """Insert a key before an index; None is dropped."""
        if value is not None:
            self[index:index] = [value]

    @forgetful
    def __setitem__(self, index: Any, value: Any) -> None:  # noqa: ANN401 - list's own signature is an overload
        if isinstance(index, slice):
            super().__setitem__(index, _checked(value))
        else:
            super().__setitem__(index, KeyText(Secret(value).reveal()))
        self.is_given = True

    @forgetful
    def __iadd__(self, values: Iterable[str | None]) -> Self:  # type: ignore[override] # None is dropped
        self.extend(values)
        return self

    def __copy__(self) -> KeyList:
        return KeyList(self, is_given=self.is_given)

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(NEVER_PICKLED)


@forgetful
def key_list(values: Iterable[str | None], *, example: str) -> KeyList:
    """Return the keys that a user assigned, checked.

    `[os.getenv("A"), os.getenv("B")]` without any value leaves the search on; an empty list ends it.

    Raises:
        ConfigError: it is not a list of keys; the message gives an example.
    """
    if isinstance(values, KeyList):
        return values  # the same object: `monkeypatch` puts the former list back
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ConfigError(f"Give a list of keys: {example}.")
    given = list(values)
    return KeyList(given, is_given=not given)


def _checked(values: Iterable[str | None]) -> list[str]:
    if isinstance(values, str):
        raise ConfigError("Give a list of keys, not one text: OPENROUTER_KEYS = [key].")
    return [KeyText(Secret(value).reveal()) for value in values if value is not None]
