"""A server's reply put into the form that LangChain reads: texts in parts, tool calls, pictures and speech.

LangChain drops what it does not expect, or raises. An answer that was paid for would then come out empty. A reply that
follows OpenAI's documents is not changed. Works on whole messages and on the deltas of a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.verdicts.answers import MEDIA, MOST_PARTS, parts_of, text_of_part
from llm_executor_nb.providers.calls import CallIndexer, is_misfit, whole_calls

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

_TOO_MANY = f"the answer has over {MOST_PARTS} parts, tool calls or pictures"
_WEIGHT = 50
"""Parts of a stream without an index that weigh as much as one with an index: thoughts come in thousands of them."""


def tidy_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a whole message in the form that LangChain reads.

    Raises:
        ValueError: its tool calls cannot be read, or it has too many parts.
    """
    _refuse_too_many(message)
    tidy = {**message, "role": "assistant"}  # some servers send none, or "model"
    if tidy.get("tool_calls") or tidy.get("function_call"):
        tidy["tool_calls"] = whole_calls(message)
    content = tidy.get("content")
    if content is not None and not isinstance(content, str):
        tidy["content"] = _with_texts(content)
    return tidy


def misfits_in(tidy: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a tidy message on which LangChain would raise: their arguments are not an object."""
    return [call for call in tidy.get("tool_calls") or () if is_misfit(call)]


def complete(message: AIMessage, tidy: dict[str, Any], misfits: list[dict[str, Any]]) -> None:
    """Give a message what LangChain leaves out: media, and tool calls whose arguments are not an object.

    Args:
        message: LangChain's; it is changed.
        tidy: the tidy message that it was made of.
        misfits: the tool calls of the tidy message that LangChain was not given.
    """
    if misfits:
        message.invalid_tool_calls += [_misfit(call) for call in misfits]
    for name in MEDIA:
        if tidy.get(name):
            message.additional_kwargs.setdefault(name, tidy[name])


class Deltas:
    """Puts the deltas of one stream into LangChain's form; each stream needs its own."""

    def __init__(self) -> None:
        self._indexer = CallIndexer()
        self._images: list[Any] = []
        self._weight = 0
        self._audio: set[str] = set()
        self._is_begun = False

    def of(self, choice: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return the delta of a choice; some servers send a whole message as the only event."""
        delta = choice.get("delta")
        # After the first text, a whole message only repeats it.
        return choice.get("message") if delta is None and not self._is_begun else delta

    def tidy(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a delta in the form that LangChain reads.

        Raises:
            ValueError: its tool calls cannot be read, or it has too many parts.
        """
        _refuse_too_many(delta)
        tidy = {**delta, "role": "assistant"}
        if tidy.get("tool_calls") or tidy.get("function_call"):
            tidy["tool_calls"] = self._indexer.indexed(delta)
        content = tidy.get("content")
        self._is_begun = self._is_begun or bool(content or tidy.get("tool_calls"))
        if content is not None and not isinstance(content, str):
            tidy["content"] = _joined(_with_texts(content))
            if isinstance(tidy["content"], list):
                self._count(tidy["content"])
        return tidy

    def _count(self, parts: list[Any]) -> None:
        """Count parts that LangChain keeps apart; one with an index counts more: it is compared with all others."""
        numbered = sum(isinstance(part, dict) and "index" in part for part in parts)
        self._weight += len(parts) + _WEIGHT * numbered
        if self._weight > _WEIGHT * MOST_PARTS:
            raise ValueError(_TOO_MANY)

    def media(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the media of a delta in a form that adds up: each picture once, and each property of speech once."""
        media: dict[str, Any] = {}
        if "images" not in delta and "audio" not in delta:
            return media
        images, audio = delta.get("images"), delta.get("audio")
        if images:
            media["images"] = self._new_images(images if isinstance(images, list) else [images])
        if isinstance(audio, dict):
            # LangChain joins texts, so an id that comes with every piece would grow.
            media["audio"] = {name: piece for name, piece in audio.items() if self._is_new(name)}
        return {name: value for name, value in media.items() if value}

    def _new_images(self, images: list[Any]) -> list[Any]:
        """Return the pictures that had not come before, numbered: LangChain adds up pictures of the same index."""
        plain = [_unnumbered(image) for image in images]
        new = [(bare, image) for bare, image in zip(plain, images, strict=True) if bare not in self._images]
        count_before = len(self._images)
        if count_before + len(images) > MOST_PARTS:
            raise ValueError(_TOO_MANY)
        self._images += [bare for bare, _ in new]
        return [
            {**image, "index": count_before + at} if isinstance(image, dict) and "index" in image else image
            for at, (_, image) in enumerate(new)
        ]

    def _is_new(self, name: str) -> bool:
        """Whether a field of speech is to be added: its sound and transcript always, its properties once."""
        is_new = name in ("data", "transcript") or name not in self._audio
        self._audio.add(name)
        return is_new


def _refuse_too_many(message: dict[str, Any]) -> None:
    """Refuse a message with a list so long that its reading would stop all calls."""
    if any(isinstance(value, list) and len(value) > MOST_PARTS for value in message.values()):
        raise ValueError(_TOO_MANY)


def _with_texts(content: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a content in parts with each text in the form that LangChain reads; parts that are None are left out."""
    parts = list(parts_of(content))
    if not parts and not isinstance(content, list):
        return content
    return [_with_text(part) for part in parts if part is not None]


def _with_text(part: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    text = None if isinstance(part, str) else text_of_part(part)
    is_plain = text is None or (part.get("type") == "text" and part.get("text") == text)
    return part if is_plain else {**part, "type": "text", "text": text}


def _joined(content: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the text of a content whose parts are all texts: pieces of a stream then add up to one text."""
    if not isinstance(content, list):
        return content
    texts = [text_of_part(part) for part in content]
    return content if None in texts else "".join(text for text in texts if text is not None)


def _unnumbered(image: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    return {name: value for name, value in image.items() if name != "index"} if isinstance(image, dict) else image


def _misfit(call: dict[str, Any]) -> Any:  # noqa: ANN401 - LangChain's InvalidToolCall
    from langchain_core.messages.tool import invalid_tool_call  # noqa: PLC0415 - loads on first use

    function = call["function"]
    name, arguments = function["name"], function["arguments"]
    return invalid_tool_call(name=name, args=arguments, id=call["id"], error="not a JSON object")
