"""Which of the parameters that we add to a request is an error about?

What we add is ours to leave out (design 3.1). Providers name it in three ways: in a field (`param`, `loc`, `field`),
anywhere in the words, or with words that can only be about it (a schema that has "too many states"). The whole error
is read, also JSON inside its texts, because gateways wrap the error behind them. Fields that repeat the request are
skipped.

Sources: public threads of the providers' and their users' repositories, as collected on 2026-11-25.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core.foreign_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

RESPONSE_FORMAT: Final = "response_format"
STREAM_OPTIONS: Final = "stream_options"
METADATA: Final = "X-OpenRouter-Metadata"
"""A header: it asks OpenRouter who was considered and who answered."""
TOOLS: Final = "tools"
"""The schema of a tool; some gateways send a response format as a tool of their own."""
FAILED_OUTPUT: Final = "failed_output"
"""Not a parameter: the model's output did not fit the format, and the provider discarded it."""

_DEEPEST = 12
_MOST_TEXTS = 200
_MOST_PARTS = 5_000
"""Objects, lists and texts that are read."""
_LONGEST_LOC = 20
_LONGEST = 4000
_MOST_CHARACTERS, _MOST_PARSED = 30_000, 200_000
"""Characters of all texts together that are read, and that are parsed as JSON."""
_SKIPPED = frozenset(
    {"choices", "failed_generation", "input", "openrouter_metadata", "request", "request_body", "usage"}
)
"""Fields of an error that repeat the request, or hold a model's output."""
_PARAMETER = frozenset({"field", "loc", "param", "parameter"})
"""Fields of an error that name a parameter."""

_OTHERS = re.compile(
    r"^(body\.)?(messages|contents?|prompt|model|temperature|top_[pk]|(max|min)_\w+|stop|seed|n|stream|user|reasoning\w*"
    r"|logit_bias|(top_)?logprobs|\w+_penalty|tool_choice|parallel_tool_calls|functions?|metadata|modalities"
    r"|(image|audio|file|input)\w*)\b(?!_)"
)
"""Parameters that are not ours. An error that names one of them and says "schema" is still not about our schema."""
_OF_TOOLS = re.compile(
    r"\btools?(\[\d+\]|\.\d+)|^(body\.)?tools?\b|function_declarations|for (the )?(function|tool)\b|input_schema",
    re.IGNORECASE,
)
_OF_METADATA = re.compile(METADATA, re.IGNORECASE)
_OF_STREAM = re.compile(r"stream[_ -]?options?|include[_ ]?usage", re.IGNORECASE)
_OF_FAILED_OUTPUT = re.compile(
    r"json_validate_failed|failed to generate json|generated json does not match"
    r"|output that does not match the expected \S+ format",
    re.IGNORECASE,
)
_OF_FORMAT = re.compile(
    r"response[_ -]?(format|schema|mime)|json_?(schema|object)\b|json[ -]mode"
    r"|structured[_ -]?(output|generation|decoding|response)|output_?(format|config|schema)\b(?! .{0,20}(image|audio))"
    r"|guided[_ -]?(json|decoding|generation|grammar)|xgrammar|llguidance|lm-format-enforcer|text\.format"
    r"|requested parameters|support (for )?parameters",
    re.IGNORECASE,
)
"""Names of a response format: ours, the providers' own, and those of the libraries that enforce it."""
_OF_SCHEMA = re.compile(
    r"json schema|(invalid|unsupported|specified|provided|supplied|your|output) schema|schema in generation_?config"
    r"|schemas? (\S+ ){0,2}(too (large|complex|deep|big|many)|(not |un)supported)|nesting depth|too many states"
    r"|grammar (\S+ ){0,2}(too (large|complex)|not (valid|supported)|invalid|unsupported)"
    r"|(pars(e|ing)|compil(e|ed|ing)|initializ(e|ing)|build(ing)?|invalid|unsupported) (\S+ ){0,2}grammar"
    r"|additionalProperties|patternProperties|\$(ref|defs|schema)\b|\b(anyOf|oneOf|allOf|(min|max|prefix)Items)\b"
    r"|for '(object|array|string|integer|number|boolean)' type|for OBJECT type"
    r"|input should be 'text'|^invalid format(: \"|[:;,]? ?expected|$)|invalid (json )?(schema )?in format"
    r"|struct field \w+\.format\b|mime_?type\b.{0,40}application/json",
    re.IGNORECASE,
)
"""Words that can only be about a schema, unless the error names another parameter or a tool."""

_BEGINS_A_LIST = re.compile(r"\b(one of|supported|allowed|valid|permitted|known|accepted)\b", re.IGNORECASE)
_IN_A_LIST = re.compile(r"\bmessages\b", re.IGNORECASE)
"""In one sentence: a list of what could have been sent instead, which is about none of it."""
_AT_THE_BEGINNING = re.compile(r"^\W*((?:[A-Za-z_]\w*)(?:[.\[]\w+\]?)+): ")
"""A parameter before the words about it: `messages.0.content: ...`."""
_WRAPPED = re.compile(r"""['"](?:param|parameter|field)\\*['"]: *\\*['"]([^'"\\]+)""")
"""A field that names a parameter, in JSON that is cut or is only a part of a text."""
_LOC = re.compile(r"""['"]loc['"]: *[(\[]([^)\]]{0,200})[)\]]""")
_MSG = re.compile(r"""['"]msg['"]: *(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")
"""Parts of the `repr` of a validator's errors, which some servers send as a text."""


def parameters_named_in(*parts: object) -> frozenset[str]:
    """Return which of the parameters that we may have added an error is about. Never raises.

    Args:
        parts: of an error: parsed JSON of any shape, or texts.
    """
    parameters: list[str] = []
    words: list[str] = []
    reader = _Reader()
    for is_parameter, text in islice((one for part in parts for one in reader.texts(part)), _MOST_TEXTS):
        (parameters if is_parameter else words).append(text)
    return frozenset(_matches(parameters, words))


def _matches(parameters: list[str], words: list[str]) -> Iterator[str]:
    texts = [*parameters, *words]
    if any(map(_OF_METADATA.search, texts)):
        yield METADATA
    if any(map(_OF_STREAM.search, texts)):
        yield STREAM_OPTIONS
    # before the format, which these errors name too, although the route takes it
    if any(map(_OF_FAILED_OUTPUT.search, texts)):
        yield FAILED_OUTPUT
    elif any(map(_OF_FORMAT.search, texts)):
        yield RESPONSE_FORMAT
    elif any(map(_OF_TOOLS.search, texts)):  # before schemas: a tool has a schema too, which is the user's
        yield TOOLS
    elif not any(map(_OTHERS.search, parameters)) and any(map(_OF_SCHEMA.search, words)):
        yield RESPONSE_FORMAT


class _Reader:
    """Reads the texts of one error, as far as its bounds allow: some servers repeat the request in it."""

    def __init__(self) -> None:
        self._parts_left = _MOST_PARTS
        self._characters_left, self._parsed_left = _MOST_CHARACTERS, _MOST_PARSED

    def texts(self, value: object, name: str = "", depth: int = 0) -> Iterator[tuple[bool, str]]:
        """Yield the texts of an error, each with whether it names a parameter."""
        self._parts_left -= 1
        if depth > _DEEPEST:
            return
        match value:
            case dict():
                for key, inner in value.items():
                    if key not in _SKIPPED and self._parts_left > 0:
                        yield from self.texts(inner, str(key), depth + 1)
            case list() if name == "loc":
                yield True, ".".join(str(one) for one in value[:_LONGEST_LOC] if isinstance(one, str | int))[:_LONGEST]
            case list():
                for inner in value[: self._parts_left]:
                    if self._parts_left > 0:
                        yield from self.texts(inner, name, depth + 1)
            case str():
                yield from self._of_text(value, name, depth)

    def _of_text(self, text: str, name: str, depth: int) -> Iterator[tuple[bool, str]]:
        is_json = name not in _PARAMETER and text.lstrip()[:1] in {"{", "["} and len(text) <= self._parsed_left
        if is_json:
            self._parsed_left -= len(text)
            if (nested := parse_json(text)) is not None:
                yield from self.texts(nested, depth=depth + 1)
                return
        text = text[: min(_LONGEST, self._characters_left)]
        self._characters_left -= len(text)
        if name in _PARAMETER:
            yield True, text
        else:
            yield from _in_words(text)


def _in_words(text: str) -> Iterator[tuple[bool, str]]:
    """Yield a text, and the parameters that it names."""
    if _LOC.search(text):  # the rest of such a `repr` repeats the input
        for loc in _LOC.findall(text):
            yield True, ".".join(re.findall(r"\w+", loc))
        for message in _MSG.findall(text):
            yield False, "".join(message)
        return
    text = _without_list(text)
    for parameter in (*_WRAPPED.findall(text), *_AT_THE_BEGINNING.findall(text)):
        yield True, parameter
    yield False, text


def _without_list(text: str) -> str:
    """Return a text up to a list of parameters; in one pattern this would take a time that grows with its square."""
    begin = 0
    for sentence in text.split("."):
        word = _BEGINS_A_LIST.search(sentence)
        if word is not None and _IN_A_LIST.search(sentence, word.end()):
            return text[: begin + word.start()]
        begin += len(sentence) + 1
    return text
