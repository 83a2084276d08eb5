"""The key ring: which keys there are, where each comes from, in which order they are asked, and which are disabled.

Keys are looked for at first need, never at import, in this order: given in code, added in this session (the panel's
too), the environment, the secrets of a notebook service, the Hugging Face login, the system's keyring, the key file. A
list given in code ends the search. A `.env` of the working folder, or of one above it in the repository, counts for a
backend of which nothing else was found: a folder may come from somebody else. In a rehearsal saved keys are neither
read nor written. What a user does with keys is in `keys.py`.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError, to_type
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.core.markup import as_html
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import Secret, secret_of
from llm_executor_nb.settings.key_list import NEVER_PICKLED, KeyList
from llm_executor_nb.settings.key_sources import KeySources, places_of
from llm_executor_nb.settings.saved_keys import FILE, KEYRING, SavedKeys, file_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

KEY_LISTS = {OPENROUTER: "OPENROUTER_KEYS", HUGGINGFACE: "HUGGINGFACE_TOKENS"}
"""The module's lists of keys."""
_STEPS = {
    OPENROUTER: ("llm.keys.add('openrouter', key)", "a key from openrouter.ai/settings/keys"),
    HUGGINGFACE: ("llm.keys.add('huggingface', token)", "a token from huggingface.co/settings/tokens"),
}
_VARIABLES = {OPENROUTER: ("OPENROUTER_API_KEY", "key"), HUGGINGFACE: ("HF_TOKEN", "token")}
_SET_VARIABLE = (
    ("setx {} {}", "in a terminal; a Python that is started in a new one has it")
    if os.name == "nt"
    else ("export {}={}", "in a terminal, before Python starts")
)
_SIGN_IN = {OPENROUTER: "llm.login()", HUGGINGFACE: "llm.login('huggingface')"}
_IN_A_REHEARSAL = ("with llm.rehearse(): ...", "begins one with practice keys; end this one first")
_PRACTISED = ("llm.login()", "practises the sign-in, for a practice key of OpenRouter")
_GIVEN = "an empty list in code, which ends the search"
_COLUMNS = ("backend", "key", "from", "saved in", "state")
OWN_SOURCES = ("code", "session", f"saved in the {KEYRING}", f"saved in the {FILE}")
"""The sources that this program holds itself; each may have many keys."""
_LOOK_PAUSE_S = 10.0
"""Seconds for which the place of a refused key is not looked at again."""


class KeyRing:
    """All keys of the running process. Its display shows labels, sources and last characters only.

    Args:
        practice: backend -> its practice keys, in a rehearsal; None: the user's own keys.

    Attributes:
        code: backend -> the list given in code.
        added: backend -> the keys added in this session.
        notes: (backend, key) -> what the user said about it in this session: label, pace, enabled or not.
        order: backend -> the keys in the order that `move` made.
        saved: the keys that were saved on request.
        lock: held while keys are changed.
        is_practice: whether these are the keys of a rehearsal.
    """

    def __init__(self, practice: Mapping[str, Iterable[str]] | None = None) -> None:
        self.code: dict[str, KeyList] = {OPENROUTER: KeyList(), HUGGINGFACE: KeyList()}
        for backend, keys in (practice or {}).items():
            self.code[backend] = KeyList(keys, is_given=True)
        self.added: dict[str, tuple[Secret, ...]] = {}
        self.notes: dict[tuple[str, Secret], Key] = {}
        self.order: dict[str, tuple[Secret, ...]] = {}
        self.saved = SavedKeys()
        self.lock = threading.RLock()
        self.is_practice = practice is not None
        self._sources = KeySources(self._succeed)
        self._labels: dict[str, dict[Secret, str]] = {}  # by backend: how each key was called last
        self._later: dict[tuple[str, Secret], Key] = {}  # of a place: a refused key, and the one that is there now
        self._looked_at: dict[Secret, float] = {}  # when the place of a refused key was looked at last
        self._made: dict[str, tuple[object, tuple[Key, ...]]] = {}  # by backend: its keys, and what they were made of

    def of(self, backend: str) -> tuple[Key, ...]:
        """Return the enabled keys of a backend, in order, each once. A chat model object has none."""
        keys = tuple(key for key in self.all_of(backend) if key.is_enabled)
        self._sources.say_if_from_dotenv(backend, keys)
        return keys

    def all_of(self, backend: str) -> tuple[Key, ...]:
        """Return all keys of a backend, disabled keys too, with what the user said about each."""
        if backend not in self.code:
            return ()
        found = tuple(self.search(backend))
        made_of = (found, tuple(self.notes.items()), self.order.get(backend))
        before, made = self._made.get(backend, (None, ()))  # read once: another thread may replace it
        if before != made_of:  # every call asks for the keys, and they seldom change
            made = self._named_and_ordered(backend, found)
            self._made[backend] = made_of, made
        return made

    def _named_and_ordered(self, backend: str, found: Iterable[Key]) -> tuple[Key, ...]:
        """Return each key once, with its label and what the user said about it, in the order they are asked."""
        keys: dict[Secret, Key] = {}
        for key in found:
            first = keys.setdefault(key.secret, key)
            if not first.label and key.label:  # found in two places: a saved label names the key from both
                keys[key.secret] = replace(first, label=key.label, rpm=first.rpm or key.rpm)
        for key in keys.values():  # a place may hold a former key again
            self._later.pop((key.source, key.secret), None)
        noted = [self._with_note(key) for key in keys.values()]
        labelled = list(_labelled(noted, self._labels.get(backend, {})))
        self._labels[backend] = {key.secret: key.label for key in labelled}
        order = {secret: number for number, secret in enumerate(self.order.get(backend, ()))}
        return tuple(sorted(labelled, key=lambda key: order.get(key.secret, len(order))))

    def lines(self) -> tuple[Key, ...]:
        """Return every key with where it is saved, disabled keys too, in the order they are asked."""
        return tuple(
            replace(key, saved_in=self.saved_in(backend, key.secret))
            for backend in tuple(self.code)
            for key in self.all_of(backend)
        )

    def search(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the order of the search, each as often as it is found."""
        found = list(self._search_own(backend))
        yield from found
        if not found and not self.code[backend].is_given:
            yield from self._sources.from_dotenv(backend)

    def _search_own(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the places that are the user's own, whatever the working folder is."""
        in_code = self.code[backend]
        for value in tuple(in_code):
            yield _in_code(backend, value)
        for secret in self.added.get(backend, ()):
            yield Key(backend=backend, secret=secret, label="", source="session")
        if in_code.is_given:
            return
        yield from self._sources.from_environment(backend)
        if not self.is_practice:
            yield from self._from_services_and_saved(backend)

    def outside(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the places that other processes may have too, besides the environment."""
        if not self.is_practice:
            yield from self._from_services_and_saved(backend)
            yield from self._sources.from_dotenv(backend)

    def _from_services_and_saved(self, backend: str) -> Iterator[Key]:
        yield from self._sources.from_vaults_and_login(backend)
        for saved in self.saved.of(backend):
            yield from saved.keys()

    def must_ask(self) -> bool:
        """Whether the next look for keys asks a notebook service or may refresh the login, which can take seconds."""
        backends = [] if self.is_practice else self._searched(self.code)
        return any(map(self._sources.must_ask, backends))

    def renewed(self, key: Key) -> Key | None:
        """Return the key that the place of a refused one holds by now; None: the same one, or none.

        The place is looked at once more, which can take seconds: a login may have been refreshed, and the secret of a
        notebook service or a variable replaced.
        """
        with self.lock:
            now, looked_at = clock.current().now(), self._looked_at.get(key.secret, -math.inf)
            later = self._later_at(key)
            if later is None and now - looked_at >= _LOOK_PAUSE_S:  # of many requests that were refused, one looks
                self._looked_at[key.secret] = now
                self._sources.doubt(key)
                later = self._later_at(key)
            if later is not None:
                earlier = [place for place, one in self._later.items() if one == key]
                self._later.update(dict.fromkeys([(key.source, key.secret), *earlier], later))
        return later

    def in_place_of(self, key: Key) -> Key | None:
        """Return the key that took the place of a refused one, as `renewed` has found it; None: it is in force."""
        return self._later.get((key.source, key.secret)) if self._later else None

    def _later_at(self, key: Key) -> Key | None:
        at_place = (one for one in self.all_of(key.backend) if one.source == key.source and one.is_enabled)
        return next((one for one in at_place if one.secret != key.secret), None)

    def _succeed(self, former: Key, secret: Secret) -> None:
        """Let what the user said of a key hold for the one that took its place."""
        backend = former.backend
        if (note := self.notes.pop((backend, former.secret), None)) is not None:
            self.notes[backend, secret] = replace(note, secret=secret)
        if (label := self._labels.get(backend, {}).pop(former.secret, None)) is not None:
            self._labels[backend][secret] = label
        if former.secret in (order := self.order.get(backend, ())):
            self.order[backend] = tuple(secret if one == former.secret else one for one in order)

    def saved_in(self, backend: str, secret: Secret) -> str:
        """Return where a key is saved, `keyring` or `file`; empty: nowhere."""
        if self.is_practice:
            return ""
        return next((one.place for one in self.saved.of(backend) if one.secret == secret), "")

    def note(self, backend: str, secret: Secret) -> Key:
        """Return what the user said about a key in this session."""
        return self.notes.get((backend, secret)) or Key(backend=backend, secret=secret, label="")

    def matching(self, backend: str, text: str) -> list[Key]:
        """Return the keys that a text names: by value, else by label, else by last characters."""
        self.check_backend(backend)
        wanted, keys = str(text).strip(), self.all_of(backend)
        for names in (_values, _labels, _endings):
            if matching := [key for key in keys if wanted in names(key)]:
                return matching
        return []

    def assign(self, backend: str, keys: KeyList) -> None:
        """Replace the list given in code. The order of the new list counts, not an earlier `move`."""
        self.code[backend] = keys
        self.order.pop(backend, None)

    def places(self, backends: Iterable[str] = tuple(_STEPS)) -> list[str]:
        """Return where keys of some backends are looked for. A list in code ends the search for its backend."""
        if self.is_practice:
            return ["the practice keys of this rehearsal"]
        searched = self._searched(backends)
        places = [f"llm.{KEY_LISTS[backend]}: {'empty' if backend in searched else _GIVEN}" for backend in backends]
        if searched:
            places += [*places_of(searched), f"what llm.keys.save kept: the system's keyring, {file_path()}"]
        return places

    def how_to_give_one(self, backends: Sequence[str], *others: tuple[str, str]) -> str:
        """Return what to type where some backends lack a key, the places searched, and last the three usual ways."""
        if self.is_practice:
            practised = (_PRACTISED,) if OPENROUTER in backends else ()
            return self._told((*others, *practised, _IN_A_REHEARSAL), backends)
        line, effect = _SET_VARIABLE
        in_a_terminal = ((line.format(*_VARIABLES[backend]), effect) for backend in self._searched(backends)[:1])
        given = (*others, *(_STEPS[backend] for backend in backends), *in_a_terminal)
        return f"{self._told(given, backends)}\n{_three_ways(backends)}"

    def _told(self, steps: Iterable[tuple[str, str]], backends: Sequence[str]) -> str:
        return "\n  ".join([to_type("Type one of these:", steps) + "\nLooked in:", *self.places(backends)])

    def _searched(self, backends: Iterable[str]) -> list[str]:
        return [backend for backend in backends if not self.code[backend].is_given]

    def refresh(self) -> None:
        """Read every place again at the next need."""
        with self.lock:
            self._sources.refresh()
            self.saved.refresh()

    def check_backend(self, backend: str) -> None:
        """Refuse the name of a backend that does not exist."""
        if backend not in self.code:
            # the user's own text is never repeated: where the arguments stand in the wrong order, it is the key
            raise ConfigError(
                f"Unknown backend; there are {', '.join(self.code)}. The backend comes first, then the key. Another "
                "server is added with its key: llm.add_backend(name, base_url=..., keys=[key])."
            )

    def __iter__(self) -> Iterator[Key]:
        for backend in tuple(self.code):
            yield from self.of(backend)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        if keys := self.lines():
            return plain("\n".join(map(_as_text, keys)))
        return "\n".join(["no keys", self.how_to_give_one(tuple(_STEPS))])

    def _repr_html_(self) -> str | None:
        """Return a table of the keys; None when there are none, so that the text is shown."""
        rows = [(key.backend, key.shown, key.source, key.saved_in, key.state) for key in self.lines()]
        return as_html(_COLUMNS, rows) if rows else None

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(NEVER_PICKLED)

    def _with_note(self, key: Key) -> Key:
        if (note := self.notes.get((key.backend, key.secret))) is None:
            return key
        return replace(key, label=note.label or key.label, rpm=note.rpm or key.rpm, is_enabled=note.is_enabled)


@lru_cache(maxsize=1024)
def _in_code(backend: str, value: str) -> Key:
    return Key(backend=backend, secret=secret_of(value), label="", source="code")


def _three_ways(backends: Sequence[str]) -> str:
    """Return how a newcomer without a key goes on, in one sentence."""
    sign_in = _SIGN_IN[backends[0]]
    return (
        f"Sign in with {sign_in}, paste a key into llm.panel() in a notebook, or rehearse without a key: "
        "with llm.rehearse(): ..."
    )


def _as_text(key: Key) -> str:
    saved = f" · saved in {key.saved_in}" if key.saved_in else ""
    state = "" if key.state == "on" else f" · {key.state}"
    return f"{key.backend:<12} {key.shown:<18} from {key.source}{saved}{state}"


def _labelled(keys: list[Key], former: Mapping[Secret, str]) -> Iterator[Key]:
    """Yield the keys. One without a label keeps its former one, else gets its number in the search."""
    taken = {key.label for key in keys}
    kept = {key.secret: label for key in keys if not key.label and (label := former.get(key.secret)) not in taken}
    taken.update(filter(None, kept.values()))
    for number, key in enumerate(keys, start=1):
        label = key.label or kept.get(key.secret) or free_label(number, taken)
        taken.add(label)
        yield key if key.label else replace(key, label=label)


def free_label(number: int, taken: set[str], name: str = "key") -> str:
    """Return `key 1`, `key 2`, ...: the first from a number on that no other key has."""
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"


def _values(key: Key) -> tuple[str, ...]:
    return (key.secret.reveal(),)


def _labels(key: Key) -> tuple[str, ...]:
    return key.label, key.shown


def _endings(key: Key) -> tuple[str, ...]:
    return key.secret.ending, key.secret.ending.lstrip(".")
