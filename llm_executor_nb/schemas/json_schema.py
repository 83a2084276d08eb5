"""JSON Schema: a user's own, checked by `jsonschema`, and the strict form of one that providers enforce.

All keywords are checked but those that only describe: `format`, `contentEncoding` and its like. Property names that a
schema forbids by `additionalProperties: false` are dropped, for the answer was paid for and has all that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from llm_executor_nb.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[dict[str, Any]], object]

_PLAIN = {
    "string": str, "integer": int, "number": float, "boolean": bool, "null": NoneType, "array": list, "object": dict,
}  # fmt: skip
_OPTIONS = ("anyOf", "oneOf", "allOf")
_NAMED = ("properties", "$defs", "definitions")
_LISTED = (*_OPTIONS, "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")
_NOISE = ("title", "default", "$schema")
"""Keywords that cost tokens, or that a strict provider refuses, and that say nothing about the answer."""
_VALUES = ("const", "enum", "default", "examples")
"""Keywords whose value is data, not a schema."""
_MESSAGES = {
    None: "must not be there",
    "type": "must be of type {}",
    "properties": "must be an object",
    "enum": "must be one of {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "pattern": "must match the pattern {}",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "anyOf": "fits none of the options that the schema allows",
    "oneOf": "must fit exactly one of the options that the schema allows",
}
"""What a model is told, by keyword; None: the schema is `false`.

jsonschema's own messages repeat the value that the model wrote, which may be long.
"""
_FAULTS_SHOWN = 4
_SHOWN = 100
"""Characters of what a keyword demands, such as a long enum."""


# --- a user's schema --------------------------------------------------------------------------------------------


def make_check(schema: Mapping[str, Any]) -> Check:
    """Return what checks an answer against a JSON Schema; it returns the answer, or raises ValueError with its faults.

    Raises:
        ConfigError: this is not a JSON Schema, or it refers to something outside itself.
    """
    validator = _make_validator(schema)

    def check(answer: dict[str, Any]) -> object:
        json.dumps(answer, ensure_ascii=False).encode()  # half a surrogate pair is not text, and no database takes it
        if faults := [_message(error) for error in validator.iter_errors(answer)]:
            raise ValueError(joined(faults))
        return _without_others(answer, schema, validator)

    return check


def _make_validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - jsonschema has no types
    from jsonschema import SchemaError  # type: ignore[import-untyped]  # noqa: PLC0415 - loads on first use
    from jsonschema.validators import (  # type: ignore[import-untyped]  # noqa: PLC0415 - the same
        Draft202012Validator,
        extend,
        validator_for,
    )
    from referencing.jsonschema import EMPTY_REGISTRY  # noqa: PLC0415 - jsonschema's; the same

    draft = validator_for(schema, default=Draft202012Validator)
    try:
        draft.check_schema(schema)
    except SchemaError as error:
        path = ".".join(map(str, error.absolute_path))
        is_type = path.rpartition(".")[2] == "type"
        fault = f"{error.instance!r} is not one of the types {', '.join(_PLAIN)}" if is_type else error.message
        raise ConfigError(f"This is not a JSON Schema: {path and f'{path}: '}{fault}.") from None
    for reference in _references(schema):
        resolve(reference, schema)
    # Without a registry, jsonschema would look up foreign references over the network.
    return extend(draft, _lenient(draft.VALIDATORS))(schema, registry=EMPTY_REGISTRY)


def _lenient(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return two keywords as people mean them: names that are forbidden besides may be there, to be dropped afterwards.

    And `properties` without a `type` means an object; to JSON Schema any text would fit them.
    """

    def additional_properties(validator: Any, others: Any, value: Any, part: Any) -> Any:  # noqa: ANN401 - jsonschema's
        return () if others is False else keywords["additionalProperties"](validator, others, value, part)

    def properties(validator: Any, known: Any, value: Any, part: Any) -> Any:  # noqa: ANN401 - jsonschema's
        is_object = "type" in part or validator.is_type(value, "object")
        return keywords["properties" if is_object else "type"](validator, known if is_object else "object", value, part)

    return {"additionalProperties": additional_properties, "properties": properties}


def resolve(reference: str, root: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the part of a schema that a reference such as `#/$defs/Address` names.

    Raises:
        ConfigError: the schema has no such part.
    """
    part: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, Mapping) else None
    if part is None or not reference.startswith("#"):
        raise ConfigError(f"The JSON Schema refers to {reference!r}, which it does not contain.")
    return part


def type_of(part: Any, root: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - JSON; a type
    """Return the type of the values of a JSON Schema, as far as a column of a frame needs it.

    Args:
        part: the schema, or a part of it.
        root: the whole schema, for references.
        seen: the references being followed; a schema may contain itself.
    """
    if not isinstance(part, Mapping):
        return Any
    if (reference := part.get("$ref")) is not None:
        return Any if reference in seen else type_of(resolve(reference, root), root, (*seen, reference))
    if "const" in part or "enum" in part:
        return _choices([part["const"]] if "const" in part else part["enum"])
    if "type" not in part and "properties" not in part:
        options = next((part[name] for name in _OPTIONS if part.get(name)), ())
        return _union([type_of(option, root, seen) for option in options])
    kind = part.get("type", "object")
    return _union([_PLAIN.get(one, Any) for one in (kind if isinstance(kind, list) else [kind])])


def joined(faults: list[str]) -> str:
    """Return the first faults of an answer in one line, and how many there are besides."""
    rest = len(faults) - _FAULTS_SHOWN
    return "; ".join([*faults[:_FAULTS_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


def _choices(values: list[Any]) -> Any:  # noqa: ANN401 - a type
    if not values:
        raise ConfigError("The enum of a JSON Schema is a list of one value or more.")
    return Literal[tuple(values)] if all(isinstance(value, str | int | NoneType) for value in values) else Any


def _union(options: list[Any]) -> Any:  # noqa: ANN401 - types
    return reduce(or_, (object if option is Any else option for option in options)) if options else Any


def _references(part: object) -> Iterator[str]:
    if isinstance(part, list):
        for one in part:
            yield from _references(one)
    elif isinstance(part, Mapping):
        if isinstance(reference := part.get("$ref"), str):
            yield reference
        for name, one in part.items():
            if name not in _VALUES:
                yield from _references(one)


def _message(error: Any) -> str:  # noqa: ANN401 - jsonschema's ValidationError
    """Return where a fault is and what is wanted there; of an anyOf's options, those of the one that fits best."""
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]  # noqa: PLC0415 - as above

    error = best_match([error])
    path = ".".join(map(str, error.absolute_path)) or "the object"
    if error.validator == "required":
        return f"{path}: {error.message}"
    message = _MESSAGES.get(error.validator, f"does not fit {error.validator} of the schema")
    return f"{path}: {message.format(_shown(error.validator, error.validator_value))}"


def _shown(keyword: str | None, wanted: Any) -> str:  # noqa: ANN401 - JSON of any shape
    if keyword == "type":
        return " or ".join(wanted) if isinstance(wanted, list) else str(wanted)
    text = wanted if keyword == "pattern" else json.dumps(wanted, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _without_others(value: Any, part: Any, validator: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a valid value without the names that its schema forbids."""
    if not isinstance(part, Mapping) or not isinstance(value, dict | list):
        return value
    if (reference := part.get("$ref")) is not None:
        return _without_others(value, resolve(reference, validator.schema), validator)
    for option in part.get("allOf") or ():
        value = _without_others(value, option, validator)
    options = [one for name in ("anyOf", "oneOf") for one in part.get(name) or ()]
    fitting = [one for one in options if validator.evolve(schema=one).is_valid(value)]
    if fitting:  # of several options that fit, the one that allows the most names
        value = max((_without_others(value, one, validator) for one in fitting), key=len)
    if isinstance(value, list):
        return [_without_others(one, part.get("items"), validator) for one in value]
    properties, others = part.get("properties") or {}, part.get("additionalProperties", True)
    if others is False and "patternProperties" not in part:
        value = {name: one for name, one in value.items() if name in properties}
    return {name: _without_others(one, properties.get(name, others), validator) for name, one in value.items()}


# --- the strict form --------------------------------------------------------------------------------------------


def tightened(part: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a schema of pydantic's in the form that strict providers take: all properties required, no others.

    A property with a default in the class is required too; an answer without it would still fit the class.
    """
    if not isinstance(part, dict):
        return part
    tight = {name: _inside(name, value) for name, value in part.items() if name not in _NOISE}
    if tight.get("properties"):
        tight.setdefault("additionalProperties", False)
        tight["required"] = list(tight["properties"])
    if "$ref" in tight and len(tight) > 1:  # strict providers allow nothing beside a reference
        tight = {"anyOf": [{"$ref": tight.pop("$ref")}], **tight}
    return tight


def _inside(name: str, value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if name in _NAMED and isinstance(value, dict):
        return {key: tightened(one) for key, one in value.items()}
    if name in _LISTED and isinstance(value, list):
        return [tightened(one) for one in value]
    return tightened(value) if name in _SINGLE else value


def is_strict(part: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    """Whether a strict provider can enforce a schema as it stands."""
    if not isinstance(part, dict) or not part:
        return False
    if {"oneOf", "allOf", "not", "default", "prefixItems"} & part.keys() or ("$ref" in part and len(part) > 1):
        return False
    if (part.get("type") == "object" or "properties" in part) and not _is_closed(part):
        return False
    if (part.get("type") == "array") != ("items" in part):  # strict providers want the items of every list described
        return False
    inner = [one for name in _NAMED for one in (part.get(name) or {}).values()]
    inner += [one for name in _LISTED for one in part.get(name) or ()]
    return all(is_strict(one) for one in [*inner, *([part["items"]] if "items" in part else [])])


def _is_closed(part: Mapping[str, Any]) -> bool:
    properties = part.get("properties")
    is_listed = bool(properties) and set(part.get("required") or ()) == set(properties or ())
    return is_listed and part.get("additionalProperties") is False
