"""The fault language: which requests of a rehearsal meet which fault.

    openrouter[1]: 401; openrouter: 429*2 retry-after=1, 5%503; huggingface/scaleway: down@10..20, latency=0.2

Rules are separated by `;` or line breaks. A rule is `target: effect, effect`. Rules, and the effects in a rule, are
tried in the order they are written. The first that applies to a request decides; without one, the request is answered.

target   `*` everything; `openrouter`, `huggingface`; `openrouter[2]` the second key; `openrouter[..a1b2]` the key
         with that ending; `huggingface/scaleway` a provider; `huggingface[1]/scaleway` both
effect   a status code or a name of the catalogue, perhaps with `=value`, and with options after it,
         `429 retry-after=1`. One that makes no sense for a request (a fault of streams, of the other backend) passes
         it by. Answers under `rate=20/min headers` say in their headers what is left; refusals by `rate=20/min
         untimed` do not say when to come again. `at-once=6` takes six requests at once of each backend, whatever
         their keys, and refuses the rest at once with 503, `at-once=6 429` with 429. `chokes=WORD` fails with 500
         where the last message contains the word. Under `knee=32` latency grows in proportion to the requests in a
         backend, from the 32nd on: the 64th waits twice as long. `latency=0.2` and `pace=0.01` (seconds between the
         pieces of a stream) are added to whatever else decides; Hugging Face's list has a provider's figures as they
         are then.
         `latency=0.2~1` is lognormal, with that median and sigma; with `5%latency=30` a share of the requests hangs.
         `expires=14` is in the list of OpenRouter: its models end in so many days
when     nothing: always; `429*2`: two times; `503@10..20`, `503@10..`, `503@10`: the target's requests with these
         numbers, from 1, counting all; `5%503`: that share of requests, drawn by the rehearsal's seed
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import did_you_mean, near_names
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.core.secret import SHOWN
from llm_executor_nb.rehearsal.catalogue import faults_like, find_fault, listing
from llm_executor_nb.rehearsal.rules import (
    AS_429,
    BOTH,
    RETRY_AFTER,
    SHOWS_LIMIT,
    SOURCE,
    UNTIMED,
    Effect,
    ScriptRule,
    Target,
    is_count,
    is_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.rehearsal.rules import FaultSpec

    Fail = Callable[..., ConfigError]
    """Makes the error of a rule: of the problem, and of near names."""

EVERYTHING = "*"
_TARGET = re.compile(r"(?P<backend>\*|[\w-]+)(?:\[(?P<key>[^\[\]]*)\])?(?:/(?P<provider>[\w.-]+))?")
_EFFECT = re.compile(
    r"(?:(?P<share>\d+(?:\.\d+)?)%)?(?P<fault>[\w-]+)(?:=(?P<value>[^\s*@%]+))?"
    r"(?:\*(?P<times>\d+))?(?:@(?P<first>\d+)(?P<range>\.\.(?P<last>\d+)?)?)?",
)


@dataclass(frozen=True, slots=True, repr=False)
class Script:
    """The rules of a rehearsal, in order, and the text that they were read from."""

    rules: tuple[ScriptRule, ...] = ()
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"parse_script({self.text!r})"


def parse_script(text: str) -> Script:
    """Return the rules of a text.

    Raises:
        ConfigError: a part cannot be read; the message quotes it and lists what is known.
    """
    parts = filter(None, (part.strip() for part in re.split(r"[;\n]", text)))
    return Script(tuple(_rule(number, part) for number, part in enumerate(parts, start=1)), text.strip())


def _rule(number: int, text: str) -> ScriptRule:
    def fail(problem: str, near: Iterable[str] = ()) -> ConfigError:
        cause = f"Rule {number} of the rehearsal, {text!r}: {problem}"
        if hint := did_you_mean(map(repr, near)):  # two hundred other names would hide it
            return ConfigError(cause + hint)
        return ConfigError(
            f"{cause}\n"
            "Targets: * (everything), openrouter, huggingface, openrouter[1] (the first key), "
            "openrouter[..a1b2] (the key with that ending), huggingface/scaleway (a provider).\n"
            "Faults: 429*2 (twice), 503@10..20 (these requests), 5%503 (that share), 429 retry-after=1 (an option); "
            f"any status such as 503, and these:\n{listing()}",
        )

    target_text, colon, effects = text.partition(":")
    if not colon:
        raise fail("a rule is `target: effect`; the colon is missing.")
    target = _target(target_text.strip(), fail)
    return ScriptRule(target=target, effects=tuple(_effect(part.strip(), target, fail) for part in effects.split(",")))


def _target(text: str, fail: Fail) -> Target:
    match = _TARGET.fullmatch(text)
    if match is None:
        raise fail(f"{text!r} is not a target.")
    backend, key, provider = match.group("backend", "key", "provider")
    if backend == EVERYTHING and text != EVERYTHING:  # the first key of which backend?
        raise fail(f"in {text!r}, a key or a provider needs the name of its backend before it.")
    if backend not in {EVERYTHING, *BOTH}:
        near = near_names(backend, BOTH)
        raise fail(f"{backend!r} is not a backend.", near)
    if provider and backend == OPENROUTER:
        # OpenRouter's requests do not name a provider, so a rule on one would never apply
        raise fail(f"in {text!r}, {provider!r} cannot be a target: OpenRouter chooses its providers itself.")
    number, key_ending = (None, None) if key is None else _key(key.strip(), fail)
    return Target(
        backend=None if backend == EVERYTHING else backend,
        key_number=number,
        key_ending=key_ending,
        provider=provider,
    )


def _key(text: str, fail: Fail) -> tuple[int | None, str | None]:
    if text.isdecimal() and int(text) > 0:
        return int(text), None
    shown = text.removeprefix("..")
    if text == shown or not shown or len(shown) > SHOWN:
        raise fail(f"[{text}] names no key: write its number from 1, or its last {SHOWN} characters as [..a1b2].")
    return None, text


def _effect(text: str, target: Target, fail: Fail) -> Effect:
    head, *more = text.split() or [""]
    match = _EFFECT.fullmatch(head)
    if match is None:
        raise fail(f"{head!r} is not an effect." if head else "an effect is missing.")
    name, value = match.group("fault", "value")
    spec = find_fault(name)
    if spec is None:
        raise fail(f"{name!r} is not a fault.", faults_like(name))
    if target.backend not in {None, *spec.backends}:
        raise fail(f"{name!r} is a fault of {' and '.join(spec.backends)}; {target.backend} never says that.")
    _check_value(head, value, spec, fail)
    effect = Effect(
        fault=name,
        value=value,
        options=tuple(_option(part, name, spec, fail) for part in more),
        share=float(match["share"]) if match["share"] else None,
        times=int(match["times"]) if match["times"] else None,
        first=int(match["first"] or 1),
        last=_last(match),
    )
    _check_when(head, effect, fail)
    return effect


def _last(match: re.Match[str]) -> int | None:
    if match["range"]:
        return int(match["last"]) if match["last"] else None
    return int(match["first"]) if match["first"] else None


def _check_value(head: str, value: str | None, spec: FaultSpec, fail: Fail) -> None:
    if value is None:
        if spec.needs_value:
            raise fail(f"{head!r} needs a value, as in {spec.example}.")
    elif spec.is_value is None:
        raise fail(f"{head!r}: this fault takes no value.")
    elif not spec.is_value(value):
        raise fail(f"{value!r} in {head!r} cannot be read; write it as in {spec.example}.")


def _check_when(head: str, effect: Effect, fail: Fail) -> None:
    if effect.share is not None and not 0 < effect.share <= 100:
        raise fail(f"the share in {head!r} is above 0 and at most 100.")
    if effect.times == 0 or effect.first == 0:
        raise fail(f"{head!r} counts from 1.")
    if effect.last is not None and effect.last < effect.first:
        raise fail(f"{head!r} ends before it begins.")


def _option(text: str, fault: str, spec: FaultSpec, fail: Fail) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if name not in spec.options:
        known = ", ".join(spec.options) or "none"
        raise fail(f"{text!r} is not an option of {fault!r}; it has: {known}.")
    if name in _FLAG_EXAMPLES:
        if equals:
            raise fail(f"{text!r} takes no value, as in {_FLAG_EXAMPLES[name]}.")
        return name, ""
    if not value or (name == RETRY_AFTER and not is_seconds(value)):
        raise fail(f"{text!r} needs a value, as in {_OPTION_EXAMPLES[name]}.")
    if name == "burst" and not is_count(value):
        raise fail(f"{text!r} needs a whole number from 1, as in {_OPTION_EXAMPLES[name]}.")
    return name, value


_FLAG_EXAMPLES = {
    SHOWS_LIMIT: f"rate=20/min {SHOWS_LIMIT}",
    UNTIMED: f"rate=20/min {UNTIMED}",
    AS_429: f"at-once=6 {AS_429}",
}
_OPTION_EXAMPLES = {RETRY_AFTER: "retry-after=1", SOURCE: "source=openrouter_key_limit", "burst": "burst=5"}
