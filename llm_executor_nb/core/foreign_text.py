"""Foreign text as it may be shown: without keys, and without characters that control a terminal.

Foreign is what a provider, a library or a file says, and what an argument in the wrong place holds. It is cleaned
here once, where it enters: `shorten` for the message of another, `clean` for a message of ours that quotes one.
Controls leave before keys do, because a control inside a key would hide it. Keys leave before anything is cut.
An answer is data and stays as it is; where it is printed, `plain` takes out what controls a terminal.
"""

from __future__ import annotations

import base64
import html
import itertools
import re
from functools import lru_cache

_NAME = 60
"""Characters of a text that may be a name."""
MESSAGE_LENGTH = 300
"""Characters of a foreign message that are kept."""
_READ = 20_000
"""Characters of a message that are read at all, so that megabytes cost nothing."""
_SCRUBBED = 2_000
"""Characters of its line that are scrubbed: more than are kept, because a key may stand where the line is cut."""
_HIDDEN = "…hidden…"
_WORD = 8
"""A shorter key may be a part of ordinary words, so it is hidden as a word only."""
_LONG = 12
"""A key of so many characters is hidden in every form and in our own messages too; a shorter one may be a name."""
_IS_A_KEY = re.compile(
    r"\bsk-or-[A-Za-z0-9_\-]{8,}|\bsk-(?=[A-Za-z_\-]*\d)[A-Za-z0-9_\-]{16,}|\bhf_(?=[A-Za-z]*\d)[A-Za-z0-9]{8,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bhf_oauth_(?=[A-Za-z._\-]*\d)[A-Za-z0-9._\-]{15,}[A-Za-z0-9_\-]"
    r"|(?i:\bbearer\s+)(?=[A-Za-z._\-]*\d)[A-Za-z0-9._\-]{20,}"
    r"|\b(?:gsk_|csk-|xai-|nvapi-|pplx-|r8_|fw_|tgp_v1_|ghp_|AIza)(?=[A-Za-z_\-]*\d)[A-Za-z0-9_\-]{16,}",
)
_START = 4
_MARKS = ("sk-", "hf_", "bearer", "gsk_", "xai-", "nvapi-", "pplx-", "r8_", "fw_", "tgp_v1_", "ghp_", "aiza")
"""Each key of a kind that is known has one of these in it, in lower case."""
_LOOKS_LIKE_A_KEY = re.compile(
    rf"{_IS_A_KEY.pattern}|\bsk-[A-Za-z0-9_\-]{{8,}}|\bhf_[A-Za-z0-9]{{8,}}|(?i:\bbearer\s+)[^\s\"',;]+",
)
"""What a foreign message may say too much of. Our own messages hold paths and names, such as `sk-learn-project`."""
_ESCAPE = re.compile(r"%[0-9a-f]{2}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\[nrt/]|&#?[0-9a-z]{2,8};", re.IGNORECASE)
"""One character as URLs, JSON, Python and HTML write it."""
_UNIT = re.compile(f"{_ESCAPE.pattern}|.", re.IGNORECASE | re.DOTALL)
_SEQUENCE = re.compile(
    r"(?:\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90-\x9f]*(?:\x07|\x1b\\|\x9c)"  # a title, a link, the clipboard
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, the cursor, erasing
    r"|\x1b[ -/]*[0-Z\\-~]",
)
"""A whole command to a terminal. Without its end it is no command, so only its control characters are removed."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that change the direction of the text after them. A foreign text can use them to read as another."""
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
"""Characters that are not seen, which answers may need and messages do not."""


class _KnownKeys:
    """All keys of this process, with the forms in which a text may hold one.

    An object rather than a dict of the module, because the repr of a dict would show the keys.
    """

    __slots__ = ("_forms", "_numbers", "_short", "_starts", "version")

    def __init__(self) -> None:
        self._short: dict[str, None] = {}
        self._forms: dict[str, set[str]] = {}  # by their first characters
        self._starts: tuple[str, ...] = ()  # the first few of those, which many keys have in common
        self._numbers = itertools.count(1)
        self.version = 0  # another one for each key

    def add(self, value: str) -> None:
        if len(value) < _LONG:
            self._short[value] = None
        elif value.lower() not in self._forms.get(value[:_LONG].lower(), ()):
            for form in _forms_of(value):
                self._starts = tuple({*self._starts, form[:_START]})
                self._forms.setdefault(form[:_LONG], set()).add(form)
        self.version = next(self._numbers)

    def short_in(self, text: str) -> list[str]:
        """Return the short keys that stand in a text, the longest first: one key may be the beginning of another."""
        return sorted((value for value in tuple(self._short) if value in text), key=len, reverse=True)

    def forms_in(self, squeezed: str) -> list[str]:
        """Return the forms of keys whose beginning stands in a squeezed text."""
        if not _has_any(self._starts, squeezed):  # nearly always
            return []
        windows = (squeezed[at : at + _LONG] for at in range(len(squeezed) - _LONG + 1))
        heads = {window for window in windows if window in self._forms}
        return [form for head in heads for form in tuple(self._forms[head])]


_known = _KnownKeys()
remember_key = _known.add
"""Hide a key in all texts from now on."""


def plain(text: str) -> str:
    """Return a text without characters that control a terminal; those that change its direction are made visible."""
    if text.isprintable():  # nearly every short text
        return text
    lines = _SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return with_visible_direction(_CONTROL.sub("", lines)).encode("utf-8", "replace").decode()


def with_visible_direction(text: str) -> str:
    """Return a text with the names of the characters that change its direction in place of them."""
    return _DIRECTION.sub(lambda sign: f"⟨U+{ord(sign[0]):X}⟩", text)


def scrub(text: str) -> str:
    """Return a text without the keys of this process, and without anything that looks like a key.

    A key is found also where white space splits it, or where it is written in base64, hexadecimal or with escapes.
    """
    for value in _known.short_in(text):
        text = text.replace(value, _HIDDEN) if len(value) >= _WORD else _without_word(text, value)
    return _without_keys(text, _LOOKS_LIKE_A_KEY)


def holds_known_key(text: str) -> bool:
    """Whether a text holds a long key of this process, as it is or in another form."""
    squeezed = _squeezed(text)
    return any(form in squeezed for form in _known.forms_in(squeezed))


def clean(text: str) -> str:
    """Return a message of ours, which may quote foreign text: without controls, invisible characters and keys."""
    return _without_keys(_seen(text), _IS_A_KEY)


def shorten(text: str) -> str:
    """Return a foreign message as it may be kept: cleaned, on one line, at most 300 characters."""
    # a model's name comes with every reply
    return _shortened_name(text, _known.version) if len(text) <= _NAME else _shortened(text)


@lru_cache(maxsize=256)
def _shortened_name(name: str, _known_keys: int) -> str:
    return _shortened(name)


def _shortened(text: str) -> str:
    line = " ".join(text[:_READ].split())[:_SCRUBBED]
    line = " ".join(scrub(_seen(line)).split())
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


def beginning(body: bytes) -> str:
    """Return as much of a body as `shorten` reads."""
    return body[:_READ].decode("utf-8", "replace")


def _seen(text: str) -> str:
    return text if text.isprintable() else _INVISIBLE.sub("", plain(text))


def _without_keys(text: str, unknown: re.Pattern[str]) -> str:
    """Return a text without the long keys of this process, and without what a pattern finds."""
    if len(text) < _WORD:
        return text
    squeezed = _squeezed(text)
    if forms := _known.forms_in(squeezed):
        text = _without_forms(text, forms)
    # a search for a word is a hundred times as fast as a pattern, and nearly every text has none of them
    return unknown.sub(_HIDDEN, text) if _has_any(_MARKS, squeezed) else text


def _has_any(words: tuple[str, ...], text: str) -> bool:
    for word in words:  # noqa: SIM110 - each answer comes here, and `any` would take twice as long
        if word in text:
            return True
    return False


def _without_word(text: str, value: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _HIDDEN, text)


# --- a key in another form ----------------------------------------------------------------------------------------


def _forms_of(value: str) -> set[str]:
    """Return a key as it is, in hexadecimal, and in base64 behind any number of other characters; all squeezed."""
    forms = {value, value.encode().hex()}
    for before, skipped in ((0, 0), (1, 2), (2, 3)):  # three bytes make four characters
        encoded = base64.b64encode(b"\0" * before + value.encode()).decode().rstrip("=")[skipped:-1]
        forms |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return {form.lower() for form in forms}


def _squeezed(text: str) -> str:
    """Return a text without escapes, white space and unseen characters, in lower case, to look for keys in it."""
    if "%" in text or "&" in text or "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    squeezed = "".join(text.split()).lower()
    return squeezed if squeezed.isprintable() else "".join(filter(str.isprintable, squeezed))


def _unescaped(escape: re.Match[str]) -> str:
    text = escape[0]
    if text[0] == "&":
        return html.unescape(text)
    digits = text[1:] if text[0] == "%" else text[2:]
    return chr(int(digits, 16)) if digits else "/" * (text[1] == "/")


def _without_forms(text: str, forms: list[str]) -> str:
    """Return a text without what reads as one of these forms, or as the beginning of one that was cut."""
    units = [(char, *unit.span()) for unit in _UNIT.finditer(text) for char in _squeezed(unit[0])]
    squeezed = "".join(char for char, *_ in units)
    kept, at = [], 0
    for first, last in sorted(_places(squeezed, forms)):
        start, end = units[first][1], units[last][2]
        kept += [text[at:start], _HIDDEN] if start >= at else []
        at = max(at, end)
    return "".join([*kept, text[at:]])


def _places(squeezed: str, forms: list[str]) -> list[tuple[int, int]]:
    """Return the first and the last character of each place."""
    heads = [(form, found.start()) for form in forms for found in re.finditer(re.escape(form[:_LONG]), squeezed)]
    return [(first, first + _common(form, squeezed[first : first + len(form)]) - 1) for form, first in heads]


def _common(form: str, text: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return next((at for at, (one, other) in enumerate(zip(form, text, strict=False)) if one != other), len(text))
