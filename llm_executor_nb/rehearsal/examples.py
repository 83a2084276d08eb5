"""What a practice provider answers to a request with tools or with a response format: JSON that fits the schema.

It is the same for the same question: a number of the question where the schema wants a number, a quoted text or the
question itself where it wants a text. Knows the part of JSON Schema that LangChain and pydantic write. A field with a
`pattern` gets a plain text that matches it: one of the question, of a known format, or one character repeated. Where
none matches, the answer does not fit the schema.
"""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import get_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.rehearsal.requests import ChatRequest

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"")
_KEY = re.compile(r"[A-Za-z_]\w*")
_SHOWN = 60
"""Characters of the question that make a text, if it quotes none."""
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T12:00:00Z",
    "time": "12:00:00",
    "duration": "P1D",
    "email": "practice@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""A text of each format."""
_DIGITS = 9
"""Digits after the point of a multiple; later ones are rounding errors."""
_DEEP = 8
"""How deep a schema that contains itself is followed."""
_REPEATED = tuple(character * count for character in "0aA" for count in range(1, 17))
"""Plain texts to try on a pattern."""


def tool_calls(request: ChatRequest) -> list[dict[str, Any]] | None:
    """Return the one call a practice answer makes; None: it answers with text.

    A tool is called when the choice demands it, or when the choice is free and no tool has answered yet: the one the
    question names, else the first.
    """
    functions = {one["name"]: one for tool in request.tools if isinstance(one := get_in(tool, "function"), dict)}
    choice = request.tool_choice
    is_free = choice is None or choice == "auto"
    if not functions or choice == "none" or (is_free and request.has_tool_result):
        return None
    named = get_in(choice, "function", "name") or next((name for name in functions if name in request.question), None)
    function = functions.get(named) or next(iter(functions.values()))
    arguments = _value(function.get("parameters") or {}, request.question, {}, 0)
    call = {"name": function["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
    return [{"id": f"call_{request.prompt}", "type": "function", "function": call}]


def formatted_text(request: ChatRequest) -> str | None:
    """Return the JSON that a response format or an instruction asks for; None: neither asks for any.

    Without a schema (`json_object`) the keys are the words that the question quotes.
    """
    kind = get_in(request.response_format, "type")
    if kind == "json_schema" or request.prompted_schema is not None:
        return json.dumps(_value(request.schema or {}, request.question, {}, 0), ensure_ascii=False)
    if kind != "json_object":
        return None
    keys = [word for word in _quoted(request.question) if _KEY.fullmatch(word)] or ["answer"]
    return json.dumps({key: _text(f"{key}: {request.question}") for key in keys}, ensure_ascii=False)


def unfitting_text(request: ChatRequest) -> str:
    """Return a JSON object with the names of a schema, and an unfitting value for each."""
    names = get_in(request.schema, "properties") or {"answer": None}
    return json.dumps({name: {"practice": ["not what was asked for"]} for name in names}, ensure_ascii=False)


def call_deltas(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the deltas of a message's tool calls in a stream: first the name, then the arguments in two parts."""
    return [
        {"tool_calls": [{"index": index, **delta}]}
        for index, call in enumerate(message.get("tool_calls") or [])
        for delta in _parts_of_call(call)
    ]


def _parts_of_call(call: dict[str, Any]) -> list[dict[str, Any]]:
    arguments = call["function"]["arguments"]
    cuts = (0, len(arguments) // 2, len(arguments))
    named = {**call, "function": {**call["function"], "arguments": ""}}
    return [named, *({"function": {"arguments": arguments[start:end]}} for start, end in pairwise(cuts))]


def _value(schema: Any, question: str, known: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a value that fits a schema."""
    if not isinstance(schema, dict) or depth > _DEEP:
        return None
    known = {**known, **(schema.get("$defs") or {}), **(schema.get("definitions") or {})}
    if "$ref" in schema:
        return _value(known.get(str(schema["$ref"]).rpartition("/")[2]), question, known, depth + 1)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(several):
            # an optional field is filled: null fits too, but shows its user nothing
            first = next((one for one in options if get_in(one, "type") != "null"), options[0])
            return _value(first, question, known, depth + 1)
    return _typed(schema, question, known, depth)


def _typed(schema: dict[str, Any], question: str, known: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401 - as above
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    match kind:
        case "object":
            parts = schema.get("properties") or {}
            return {name: _value(part, question, known, depth + 1) for name, part in parts.items()}
        case "array":
            return _items(schema, question, known, depth)
        case "integer" | "number":
            return _number(schema, question, is_whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _FORMATS.get(str(schema.get("format"))) or _sized(schema, question)


def _items(schema: dict[str, Any], question: str, known: Mapping[str, Any], depth: int) -> list[Any]:
    """Return as many items as a schema wants, by default one; first those of `prefixItems`."""
    first = [_value(part, question, known, depth + 1) for part in schema.get("prefixItems") or ()]
    part = schema.get("items", not first)
    part = {} if part is True else part
    count = schema.get("minItems", min(1, schema.get("maxItems", 1))) - len(first)
    if not isinstance(part, dict) or count < 1:
        return first
    if schema.get("uniqueItems") and count > 1:
        return [*first, *_different(part, known, depth, count)]
    item = _value(part, question, known, depth + 1)
    return first if item is None else [*first, *[item] * count]


def _different(part: dict[str, Any], known: Mapping[str, Any], depth: int, count: int) -> list[Any]:
    """Return different items: the values of an enum, else the values for different questions."""
    resolved = known.get(str(part.get("$ref")).rpartition("/")[2], part)
    if options := get_in(resolved, "enum"):
        return list(options[:count])
    return [_value(part, f"'{number}'", known, depth + 1) for number in range(1, count + 1)]


def _sized(schema: dict[str, Any], question: str) -> str:
    """Return a text of the schema's length, and of its pattern if a plain text matches it."""
    least, most = schema.get("minLength") or 0, schema.get("maxLength")
    texts = [*_quoted(question), question]
    fitted = _text(texts[0]).ljust(least, ".")[:most]
    if not isinstance(schema.get("pattern"), str):
        return fitted
    candidates = (fitted, *texts, *_NUMBER.findall(question), *_FORMATS.values(), *_REPEATED)
    sized = (text for text in candidates if least <= len(text) <= (most or len(text)))
    return next((text for text in sized if _matches(schema["pattern"], text)), fitted)


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, OverflowError, RecursionError, Warning):  # a set in a set warns, and warnings may be errors
        return False


def _number(schema: dict[str, Any], question: str, *, is_whole: bool) -> float:
    """Return the first number of the question, moved as little as its bounds need."""
    match = _NUMBER.search(question)
    step = schema.get("multipleOf") or (1 if is_whole else 0)
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    number = min(max(float(match[0]) if match else 1.0, low), high)
    if not above < number < below:
        number = _between(max(low, above), min(high, below))
    if step:
        number = round(math.floor(number / step) * step, _DIGITS)
        number += step * (number < low or number <= above)
    return int(number) if is_whole else number


def _between(low: float, high: float) -> float:
    """Return a number between two bounds, of which one at least is finite."""
    if math.isinf(high):
        return low + 1
    return high - 1 if math.isinf(low) else (low + high) / 2


def _quoted(text: str) -> list[str]:
    return [first or second for first, second in _QUOTED.findall(text)]


def _text(words: str) -> str:
    return words[:_SHOWN] or "practice"
