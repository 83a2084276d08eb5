"""What a reply asks to get back with the next request: thoughts, signatures and notes (design 3.5).

These are OpenRouter's `reasoning_details`, Gemini's thought signatures (`extra_content`, on a message or on its tool
calls), the `annotations` of files that were read, and the thoughts of models that call tools (`reasoning_content`).
LangChain has no place for them. They are stored in a message's `additional_kwargs`, which survive pickling, JSON and
agents. They are put back when the message is sent again.
Hugging Face's providers refuse fields they do not know, and ask for none of these back.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.messages import AIMessageChunk, BaseMessage

_DETAILS, _NOTES, _MORE = "reasoning_details", "annotations", "extra_content"
_THOUGHTS = ("reasoning_content", "reasoning")
"""Plain thoughts. Some models ask for them beside a tool's result only, and only where there are no details."""
_KINDS: Mapping[str, type] = {_DETAILS: list, _NOTES: list, _MORE: dict, **dict.fromkeys(_THOUGHTS, str)}
RETURNED: Sequence[str] = tuple(_KINDS)
"""The names of these fields of a message."""
_OF_A_CALL = (_MORE, "thought_signature", "provider_specific_fields")
_OF_CALLS = "tool_call_extras"
"""The name in `additional_kwargs` of a dict: the id of a tool call -> its fields that LangChain would drop."""
_LOOK_BACK, _MOST_REPEATED = 10, 100
"""Details that a piece of a stream may continue, and notes that it may repeat; more would take quadratic time."""
_TEXTS, _SEALED = ("text", "summary"), ("data", "signature")
"""Fields of a detail that a stream may bring in pieces. Some servers repeat those of the second kind."""


def returned_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply's message asks to get back, by its name in `additional_kwargs`.

    Args:
        message: as the provider sent it.
    """
    fields = {name: message[name] for name in (_DETAILS, _NOTES, _MORE) if _is_there(message, name)}
    calls = message.get("tool_calls")
    if calls and _DETAILS not in fields:
        thoughts = (name for name in _THOUGHTS if _is_there(message, name))
        fields |= {name: message[name] for name in islice(thoughts, 1)}  # the second name repeats the first
    return {**fields, **extras_of(calls)}


def extras_of(calls: object) -> dict[str, Any]:
    """Return the fields of tool calls that LangChain would drop, as one entry for `additional_kwargs`; {}: none."""
    extras = {
        _key(call, at): more
        for at, call in enumerate(calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and (more := _more_of(call))
    }
    return {_OF_CALLS: extras} if extras else {}


def put_back(messages: Iterable[BaseMessage], sent: Iterable[dict[str, Any]]) -> None:
    """Put what a provider asked to get back into the messages that are sent.

    Args:
        messages: LangChain's.
        sent: the same as JSON, in the same order; changed in place.
    """
    for message, body in zip(messages, sent, strict=True):
        if message.additional_kwargs and body.get("role") == "assistant":
            extra = message.additional_kwargs
            body.update({name: extra[name] for name in _KINDS if _is_there(extra, name)})
            for at, call in enumerate(body.get("tool_calls") or ()):
                call.update((extra.get(_OF_CALLS) or {}).get(_key(call, at)) or {})


def without_returned(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return messages as JSON without what was put back, for a backend that refuses unknown fields."""
    return [_bare(one) if one.get("role") == "assistant" else one for one in messages]


class ThoughtNotes:
    """Notes on the chunks of one stream what is to go back.

    Plain thoughts come before the tool call that makes them wanted, so they are buffered until then.
    """

    def __init__(self) -> None:
        self._buffered: dict[str, list[str]] = {}
        self._ids: dict[Any, str] = {}
        self._is_wanted, self._has_details = False, False

    def note(self, delta: Mapping[str, Any], chunk: AIMessageChunk) -> None:
        """Note on a chunk what its event asks to get back."""
        extra = chunk.additional_kwargs
        extra.update({name: delta[name] for name in (_DETAILS, _NOTES, _MORE) if _is_there(delta, name)})
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and calls:
            self._is_wanted = True
            extra.update(extras_of([self._with_id(call) for call in calls]))
        self._has_details = self._has_details or _DETAILS in extra
        for name in _THOUGHTS:
            if _is_there(delta, name):
                self._buffered.setdefault(name, []).append(delta[name])
        # Details repeat plain thoughts with their signatures; a provider that gets both may refuse the request.
        if self._is_wanted and self._buffered and not self._has_details:
            name = next(name for name in _THOUGHTS if name in self._buffered)
            extra[name] = "".join(self._buffered[name])
            self._buffered = {name: []}

    def _with_id(self, call: Any) -> Any:  # noqa: ANN401 - foreign JSON has any shape
        """Return a piece of a tool call with the id that an earlier piece of that call had."""
        if not isinstance(call, dict):
            return call
        at = call.get("index")
        if call.get("id"):
            self._ids[at] = call["id"]
        return {**call, "id": self._ids.get(at)}


class JoinedExtras:
    """Adds up what the chunks of one stream ask to get back; LangChain's own sum would repeat some of it."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {}
        self._objects: dict[str, dict[str, Any]] = {}

    def take(self, extra: dict[str, Any]) -> None:
        """Take what is to go back out of a chunk's `additional_kwargs`."""
        if _DETAILS in extra:
            details = self._lists.setdefault(_DETAILS, [])
            for piece in extra.pop(_DETAILS):
                _join(details, piece)
        if _NOTES in extra:
            notes = self._lists.setdefault(_NOTES, [])
            notes += [note for note in extra.pop(_NOTES) if note not in notes[-_MOST_REPEATED:]]
        for name in (_MORE, _OF_CALLS):
            if name in extra:
                self._objects[name] = _merged(self._objects.get(name, {}), extra.pop(name))

    @property
    def whole(self) -> dict[str, Any]:
        """What all chunks so far ask to get back, by its name in `additional_kwargs`."""
        return {**self._lists, **self._objects}


def _join(entries: list[Any], piece: Any) -> None:  # noqa: ANN401 - foreign JSON has any shape
    """Add a piece to the entry that it continues, else as a new one."""
    # The newest entry first: a stream continues what it sent last.
    newest = range(len(entries) - 1, max(-1, len(entries) - 1 - _LOOK_BACK), -1)
    at = next((at for at in newest if _continues(entries[at], piece)), None)
    if at is None:
        entries.append(piece)
    else:
        entries[at] = _continued(entries[at], piece)


def _continues(entry: Any, piece: Any) -> bool:  # noqa: ANN401 - foreign JSON has any shape
    """Whether a piece belongs to an entry: the same block by number and kind, and not of another id."""
    if not (isinstance(entry, dict) and isinstance(piece, dict)) or piece.get("index") is None:
        return False
    ids = {entry.get("id"), piece.get("id")} - {None, ""}
    return len(ids) < 2 and all(entry.get(name) == piece.get(name) for name in ("type", "index"))


def _continued(entry: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    news = {name: value for name, value in piece.items() if value is not None or name not in entry}
    for name in (*_TEXTS, *_SEALED):
        before, more = entry.get(name), news.get(name)
        if isinstance(before, str) and isinstance(more, str) and (name in _TEXTS or more != before):
            news[name] = before + more
    return {**entry, **news}


def _merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return two objects as one, and so the objects in them; of two other values the later one wins."""
    merged = dict(left)
    for name, value in right.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _bare(message: Mapping[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in message.items() if name not in _KINDS}
    if isinstance(calls := bare.get("tool_calls"), list):
        bare["tool_calls"] = [{name: value for name, value in call.items() if name not in _OF_A_CALL} for call in calls]
    return bare


def _is_there(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a field is there, is not empty, and has its usual JSON type."""
    return bool(fields.get(name)) and isinstance(fields[name], _KINDS[name])


def _more_of(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in _OF_A_CALL if call.get(name)}


def _key(call: Mapping[str, Any], at: int) -> str:
    """Return the key of a tool call: its id, else its position."""
    return str(call.get("id") or at)
