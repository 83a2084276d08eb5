"""What a `schema=` is: the shape an answer must have, in some ways of writing it, and the answer read as an object.

A class (pydantic's, a dataclass, a TypedDict); a dict of name and type; a list of names (all text); a JSON Schema. A
dict of types takes what converts without loss; a list of names takes any scalar as text, and null as missing.
Whatever the way, pydantic checks the answer, and its words are what a model is told that got it wrong. How a route is
asked for it is in `phrasing`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any, get_origin

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.shorten import shorten
from llm_executor_nb.schemas.json_text import TOO_DEEP, object_in
from llm_executor_nb.schemas.json_types import as_typed_dict, is_strict, make_typed_dict, resolve, tightened, type_of
from llm_executor_nb.schemas.lossless import lossless, text_or_missing

if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter, ValidationError

_WHAT_TO_WRITE = (
    "Write a pydantic class, a dataclass or a TypedDict; a dict of types, {'name': str, 'score': int, 'tags': "
    "list[str]}; a list of names, ['name', 'city'] (all text); or a JSON Schema of an object, {'type': 'object', "
    "'properties': {...}}."
)
ASKED_IN_WORDS = (
    "Answer with one JSON object and nothing else: no words before or after it, no code fence. "
    "It must fit this JSON Schema:"
)
"""What stands before the schema where it is asked for in words; the schema is the line after it."""
_SHOWN_ERRORS = 4
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schema:
    """The shape an answer must have; `make_schema` makes one.

    Attributes:
        name: as a provider is told it.
        json_schema: as JSON Schema; strict (all required, no others) for classes, dicts of types and lists of names.
        fields: name -> type, in order: the columns that a frame of answers gets.
        response_format: what a route is sent that enforces schemas.
        instruction: what a route is told that does not.
        digest_text: the same text for the same shape, for the key of a stored answer.
    """

    name: str
    json_schema: Mapping[str, Any]
    fields: Mapping[str, Any]
    response_format: Mapping[str, Any] = field(init=False)
    instruction: str = field(init=False)
    digest_text: str = field(init=False)
    adapter: TypeAdapter[Any] = field(repr=False)

    def __post_init__(self) -> None:
        schema = dict(self.json_schema)
        told = {"name": self.name, "strict": is_strict(schema), "schema": schema}
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        object.__setattr__(self, "response_format", {"type": "json_schema", "json_schema": told})
        object.__setattr__(self, "instruction", f"{ASKED_IN_WORDS}\n{text}")
        object.__setattr__(self, "digest_text", json.dumps(schema, sort_keys=True, separators=(",", ":")))

    def parse(self, text: str) -> object:
        """Return an answer as an object: of the class, or a dict for the other ways of writing a schema.

        A fence, thoughts, and words before or after the JSON object are passed over; "3" is read as 3 where a number
        is wanted, and 3 as "3" where a dict of types or a list of names wants text; never 3.7 as 3.

        Raises:
            ValueError: it does not fit; in the validator's words, scrubbed of keys, at most 300 characters.
        """
        from pydantic import ValidationError  # noqa: PLC0415 - loads on first use

        try:
            found = object_in(text)
        except ValueError as error:
            words = str(error)
        else:
            try:
                return self.adapter.validate_json(json.dumps(found))
            except ValidationError as error:
                words = _words(error)
            except RecursionError:
                words = TOO_DEEP
        raise ValueError(shorten(words))


def make_schema(schema: object) -> Schema | None:
    """Return a user's `schema=` as a Schema.

    Args:
        schema: a pydantic class, a dataclass, a TypedDict, a dict of types (dicts in it are objects), a list of
            names, or a JSON Schema of an object; None: any answer will do.

    Raises:
        ConfigError: it is none of these; says what to write. Nothing was sent.
    """
    if schema is None or isinstance(schema, Schema):
        return schema
    from pydantic import BaseModel  # noqa: PLC0415 - loads on first use
    from typing_extensions import is_typeddict  # noqa: PLC0415 - pydantic's; loads on first use

    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _of_class(schema)
    if isinstance(schema, type) and (is_dataclass(schema) or is_typeddict(schema)):
        return _of_plain_class(schema)
    if isinstance(schema, Mapping) and schema:
        return _of_json_schema(schema) if _is_json_schema(schema) else _of_types(schema)
    if isinstance(schema, Sequence) and not isinstance(schema, str) and schema:
        return _of_names(schema)
    raise ConfigError(f"schema={_short(schema)} is no schema. {_WHAT_TO_WRITE}")


def _of_class(schema: type[BaseModel]) -> Schema:
    from pydantic import RootModel  # noqa: PLC0415 - loads on first use

    if issubclass(schema, RootModel) or not schema.model_fields:
        raise ConfigError(f"The class {schema.__name__} has no fields of its own. {_WHAT_TO_WRITE}")
    fields = {name: info.annotation for name, info in schema.model_fields.items()}
    return _made(_clean(schema.__name__), schema, fields)


def _of_plain_class(schema: Any) -> Schema:  # noqa: ANN401 - a dataclass, or a TypedDict
    """A dataclass gives its own object, a TypedDict a dict."""
    from typing_extensions import get_type_hints  # noqa: PLC0415 - pydantic's; loads on first use

    name = schema.__name__
    try:
        hints = get_type_hints(schema, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:  # a type in quotes that is none, or not defined where it looks
        words = str(error)
    else:
        known = [one.name for one in dataclass_fields(schema) if one.init] if is_dataclass(schema) else list(hints)
        if not known:
            raise ConfigError(f"The class {name} has no fields. {_WHAT_TO_WRITE}")
        fields = {one: hints[one] for one in known}
        return _made(_clean(name), schema if is_dataclass(schema) else as_typed_dict(schema, fields), fields)
    raise ConfigError(f"The types of {name} cannot be read: {words}. {_WHAT_TO_WRITE}")


def _of_names(names: Sequence[object]) -> Schema:
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(f"schema={_short(names)}: a list holds names of fields, as texts. {_WHAT_TO_WRITE}")
    if len(set(names)) < len(names):
        raise ConfigError(f"schema={_short(names)}: a name stands twice. Give each field a name of its own.")
    fields = {str(name): str for name in names}
    return _made("answer", make_typed_dict(dict.fromkeys(fields, text_or_missing())), fields)


def _of_types(types: Mapping[Any, Any]) -> Schema:
    fields = _fields(types, "")
    return _made("answer", _taking(fields), fields)


def _taking(fields: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type
    return make_typed_dict({name: lossless(kind) for name, kind in fields.items()})


def _fields(types: Mapping[Any, Any], path: str) -> dict[str, Any]:
    if not all(isinstance(name, str) and name.strip() for name in types):
        raise ConfigError(f"The names of a schema's fields are texts, not {_short(list(types))}. {_WHAT_TO_WRITE}")
    return {name: _type(kind, f"{path}{name}") for name, kind in types.items()}


def _type(kind: Any, path: str) -> Any:  # noqa: ANN401 - types
    if isinstance(kind, Mapping) and kind:
        return _taking(_fields(kind, f"{path}."))
    is_type = isinstance(kind, type) or get_origin(kind) is not None or kind is Any or hasattr(kind, "__value__")
    if not is_type:
        raise ConfigError(f"schema: {path!r} is to be a type, such as str or list[int], not {_short(kind)}.")
    return kind


def _made(name: str, kind: Any, fields: Mapping[str, Any]) -> Schema:  # noqa: ANN401 - a type
    from pydantic import TypeAdapter  # noqa: PLC0415 - loads on first use
    from pydantic.errors import PydanticUserError  # noqa: PLC0415 - loads on first use

    try:
        adapter = TypeAdapter(kind)
        schema = tightened(_opened(adapter.json_schema()))
    except (PydanticUserError, TypeError, NameError) as error:  # NameError: a class that is not defined yet
        words = str(error).partition("\n")[0]
    else:
        return Schema(name=name, json_schema=schema, fields=fields, adapter=adapter)
    raise ConfigError(f"pydantic cannot make a schema of this: {words[:200]}. {_WHAT_TO_WRITE}")


# --- JSON Schema ------------------------------------------------------------------------------------------------


def _is_json_schema(schema: Mapping[Any, Any]) -> bool:
    """Say whether a dict is a JSON Schema; a dict of types may have fields called `type` or `properties` too."""
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
    from pydantic import TypeAdapter  # noqa: PLC0415 - loads on first use

    if schema.get("type") in ("json_schema", "json_object"):
        raise ConfigError(f"This is a response_format: give the JSON Schema that is in it. {_WHAT_TO_WRITE}")
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"This JSON Schema cannot be written as JSON: {error}. {_WHAT_TO_WRITE}") from None
    opened = _opened(json.loads(text))
    if opened.get("type") != "object" and not opened.get("properties"):
        raise ConfigError(
            "An answer is an object, and this JSON Schema is of something else. Put it into a field: "
            "{'type': 'object', 'properties': {'answer': ...}}.",
        )
    opened = {"type": "object", **opened}
    kind = type_of(opened, opened)
    fields = {name: type_of(part, opened) for name, part in (opened.get("properties") or {}).items()}
    name = _clean(str(schema.get("title") or "answer"))
    try:
        adapter = TypeAdapter(kind)
    except Exception as error:  # noqa: BLE001 - pydantic raises several kinds over bounds that go with no such type
        words = str(error).partition("\n")[0][:200]
    else:
        return Schema(name=name, json_schema=opened, fields=fields, adapter=adapter)
    raise ConfigError(f"This JSON Schema cannot be checked: {words}.")


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose whole is a reference, as a class that contains itself has it, with what that means."""
    if "$ref" not in schema:
        return schema
    meant = resolve(str(schema["$ref"]), schema)
    return {**(meant if isinstance(meant, dict) else {}), **{k: v for k, v in schema.items() if k != "$ref"}}


# --- words ------------------------------------------------------------------------------------------------------


def _words(error: ValidationError) -> str:
    """Return what the validator says, without what it was given."""
    told = error.errors(include_url=False, include_context=False, include_input=False)
    words = [f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['msg']}" for one in told[:_SHOWN_ERRORS]]
    return "; ".join([*words, *([f"and {len(told) - _SHOWN_ERRORS} more"] if len(told) > _SHOWN_ERRORS else [])])


def _clean(name: str) -> str:
    return _NO_NAME.sub("_", name).strip("_")[:_LONGEST_NAME] or "answer"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
