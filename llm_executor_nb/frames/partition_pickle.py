"""What a plan takes to other processes: bytes without a key.

A user's own functions and classes travel by cloudpickle, which comes with Dask. The bytes are searched for every key of
this process before they leave: a function may hold one in a variable that it uses. A schema travels as the user gave
it, because the check that is made of it cannot be pickled. Must not: return bytes that hold a key.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from llm_executor_nb.core.errors import ConfigError, MissingExtraError
from llm_executor_nb.core.foreign_text import holds_known_key, shorten
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.core.secret import kinds_of_keys
from llm_executor_nb.jobs.options import JobOptions
from llm_executor_nb.schemas.schema import make_schema

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from types import ModuleType

    from llm_executor_nb.chain.portable import PortableSession
    from llm_executor_nb.core.chain import Chain

_MADE_THERE = ("chain", "schema")
"""The options that are made again where a plan arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What is in the bytes.

    Attributes:
        session: what the routes need, with references to keys.
        options: the other options of the job, by name.
        schema: as the user gave it.
        column, template: where the prompts are.
        began: when the job began, in seconds since 1970.
    """

    session: PortableSession
    options: Mapping[str, Any]
    schema: Any
    column: Hashable | None
    template: str | None
    began: float

    @classmethod
    def of(cls, options: JobOptions, **others: Any) -> Self:  # noqa: ANN401 - the other attributes
        """Return what is carried of a job with these options."""
        kept = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in _MADE_THERE}
        return cls(options=kept, **others)

    def options_with(self, chain: Chain) -> JobOptions:
        """Return the options of the job in another process, with the chain that was made there."""
        return JobOptions(**self.options, chain=chain, schema=make_schema(self.schema))


def packed(carried: Carried) -> bytes:
    """Return it as bytes.

    Raises:
        ConfigError: a key would go along, or a part cannot be pickled; nothing was sent.
        MissingExtraError: cloudpickle is not installed.
    """
    given = {**carried.session.options, **carried.options, "schema": carried.schema, "template": carried.template}
    for name, value in given.items():
        _dumped(f"{name.removesuffix('_s')}=", value)  # one by one, so that a message names the one at fault
    return _dumped("This job", carried)


def unpacked(payload: bytes) -> Carried:
    """Return what such bytes carry."""
    carried: Carried = _cloudpickle().loads(payload)
    return carried


def _dumped(name: str, value: object) -> bytes:
    pickler = _cloudpickle()
    try:
        payload: bytes = pickler.dumps(value)
    except Exception as error:  # noqa: BLE001 - whatever an object of the user's raises
        why = shorten(f"{type(error).__name__}: {error}")
    else:
        _refuse_keys(name, payload)
        return payload
    raise ConfigError(f"{name} cannot be taken to other processes ({why}). Nothing was sent.")


def _refuse_keys(name: str, payload: bytes) -> None:
    """Refuse bytes that hold a key of this process, or what looks like somebody's real one."""
    text = payload.decode("latin-1")
    if holds_known_key(text) or any(kinds_of_keys(text).values()):
        raise ConfigError(
            f"{name} holds a key, and a key never goes to another process. Read it where it is used: "
            "os.environ['OPENROUTER_API_KEY'] inside of the function. Nothing was sent."
        )


def _cloudpickle() -> ModuleType:
    try:
        import cloudpickle  # noqa: PLC0415 - only a job of several processes needs it
    except ImportError as error:
        raise MissingExtraError(f"A job of several processes needs Dask. Type: {install_line('dask')}") from error
    module: ModuleType = cloudpickle
    return module
