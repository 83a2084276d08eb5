"""A LangChain chat model that sends nothing, for users' tests. Imported at first need: it costs LangChain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForLLMRun

_WORDS = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")


class FakeModel(SimpleChatModel):
    """Answers with a function of the last message's text; streams it word by word.

    Attributes:
        function: from the prompt to the answer; its errors are raised.
        asks_nobody: its calls cost nothing, and are allowed where paid calls are forbidden.
    """

    asks_nobody: ClassVar[bool] = True
    function: Callable[[str], str]

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's own signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the same
        **_: Any,  # noqa: ANN401 - call parameters say nothing to a function
    ) -> str:
        return self.function(str(messages[-1].text))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - the same
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._call(messages, stop, run_manager, **kwargs)
        for word in _WORDS.findall(answer) or [""]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
