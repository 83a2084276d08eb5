"""JSON Schema on its way in and out: as types that pydantic checks, and as the strict form that providers enforce.

`type_of` reads the part of JSON Schema that people write by hand: types, properties, required, items, enum, const,
anyOf, oneOf, references, bounds. All else is sent as it stands and not checked: `format`, `contentEncoding` and its
like, `uniqueItems`, `contains`, `prefixItems` (and `items` beside it), `minProperties`, `maxProperties`,
`patternProperties`, `propertyNames`, `dependentRequired`, `dependentSchemas`, `unevaluatedProperties`, `not`, `if`,
several `allOf`, `allOf`, `anyOf` or `oneOf` beside a `type` or `properties`, that of `oneOf` no second one fits, what
stands beside a `$ref`, an `enum` or a `const`, and bounds in a part that names no `type`. A schema that contains
itself is checked to its first repetition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, Required, cast, get_origin

from llm_executor_nb.core.errors import ConfigError

_PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": NoneType}
_NUMBERS = ("integer", "number")
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length"}
_COUNTS = {"minItems": "min_length", "maxItems": "max_length"}
_OPTIONS = ("anyOf", "oneOf")
_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")
_NOISE = ("title", "default", "$schema")
"""Keywords that cost tokens, or that a strict provider refuses, and that say nothing of the answer."""


def make_typed_dict(fields: Mapping[str, Any], *, keeps_others: bool = False) -> Any:  # noqa: ANN401 - a type
    """Return a TypedDict with these fields, whatever their names are.

    Args:
        fields: name -> type.
        keeps_others: names that are not among them stay; else they are dropped.
    """
    from typing_extensions import TypedDict  # noqa: PLC0415 - pydantic's; loads on first use

    made = cast("Any", TypedDict)("Answer", dict(fields))
    made.__pydantic_config__ = {"extra": "allow" if keeps_others else "ignore"}
    return made


def as_typed_dict(kind: Any, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401 - types
    """Return a user's TypedDict as one that pydantic takes on every Python: `typing`'s own it refuses below 3.12.

    Args:
        kind: the user's.
        fields: name -> type, with what marks them as required or not.
    """
    is_marked = {name: get_origin(one) in (Required, NotRequired) for name, one in fields.items()}
    made = make_typed_dict(
        {
            name: NotRequired[one] if name in kind.__optional_keys__ and not is_marked[name] else one
            for name, one in fields.items()
        },
    )
    made.__doc__ = kind.__doc__
    return made


# --- in ---------------------------------------------------------------------------------------------------------


def type_of(part: object, root: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - a type
    """Return the type that values of a JSON Schema have.

    Args:
        part: the schema, or a part of it.
        root: the whole, for references.
        seen: the references that are being followed.

    Raises:
        ConfigError: it is no JSON Schema.
    """
    if part is True or part == {}:
        return Any
    if not isinstance(part, Mapping):
        raise ConfigError(f"{part!r} is no part of a JSON Schema. Write a dict, such as {{'type': 'string'}}.")
    if "$ref" in part:
        reference = str(part["$ref"])
        return Any if reference in seen else type_of(resolve(reference, root), root, (*seen, reference))
    if "const" in part or "enum" in part:
        return _one_of([part["const"]] if "const" in part else part["enum"])
    is_composed = not {"type", "properties"} & part.keys()
    if isinstance(several := part.get("allOf"), list) and is_composed:
        return type_of(several[0], root, seen) if len(several) == 1 else Any
    options = next((part[name] for name in _OPTIONS if isinstance(part.get(name), list)), None)
    if options and is_composed:
        return _union(type_of(option, root, seen) for option in options)
    return _typed(part, root, seen)


def resolve(reference: str, root: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return what a reference such as `#/$defs/Address` means.

    Raises:
        ConfigError: nothing stands there.
    """
    found: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    if found is None or not reference.startswith("#"):
        raise ConfigError(f"The JSON Schema refers to {reference!r}, and nothing stands there.")
    return found


def _typed(part: Mapping[str, Any], root: Mapping[str, Any], seen: tuple[str, ...]) -> Any:  # noqa: ANN401 - a type
    kind = part.get("type", "object" if "properties" in part else None)
    if isinstance(kind, list):
        return _union(_typed({**part, "type": one}, root, seen) for one in kind)
    match kind:
        case None:
            return Any
        case "object":
            return _object(part, root, seen)
        case "array":
            items = True if "prefixItems" in part else part.get("items", True)
            return _bounded(list[type_of(items, root, seen)], part, _COUNTS)  # type: ignore[misc] # made at run time
        case "string":
            return _text(part)
        case _ if kind in _PLAIN:
            return _bounded(_PLAIN[kind], part, _BOUNDS if kind in _NUMBERS else {})
    known = ", ".join(("object", "array", *_PLAIN))
    raise ConfigError(f"{kind!r} is no type of JSON Schema; these are: {known}.")


def _object(part: Mapping[str, Any], root: Mapping[str, Any], seen: tuple[str, ...]) -> Any:  # noqa: ANN401 - a type
    properties, others = part.get("properties") or {}, part.get("additionalProperties", True)
    if not isinstance(properties, Mapping):
        raise ConfigError("The properties of a JSON Schema are a dict of name and schema.")
    required = part.get("required") or ()
    if not properties and not required:
        return dict[str, type_of({} if others is False else others, root, seen)]  # type: ignore[misc] # made at run time
    undescribed = {} if others is False else dict.fromkeys(required, others)
    types = {name: type_of(schema, root, seen) for name, schema in {**undescribed, **properties}.items()}
    return make_typed_dict(
        {name: kind if name in required else NotRequired[kind] for name, kind in types.items()},
        keeps_others=others is not False,
    )


def _text(part: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type
    kind = _bounded(str, part, _LENGTHS)
    if not isinstance(pattern := part.get("pattern"), str):
        return kind
    from pydantic import AfterValidator  # noqa: PLC0415 - loads on first use

    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"The pattern {pattern!r} of the JSON Schema cannot be read: {error}.") from None

    def check(text: str) -> str:
        if wanted.search(text) is None:
            raise ValueError(f"does not match the pattern {pattern}")
        return text

    return Annotated[kind, AfterValidator(check)]


def _bounded(kind: Any, part: Mapping[str, Any], names: Mapping[str, str]) -> Any:  # noqa: ANN401 - types
    from pydantic import Field  # noqa: PLC0415 - loads on first use

    bounds: dict[str, Any] = {ours: part[theirs] for theirs, ours in names.items() if part.get(theirs) is not None}
    return Annotated[kind, Field(**bounds)] if bounds else kind


def _one_of(values: object) -> Any:  # noqa: ANN401 - a type
    if not isinstance(values, list) or not values:
        raise ConfigError("The enum of a JSON Schema is a list of one value or more.")
    if all(isinstance(value, str | int | NoneType) for value in values):
        return Literal[tuple(values)]
    from pydantic import AfterValidator  # noqa: PLC0415 - loads on first use

    def check(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if value not in values:
            raise ValueError("it is none of the values that are allowed")
        return value

    return Annotated[Any, AfterValidator(check)]


def _union(options: Iterable[Any]) -> Any:  # noqa: ANN401 - types
    return reduce(or_, (option if option is not Any else object for option in options))


# --- out --------------------------------------------------------------------------------------------------------


def tightened(part: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a schema of pydantic's as strict providers take it: every property required, and no others.

    What has a default in the class is asked for all the same; an answer without it would still fit.
    """
    if not isinstance(part, dict):
        return part
    kept = {name: _inside(name, value) for name, value in part.items() if name not in _NOISE}
    if kept.get("properties"):
        kept.setdefault("additionalProperties", False)
        kept["required"] = list(kept["properties"])
    if "$ref" in kept and len(kept) > 1:  # strict providers allow nothing beside a reference
        kept = {"anyOf": [{"$ref": kept.pop("$ref")}], **kept}
    return kept


def _inside(name: str, value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if name in _NAMED and isinstance(value, dict):
        return {key: tightened(one) for key, one in value.items()}
    if name in _LISTED and isinstance(value, list):
        return [tightened(one) for one in value]
    return tightened(value) if name in _SINGLE else value


def is_strict(part: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    """Say whether a strict provider can enforce a schema as it stands."""
    if not isinstance(part, dict) or not part:
        return False
    if {"oneOf", "allOf", "not", "default", "prefixItems"} & part.keys() or ("$ref" in part and len(part) > 1):
        return False
    if (part.get("type") == "object" or "properties" in part) and not _is_closed(part):
        return False
    if (part.get("type") == "array") != ("items" in part):
        return False
    inner = [one for name in _NAMED for one in (part.get(name) or {}).values()]
    inner += [one for name in _LISTED for one in part.get(name) or ()]
    return all(is_strict(one) for one in [*inner, *([part["items"]] if "items" in part else [])])


def _is_closed(part: Mapping[str, Any]) -> bool:
    properties = part.get("properties")
    is_listed = bool(properties) and set(part.get("required") or ()) == set(properties or ())
    return is_listed and part.get("additionalProperties") is False
