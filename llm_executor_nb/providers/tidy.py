"""What a server says, in the form that LangChain reads: texts in parts, tool calls, pictures and speech.

LangChain drops what it does not expect, or fails over it; so an answer that was paid for would come out blank. What is
in the form of OpenAI's documents is not touched. Works on whole messages and on the deltas of a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.judging import MEDIA, parts_of, text_of_part
from llm_executor_nb.providers.calls import Placing, is_misfit, whole_calls

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage


def tidy_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a whole message as LangChain reads it.

    Raises:
        ValueError: its tool calls are none.
    """
    told = {**message, "role": "assistant"}
    if told.get("tool_calls") or told.get("function_call"):
        told["tool_calls"] = whole_calls(message)
    content = told.get("content")
    if content is not None and not isinstance(content, str):
        told["content"] = _with_texts(content)
    return told


def misfits_in(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a tidy message that LangChain would fail over: their arguments are no object."""
    return [call for call in told.get("tool_calls") or () if is_misfit(call)]


def complete(message: AIMessage, told: dict[str, Any], misfits: list[dict[str, Any]]) -> None:
    """Give a message what LangChain leaves out: media, and tool calls whose arguments are no object.

    Args:
        message: what LangChain made of it.
        told: the tidy message.
        misfits: its tool calls that LangChain was not shown.
    """
    if misfits:
        message.invalid_tool_calls += [_misfit(call) for call in misfits]
    for name in MEDIA:
        if told.get(name):
            message.additional_kwargs.setdefault(name, told[name])


class Deltas:
    """Puts the deltas of one stream into LangChain's form; each stream needs its own."""

    def __init__(self) -> None:
        self._placing = Placing()
        self._images: list[Any] = []
        self._audio: set[str] = set()
        self._is_begun = False

    def of(self, choice: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return the delta of a choice; some servers send a whole message as the only event."""
        delta = choice.get("delta")
        return choice.get("message") if delta is None and not self._is_begun else delta

    def tidy(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a delta as LangChain reads it.

        Raises:
            ValueError: its tool calls are none.
        """
        told = {**delta, "role": "assistant"}
        if told.get("tool_calls") or told.get("function_call"):
            told["tool_calls"] = self._placing.placed(delta)
        content = told.get("content")
        self._is_begun = self._is_begun or bool(content or told.get("tool_calls"))
        if content is not None and not isinstance(content, str):
            told["content"] = _in_one(_with_texts(content))
        return told

    def media(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the media of a delta as they add up: each picture once, and what is told of speech once."""
        media: dict[str, Any] = {}
        if "images" not in delta and "audio" not in delta:
            return media
        images, audio = delta.get("images"), delta.get("audio")
        if images:
            media["images"] = self._new_images(images if isinstance(images, list) else [images])
        if isinstance(audio, dict):
            media["audio"] = {name: piece for name, piece in audio.items() if self._is_new(name)}
        return {name: value for name, value in media.items() if value}

    def _new_images(self, images: list[Any]) -> list[Any]:
        """Return the pictures that had not come before, numbered; LangChain adds up those of one number."""
        plain = [_unnumbered(image) for image in images]
        found = [(image, told) for image, told in zip(plain, images, strict=True) if image not in self._images]
        begun = len(self._images)
        self._images += [image for image, _ in found]
        return [
            {**told, "index": begun + at} if isinstance(told, dict) and "index" in told else told
            for at, (_, told) in enumerate(found)
        ]

    def _is_new(self, name: str) -> bool:
        """Whether a field of speech is to be added: its sound and its words always, what describes it once."""
        is_new = name in ("data", "transcript") or name not in self._audio
        self._audio.add(name)
        return is_new


def _with_texts(content: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a content in parts with each text in the form that LangChain takes for one; None parts are left out."""
    parts = list(parts_of(content))
    if not parts and not isinstance(content, list):
        return content
    return [_with_text(part) for part in parts if part is not None]


def _with_text(part: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    text = None if isinstance(part, str) else text_of_part(part)
    is_plain = text is None or (part.get("type") == "text" and part.get("text") == text)
    return part if is_plain else {**part, "type": "text", "text": text}


def _in_one(content: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the text of a content whose parts are all texts, so that the pieces of a stream add up to one text."""
    if not isinstance(content, list):
        return content
    texts = [text_of_part(part) for part in content]
    return content if None in texts else "".join(text for text in texts if text is not None)


def _unnumbered(image: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    return {name: value for name, value in image.items() if name != "index"} if isinstance(image, dict) else image


def _misfit(call: dict[str, Any]) -> Any:  # noqa: ANN401 - LangChain's InvalidToolCall
    from langchain_core.messages.tool import invalid_tool_call  # noqa: PLC0415 - loads on first use

    told = call["function"]
    return invalid_tool_call(name=told["name"], args=told["arguments"], id=call["id"], error="no JSON object")
