"""What a reply asks to get back with the next request: thoughts, signatures and notes that LangChain has no place for.

OpenRouter's `reasoning_details`, Gemini's thought signatures (`extra_content`, on a message or on its tool calls), the
`annotations` of files that were read, and the thoughts of models that call tools (`reasoning_content`). They are kept
in a message's `additional_kwargs`, which survive pickling, JSON and agents, and put back where the message is sent
again. Hugging Face's providers refuse fields they do not know, and ask for none of these back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.messages import AIMessageChunk, BaseMessage

_DETAILS, _NOTES, _MORE = "reasoning_details", "annotations", "extra_content"
_THOUGHTS = ("reasoning_content", "reasoning")
"""Plain thoughts: asked back by some beside a tool's result only, and only where there are no details."""
_KINDS: Mapping[str, type] = {_DETAILS: list, _NOTES: list, _MORE: dict, **dict.fromkeys(_THOUGHTS, str)}
KEPT: Sequence[str] = tuple(_KINDS)
"""The names of these fields of a message."""
_OF_A_CALL = (_MORE, "thought_signature", "provider_specific_fields")
_OF_CALLS = "tool_call_extras"
"""The name in `additional_kwargs`: the id of a tool call -> its fields that LangChain's own form has no place for."""
_WORDS, _SEALED = ("text", "summary"), ("data", "signature")
"""Fields of a detail that a stream may bring in pieces; those of the second kind some servers repeat."""


def kept_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply's message asks to get back, by its name in `additional_kwargs`.

    Args:
        message: as the provider sent it.
    """
    kept = {name: message[name] for name in (_DETAILS, _NOTES, _MORE) if _is_there(message, name)}
    calls = message.get("tool_calls")
    if calls and _DETAILS not in kept:
        kept |= {name: message[name] for name in _THOUGHTS[:1] if _is_there(message, name)} or {
            name: message[name] for name in _THOUGHTS[1:] if _is_there(message, name)
        }
    return {**kept, **extras_of(calls)}


def extras_of(calls: object) -> dict[str, Any]:
    """Return what is more on tool calls than LangChain keeps, in one entry for `additional_kwargs`; or nothing."""
    found = {
        _key(call, at): more
        for at, call in enumerate(calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and (more := _more_of(call))
    }
    return {_OF_CALLS: found} if found else {}


def put_back(messages: Iterable[BaseMessage], sent: Iterable[dict[str, Any]]) -> None:
    """Put what messages keep for their provider into what is sent of them.

    Args:
        messages: LangChain's.
        sent: the same as JSON, in the same order; changed in place.
    """
    for message, body in zip(messages, sent, strict=False):  # LangChain's public writer splits some results of tools
        if message.additional_kwargs and body.get("role") == "assistant":
            extra = message.additional_kwargs
            body.update({name: extra[name] for name in _KINDS if _is_there(extra, name)})
            for at, call in enumerate(body.get("tool_calls") or ()):
                call.update((extra.get(_OF_CALLS) or {}).get(_key(call, at)) or {})


def without_returned(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return messages as JSON without what was put back, for a backend that does not know it."""
    return [_bare(one) if one.get("role") == "assistant" else one for one in messages]


class Thoughts:
    """Notes on the chunks of one stream what is to go back.

    Plain thoughts come before the tool call that makes them wanted, so they are kept until then.
    """

    def __init__(self) -> None:
        self._told: dict[str, list[str]] = {}
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
                self._told.setdefault(name, []).append(delta[name])
        if self._is_wanted and self._told and not self._has_details:
            name = next(name for name in _THOUGHTS if name in self._told)
            extra[name] = "".join(self._told[name])
            self._told = {name: []}

    def _with_id(self, call: Any) -> Any:  # noqa: ANN401 - foreign JSON has any shape
        """Return a piece of a tool call with the id that an earlier piece of that call had."""
        if not isinstance(call, dict):
            return call
        at = call.get("index")
        if call.get("id"):
            self._ids[at] = call["id"]
        return {**call, "id": self._ids.get(at)}


class Joined:
    """Adds up what the chunks of one stream ask to get back; LangChain's own sum would repeat what is told twice."""

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
            notes += [note for note in extra.pop(_NOTES) if note not in notes]
        for name in (_MORE, _OF_CALLS):
            if name in extra:
                self._objects[name] = _merged(self._objects.get(name, {}), extra.pop(name))

    @property
    def whole(self) -> dict[str, Any]:
        """What all chunks so far ask to get back, by its name in `additional_kwargs`."""
        return {**self._lists, **self._objects}


def _join(found: list[Any], piece: Any) -> None:  # noqa: ANN401 - foreign JSON has any shape
    """Add a piece to the entry that it continues, else as a new one."""
    at = next((at for at in reversed(range(len(found))) if _continues(found[at], piece)), None)
    if at is None:
        found.append(piece)
    else:
        found[at] = _continued(found[at], piece)


def _continues(entry: Any, piece: Any) -> bool:  # noqa: ANN401 - foreign JSON has any shape
    """Whether a piece belongs to an entry: the same block by number and kind, and not of another id."""
    if not (isinstance(entry, dict) and isinstance(piece, dict)) or piece.get("index") is None:
        return False
    ids = {entry.get("id"), piece.get("id")} - {None, ""}
    return len(ids) < 2 and all(entry.get(name) == piece.get(name) for name in ("type", "index"))


def _continued(entry: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in piece.items() if value is not None or name not in entry}
    for name in (*_WORDS, *_SEALED):
        before, now = entry.get(name), told.get(name)
        if isinstance(before, str) and isinstance(now, str) and (name in _WORDS or now != before):
            told[name] = before + now
    return {**entry, **told}


def _merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return two objects as one, also the objects in them; of two other values the later stays."""
    found = dict(left)
    for name, value in right.items():
        before = found.get(name)
        found[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return found


def _bare(message: Mapping[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in message.items() if name not in _KINDS}
    if isinstance(calls := bare.get("tool_calls"), list):
        bare["tool_calls"] = [{name: value for name, value in call.items() if name not in _OF_A_CALL} for call in calls]
    return bare


def _is_there(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a field is there and says something, in the form that it has as JSON."""
    return bool(fields.get(name)) and isinstance(fields[name], _KINDS[name])


def _more_of(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in _OF_A_CALL if call.get(name)}


def _key(call: Mapping[str, Any], at: int) -> str:
    """Return what names a tool call: its id, else its place."""
    return str(call.get("id") or at)
