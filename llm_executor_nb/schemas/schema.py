"""What a `schema=` is: the shape an answer must have, in several ways of writing it, and the answer read as an object.

A class (pydantic's, a dataclass, a TypedDict); a dict of name and type; a list of names (all text); a JSON Schema.
`jsonschema` checks the last, pydantic all others. A dict of types takes what converts without loss; a list of names
takes any scalar as text, and null as missing. These two say what a column is to be, not how a model has to write it: an
answer in another notation was paid for and means the same. A class or a JSON Schema decides itself what it takes.
How a route is asked for it is in `prompting`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from decimal import Decimal, InvalidOperation
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Required, Union, cast, get_args, get_origin

from llm_executor_nb.core.errors import ConfigError, LLMExecutorError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.schemas.json_schema import is_strict, joined, make_check, resolve, tightened, type_of
from llm_executor_nb.schemas.json_text import TOO_DEEP, object_in

if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter

_WHAT_TO_WRITE = (
    "Write a pydantic class, a dataclass or a TypedDict; a dict of types, {'name': str, 'score': int, 'tags': "
    "list[str]}; a list of names, ['name', 'city'] (all text); or a JSON Schema of an object, {'type': 'object', "
    "'properties': {...}}."
)
ASKED_IN_WORDS = (
    "Answer with one JSON object and nothing else: no words before or after it, no code fence. "
    "It must fit this JSON Schema:"
)
"""The text before the schema where it is asked for in words; the schema is the next line."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64
"""OpenAI refuses longer names of a schema, and other characters than these."""
_MOST_DIGITS = 400
"""Of a whole number: "1e999999999" would fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schema:
    """The shape an answer must have; `make_schema` makes one.

    Attributes:
        name: the name that providers are sent.
        json_schema: strict (all required, no others) for classes, dicts of types and lists of names.
        fields: name -> type, in order: the columns that a frame of answers gets.
        check: returns an answer's JSON as the object it is read as, or raises ValueError with what does not fit.
        response_format: sent to a route that enforces schemas.
        instruction: sent to a route that does not.
        digest_text: the same text for the same shape, for the key of a stored answer.
    """

    name: str
    json_schema: Mapping[str, Any]
    fields: Mapping[str, Any]
    check: Callable[[dict[str, Any]], object] = field(repr=False)
    response_format: Mapping[str, Any] = field(init=False)
    instruction: str = field(init=False)
    digest_text: str = field(init=False)

    def __post_init__(self) -> None:
        schema = dict(self.json_schema)
        named = {"name": self.name, "strict": is_strict(schema), "schema": schema}
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        object.__setattr__(self, "response_format", {"type": "json_schema", "json_schema": named})
        object.__setattr__(self, "instruction", f"{ASKED_IN_WORDS}\n{text}")
        object.__setattr__(self, "digest_text", json.dumps(schema, sort_keys=True, separators=(",", ":")))

    def parse(self, text: str) -> object:
        """Return an answer as an object: of the class, or a dict for the other ways of writing a schema.

        A fence, thoughts, and words before or after the JSON object are skipped. Classes, dicts of types and lists of
        names read "3" as 3 where they want a number; the last two also read 3 as "3" where they want text. 3.7 is never
        read as 3.

        Raises:
            ValueError: it does not fit; the message says where and why, without keys, in at most 300 characters.
            LLMExecutorError: a validator of the user's asked a model in vain.
        """
        try:
            return self.check(object_in(text))
        except LLMExecutorError:
            raise
        except ValueError as error:
            message = str(error)
        except RecursionError:
            message = TOO_DEEP
        raise ValueError(shorten(message))


def make_schema(schema: object) -> Schema | None:
    """Return a user's `schema=` as a Schema.

    Args:
        schema: a pydantic class, a dataclass, a TypedDict, a dict of types (dicts in it are objects), a list of
            names, or a JSON Schema of an object; None: any answer will do.

    Raises:
        ConfigError: it is something else; the message says what to write. Nothing was sent.
    """
    if schema is None or isinstance(schema, Schema):
        return schema
    from pydantic import BaseModel  # noqa: PLC0415 - loads on first use
    from typing_extensions import is_typeddict  # noqa: PLC0415 - pydantic's; loads on first use

    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _of_class(schema)
    if isinstance(schema, type) and (is_dataclass(schema) or is_typeddict(schema)):
        return _of_plain_class(schema)
    # an empty dict or list is a mistake: it would take any answer
    if isinstance(schema, Mapping) and schema:
        return _of_json_schema(schema) if _is_json_schema(schema) else _of_types(schema)
    if isinstance(schema, Sequence) and not isinstance(schema, str) and schema:
        return _of_names(schema)
    raise ConfigError(f"schema={_short(schema)} is not a schema. {_WHAT_TO_WRITE}")


# --- classes ----------------------------------------------------------------------------------------------------


def _of_class(schema: type[BaseModel]) -> Schema:
    from pydantic import RootModel  # noqa: PLC0415 - loads on first use

    # providers enforce schemas of objects only
    if issubclass(schema, RootModel) or not schema.model_fields:
        raise ConfigError(f"The class {schema.__name__} has no fields of its own. {_WHAT_TO_WRITE}")
    fields = {name: info.annotation for name, info in schema.model_fields.items()}
    return _checked_by_pydantic(_clean(schema.__name__), schema, fields)


def _of_plain_class(schema: Any) -> Schema:  # noqa: ANN401 - a dataclass, or a TypedDict
    """Return the Schema of a dataclass, which gives its own object, or of a TypedDict, which gives a dict."""
    from typing_extensions import get_type_hints  # noqa: PLC0415 - pydantic's; loads on first use

    name = schema.__name__
    try:
        hints = get_type_hints(schema, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:  # a type in quotes that is wrong, or is defined elsewhere
        message = str(error)
    else:
        known = [one.name for one in dataclass_fields(schema) if one.init] if is_dataclass(schema) else list(hints)
        if not known:
            raise ConfigError(f"The class {name} has no fields. {_WHAT_TO_WRITE}")
        fields = {one: hints[one] for one in known}
        kind = schema if is_dataclass(schema) else _as_typed_dict(schema, fields)
        return _checked_by_pydantic(_clean(name), kind, fields)
    raise ConfigError(f"The types of {name} cannot be read: {message}. {_WHAT_TO_WRITE}")


def _checked_by_pydantic(name: str, kind: Any, fields: Mapping[str, Any]) -> Schema:  # noqa: ANN401 - a type
    from pydantic import TypeAdapter  # noqa: PLC0415 - loads on first use
    from pydantic.errors import PydanticUserError  # noqa: PLC0415 - loads on first use

    try:
        adapter = TypeAdapter(kind)
        schema = tightened(_opened(adapter.json_schema()))
    except (PydanticUserError, TypeError, NameError) as error:  # NameError: a class that is not defined yet
        message = shorten(str(error).partition("\n")[0])
    else:
        return Schema(name=name, json_schema=schema, fields=fields, check=_pydantic_check(adapter))
    raise ConfigError(f"pydantic cannot make a schema of this: {message}. {_WHAT_TO_WRITE}")


def _pydantic_check(adapter: TypeAdapter[Any]) -> Callable[[dict[str, Any]], object]:
    from pydantic import ValidationError  # noqa: PLC0415 - loads on first use

    def check(answer: dict[str, Any]) -> object:
        try:
            return adapter.validate_json(json.dumps(answer))
        except ValidationError as error:
            # without the input: it may be long, and a log does not need it
            faults = error.errors(include_url=False, include_input=False)
        for fault in faults:
            if isinstance(failure := fault.get("ctx", {}).get("error"), LLMExecutorError):
                raise failure  # some of ours are ValueErrors, which pydantic takes for misfits of the answer
        raise ValueError(joined([f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['msg']}" for one in faults]))

    return check


# --- dicts of types and lists of names --------------------------------------------------------------------------


def _of_names(names: Sequence[object]) -> Schema:
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(f"schema={_short(names)}: a list holds names of fields, as texts. {_WHAT_TO_WRITE}")
    if len(set(names)) < len(names):
        raise ConfigError(f"schema={_short(names)}: a name stands twice. Give each field a name of its own.")
    fields = {str(name): str for name in names}
    return _checked_by_pydantic("answer", _make_typed_dict(dict.fromkeys(fields, _text_or_missing())), fields)


def _of_types(types: Mapping[Any, Any]) -> Schema:
    fields = _fields(types, "")
    return _checked_by_pydantic("answer", _lossless_dict(fields), fields)


def _fields(types: Mapping[Any, Any], path: str) -> dict[str, Any]:
    if not all(isinstance(name, str) and name.strip() for name in types):
        raise ConfigError(f"The names of a schema's fields are texts, not {_short(list(types))}. {_WHAT_TO_WRITE}")
    return {name: _type(kind, f"{path}{name}") for name, kind in types.items()}


def _type(kind: Any, path: str) -> Any:  # noqa: ANN401 - types
    if isinstance(kind, Mapping) and kind:
        return _lossless_dict(_fields(kind, f"{path}."))
    is_type = isinstance(kind, type) or get_origin(kind) is not None or kind is Any or hasattr(kind, "__value__")
    if not is_type:
        raise ConfigError(f"schema: {path!r} must be a type, such as str or list[int], not {_short(kind)}.")
    return kind


def _lossless_dict(fields: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type
    return _make_typed_dict({name: _lossless(kind) for name, kind in fields.items()})


def _lossless(kind: Any) -> Any:  # noqa: ANN401 - types
    """Return a type that also takes what converts to it without loss; its JSON Schema stays the same.

    Args:
        kind: str, int, float, and lists, sets, dicts of them; each may be None as well. Any other stays as it is.
    """
    from pydantic import BeforeValidator, Field  # noqa: PLC0415 - loads on first use

    takes = {str: BeforeValidator(_as_text), int: BeforeValidator(_as_whole), float: Field(allow_inf_nan=False)}
    if kind in (str, int, float):
        return Annotated[kind, takes[kind]]
    origin, args = get_origin(kind), get_args(kind)
    if origin in (list, set, frozenset):
        return origin[_lossless(args[0])]
    if origin is dict:
        return dict[args[0], _lossless(args[1])]  # type: ignore[valid-type, misc] # made at run time
    if origin in (Union, UnionType) and len(args) == 2 and NoneType in args:
        return _lossless(next(one for one in args if one is not NoneType)) | None
    return kind


def _text_or_missing() -> Any:  # noqa: ANN401 - a type
    """Return the type of a text that may also be missing: null stays None, any other scalar is text."""
    from pydantic import WrapValidator  # noqa: PLC0415 - loads on first use

    def check(value: Any, read_text: Callable[[Any], str]) -> str | None:  # noqa: ANN401 - JSON of any shape
        return None if value is None else read_text(_as_text(value))

    return Annotated[str, WrapValidator(check)]


def _as_text(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a number or a truth value as JSON writes it; all else as it is."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _as_whole(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a number without a fraction, or the text of one, as a whole number; all else as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        return value
    is_whole = number.is_finite() and number.adjusted() < _MOST_DIGITS and number == number.to_integral_value()
    return int(number) if is_whole else value


def _make_typed_dict(fields: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type
    """Return a TypedDict with these fields, whatever their names are; other names are dropped."""
    from typing_extensions import TypedDict  # noqa: PLC0415 - pydantic's; loads on first use

    made = cast("Any", TypedDict)("Answer", dict(fields))
    made.__pydantic_config__ = {"extra": "ignore"}
    return made


def _as_typed_dict(kind: Any, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401 - types
    """Return a user's TypedDict as one that pydantic takes on every Python; below 3.12 it refuses `typing`'s own.

    Args:
        kind: the user's.
        fields: name -> type, with what marks them as required or not.
    """
    is_marked = {name: get_origin(one) in (Required, NotRequired) for name, one in fields.items()}
    made = _make_typed_dict(
        {
            name: NotRequired[one] if name in kind.__optional_keys__ and not is_marked[name] else one
            for name, one in fields.items()
        },
    )
    made.__doc__ = kind.__doc__
    return made


# --- JSON Schema ------------------------------------------------------------------------------------------------


def _is_json_schema(schema: Mapping[Any, Any]) -> bool:
    """Whether a dict is a JSON Schema; a dict of types may have fields called `type` or `properties` too."""
    properties = schema.get("properties")
    are_schemas = isinstance(properties, Mapping) and all(_is_part(one) for one in properties.values())
    is_typed = isinstance(schema.get("type"), str | list)
    is_composed = any(isinstance(schema.get(name), str | list) for name in ("$ref", "anyOf", "oneOf", "allOf"))
    return is_typed or is_composed or (are_schemas and not isinstance(schema.get("type"), type))


def _is_part(value: object) -> bool:
    return isinstance(value, bool | str) or (isinstance(value, Mapping) and not any(map(_is_class, value.values())))


def _is_class(value: object) -> bool:
    return isinstance(value, type) or get_origin(value) is not None


def _of_json_schema(schema: Mapping[Any, Any]) -> Schema:
    if schema.get("type") in ("json_schema", "json_object"):
        raise ConfigError(f"This is a response_format: give the JSON Schema that is in it. {_WHAT_TO_WRITE}")
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"This JSON Schema cannot be written as JSON: {error}. {_WHAT_TO_WRITE}") from None
    opened = _opened(json.loads(text))
    if opened.get("type") != "object" and not opened.get("properties"):
        raise ConfigError(
            "An answer is an object, and this JSON Schema describes something else. Put it into a field: "
            "{'type': 'object', 'properties': {'answer': ...}}.",
        )
    opened = {"type": "object", **opened}  # people leave it out; strict providers demand it
    check = make_check(opened)
    fields = {name: type_of(part, opened) for name, part in (opened.get("properties") or {}).items()}
    return Schema(name=_clean(str(schema.get("title") or "answer")), json_schema=opened, fields=fields, check=check)


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that is nothing but a reference, as of a class that contains itself, with what it refers to."""
    if "$ref" not in schema:
        return schema
    meant = resolve(str(schema["$ref"]), schema)
    return {**(meant if isinstance(meant, dict) else {}), **{k: v for k, v in schema.items() if k != "$ref"}}


def _clean(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name).strip("_")[:_LONGEST_NAME] or "answer"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
