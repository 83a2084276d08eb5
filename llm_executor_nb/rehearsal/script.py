"""The fault language: which requests of a rehearsal meet which fault.

    openrouter[1]: 401; openrouter: 429*2 retry-after=1, 5%503; huggingface/scaleway: down@10..20, latency=0.2

Rules are separated by `;` or line breaks. A rule is `target: effect, effect`; rules, and the effects in a rule, are
tried in the order they are written, and the first that applies to a request decides. A request that meets none is
answered.

target   `*` everything; `openrouter`, `huggingface`; `openrouter[2]` the second key; `openrouter[..a1b2]` the key
         with that ending; `huggingface/scaleway` a provider; `huggingface[1]/scaleway` both
effect   a status code or a name of the catalogue, perhaps with `=value`, and with options behind it,
         `429 retry-after=1`; one that makes no sense for a request (a fault of streams, of the other backend) passes
         it by. Answers under `rate=20/min headers` tell in their headers what is left; refusals by `rate=20/min
         untimed` do not say when to come again. `at-once=6` takes six requests at once of each backend, whatever
         their keys, and refuses the rest at once with 503, `at-once=6 429` with 429. `chokes=WORD` fails with 500
         where the last message contains the word. `latency=0.2` and `pace=0.01` (seconds between the pieces of a
         stream) go with whatever else decides
when     nothing: always; `429*2`: two times; `503@10..20`, `503@10..`, `503@10`: the target's requests with these
         numbers, from 1, whatever became of them; `5%503`: that share of requests, drawn by the rehearsal's seed
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import SHOWN
from llm_executor_nb.rehearsal.catalogue import entry_of, listing, near_names
from llm_executor_nb.rehearsal.entry import AS_429, TELLS, UNTIMED, is_count, is_seconds
from llm_executor_nb.rehearsal.rules import EVERYTHING, Effect, ScriptRule, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.entry import FaultSpec

BACKENDS = (OPENROUTER, HUGGINGFACE)
_TARGET = re.compile(r"(?P<backend>\*|[\w-]+)(?:\[(?P<key>[^\[\]]*)\])?(?:/(?P<provider>[\w.-]+))?")
_EFFECT = re.compile(
    r"(?:(?P<share>\d+(?:\.\d+)?)%)?(?P<fault>[\w-]+)(?:=(?P<value>[^\s*@%]+))?"
    r"(?:\*(?P<times>\d+))?(?:@(?P<first>\d+)(?P<range>\.\.(?P<last>\d+)?)?)?",
)


@dataclass(frozen=True, slots=True, repr=False)
class Script:
    """The rules of a rehearsal, in order. `str()` gives a text that parses to the same rules."""

    rules: tuple[ScriptRule, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.rules))

    def __repr__(self) -> str:
        return f"parse_script({str(self)!r})"


def parse_script(text: str) -> Script:
    """Return the rules a text tells.

    Raises:
        ConfigError: a part cannot be read; the message quotes it and lists what is known.
    """
    told = [part.strip() for part in re.split(r"[;\n]", text)]
    return Script(tuple(_rule(number, part) for number, part in enumerate(filter(None, told), start=1)))


def _rule(number: int, text: str) -> ScriptRule:
    def fail(problem: str) -> ConfigError:
        return ConfigError(
            f"Rule {number} of the rehearsal, {text!r}: {problem}\n"
            "Targets: * (everything), openrouter, huggingface, openrouter[1] (the first key), "
            "openrouter[..a1b2] (the key with that ending), huggingface/scaleway (a provider).\n"
            "Faults: 429*2 (twice), 503@10..20 (these requests), 5%503 (that share), 429 retry-after=1 (an option); "
            f"any status such as 503, and these:\n{listing()}",
        )

    told, colon, effects = text.partition(":")
    if not colon:
        raise fail("a rule is `target: effect`; the colon is missing.")
    target = _target(told.strip(), fail)
    return ScriptRule(target=target, effects=tuple(_effect(part.strip(), target, fail) for part in effects.split(",")))


def _target(text: str, fail: Callable[[str], ConfigError]) -> Target:
    found = _TARGET.fullmatch(text)
    if found is None:
        raise fail(f"{text!r} is not a target.")
    backend, key, provider = found.group("backend", "key", "provider")
    if backend == EVERYTHING and text != EVERYTHING:
        raise fail(f"in {text!r}, a key or a provider needs the name of its backend before it.")
    if backend not in {EVERYTHING, *BACKENDS}:
        near = get_close_matches(backend, BACKENDS, n=1)
        raise fail(f"{backend!r} is not a backend.{_did_you_mean(near)}")
    if provider and backend == OPENROUTER:
        raise fail(f"in {text!r}, {provider!r} cannot be told apart: OpenRouter chooses its providers itself.")
    number, key_ending = (None, None) if key is None else _key(key.strip(), fail)
    return Target(
        backend=None if backend == EVERYTHING else backend,
        key_number=number,
        key_ending=key_ending,
        provider=provider,
    )


def _key(text: str, fail: Callable[[str], ConfigError]) -> tuple[int | None, str | None]:
    if text.isdecimal() and int(text) > 0:
        return int(text), None
    shown = text.removeprefix("..")
    if text == shown or not shown or len(shown) > SHOWN:
        raise fail(f"[{text}] names no key: write its number from 1, or its last {SHOWN} characters as [..a1b2].")
    return None, text


def _effect(text: str, target: Target, fail: Callable[[str], ConfigError]) -> Effect:
    head, *more = text.split() or [""]
    found = _EFFECT.fullmatch(head)
    if found is None:
        raise fail(f"{head!r} is not an effect." if head else "an effect is missing.")
    name, value = found.group("fault", "value")
    kind = entry_of(name)
    if kind is None:
        raise fail(f"{name!r} is not a fault.{_did_you_mean(near_names(name))}")
    if target.backend not in {None, *kind.backends}:
        raise fail(f"{name!r} is a fault of {' and '.join(kind.backends)}; {target.backend} never says that.")
    _check_value(head, value, kind, fail)
    effect = Effect(
        fault=name,
        value=value,
        options=tuple(_option(part, name, kind, fail) for part in more),
        share=float(found["share"]) if found["share"] else None,
        times=int(found["times"]) if found["times"] else None,
        first=int(found["first"] or 1),
        last=_last(found),
    )
    _check_when(head, effect, fail)
    return effect


def _last(found: re.Match[str]) -> int | None:
    if found["range"]:
        return int(found["last"]) if found["last"] else None
    return int(found["first"]) if found["first"] else None


def _check_value(head: str, value: str | None, kind: FaultSpec, fail: Callable[[str], ConfigError]) -> None:
    if value is None:
        if kind.needs_value:
            raise fail(f"{head!r} needs a value, as in {kind.example}.")
    elif kind.is_value is None:
        raise fail(f"{head!r}: this fault takes no value.")
    elif not kind.is_value(value):
        raise fail(f"{value!r} in {head!r} cannot be read; write it as in {kind.example}.")


def _check_when(head: str, effect: Effect, fail: Callable[[str], ConfigError]) -> None:
    if effect.share is not None and not 0 < effect.share <= 100:
        raise fail(f"the share in {head!r} is above 0 and at most 100.")
    if effect.times == 0 or effect.first == 0:
        raise fail(f"{head!r} counts from 1.")
    if effect.last is not None and effect.last < effect.first:
        raise fail(f"{head!r} ends before it begins.")


def _option(text: str, fault: str, kind: FaultSpec, fail: Callable[[str], ConfigError]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if name not in kind.options:
        known = ", ".join(kind.options) or "none"
        raise fail(f"{text!r} is not an option of {fault!r}; it has: {known}.")
    if name in _FLAG_EXAMPLES:
        if equals:
            raise fail(f"{text!r} takes no value, as in {_FLAG_EXAMPLES[name]}.")
        return name, ""
    if not value or (name == "retry-after" and not is_seconds(value)):
        raise fail(f"{text!r} needs a value, as in {_OPTION_EXAMPLES[name]}.")
    if name == "burst" and not is_count(value):
        raise fail(f"{text!r} needs a whole number from 1, as in {_OPTION_EXAMPLES[name]}.")
    return name, value


_FLAG_EXAMPLES = {TELLS: f"rate=20/min {TELLS}", UNTIMED: f"rate=20/min {UNTIMED}", AS_429: f"at-once=6 {AS_429}"}
_OPTION_EXAMPLES = {"retry-after": "retry-after=1", "source": "source=openrouter_key_limit", "burst": "burst=5"}


def _did_you_mean(near: list[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
