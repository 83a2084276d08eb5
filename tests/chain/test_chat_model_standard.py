"""LangChain's own standard suite holds for the chain: with all keys well, with a dead one, with keys that falter."""

from __future__ import annotations

from inspect import iscoroutinefunction

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, words
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.chain.chat_model import ChatChain

OTHER_MODEL = "my/other"
FALTERING = "; ".join(
    f"{target}: " + ", ".join(f"503@{number}" for number in range(1, 60, 2))
    for target in ("openrouter[1]", "openrouter[2]", "huggingface")
)
NOT_APPLICABLE = {
    "test_init_from_env": "a chain takes nothing from the environment: keys are the key ring's",
    "test_serdes": "what a chain does depends on keys and settings of this machine, so it is not serialisable",
    "test_image_inputs": "text models; and the test downloads an image",
    "test_image_tool_message": "text models; and the test downloads an image",
    "test_pdf_inputs": "text models; and the test downloads a PDF",
    "test_pdf_tool_message": "text models; and the test downloads a PDF",
    "test_audio_inputs": "text models; and the test downloads a sound",
    "test_stream_time": "replays a recording of a paid provider (VCR); ours are rehearsed",
}
SUITES = (ChatModelUnitTests, ChatModelIntegrationTests)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Received a Pydantic BaseModel V1 schema",  # LangChain's words to a schema that its suite gives on purpose
)


def mark_what_the_suite_forbids_to_override():
    """Mark the suite's tests where they stand: the coroutines, and what is not applicable."""
    for suite in SUITES:
        for name in dir(suite):
            test = getattr(suite, name)
            if name in NOT_APPLICABLE:
                pytest.mark.skip(reason=NOT_APPLICABLE[name])(test)
            if name.startswith("test_") and iscoroutinefunction(test):
                pytest.mark.asyncio(test)


mark_what_the_suite_forbids_to_override()


def test_what_is_declared_not_applicable_is_still_in_the_suite():
    known = {name for suite in SUITES for name in dir(suite)}
    assert NOT_APPLICABLE.keys() <= known


class ChainUnderTest:
    """What both suites are told, and the chain they run on."""

    SCRIPT = ""
    chat_model_class = ChatChain
    chat_model_params = {"model": MODEL}  # noqa: RUF012 - the suite reads it like this
    supports_json_mode = True
    supports_anthropic_inputs = True
    supports_model_override = True
    model_override_value = OTHER_MODEL

    @pytest.fixture(autouse=True)
    def rehearsal(self, monkeypatch):
        """Run the chain on practice providers, and fail a test that skips itself without being declared above."""
        monkeypatch.setattr(pytest, "skip", lambda reason="": pytest.fail(f"skipped, and not declared: {reason}"))
        with fresh(), llm.rehearse(self.SCRIPT) as server:
            llm.retry_wait_strategy = wait_none()
            llm.MODEL_INFERENCE_PROVIDERS[OTHER_MODEL] = ["b"]
            yield server
            assert_log_is_what_the_server_saw(server, in_order=False)


class TestUnits(ChainUnderTest, ChatModelUnitTests):
    @property
    def standard_chat_model_params(self):
        """All that the suite has but `api_key`, which a chain refuses."""
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "stop": [], "max_retries": 2}


class TestHealthyChain(ChainUnderTest, ChatModelIntegrationTests):
    pass


class TestFirstKeyDead(ChainUnderTest, ChatModelIntegrationTests):
    SCRIPT = "openrouter[1]: 401"

    @pytest.fixture(autouse=True)
    def is_asked_and_dead(self, rehearsal, request):
        """Make sure that what passed here passed over a dead key."""
        yield
        if rehearsal.lines:
            assert words("outcome")[0] == "auth", request.node.name


class TestFalteringKeys(ChainUnderTest, ChatModelIntegrationTests):
    SCRIPT = FALTERING

    @pytest.fixture(autouse=True)
    def does_falter(self, rehearsal):
        """Make sure that what passed here passed over keys that fail every other time."""
        yield
        if rehearsal.lines:
            assert "overloaded" in words("outcome")


class TestHuggingFaceAnswers(ChainUnderTest, ChatModelIntegrationTests):
    SCRIPT = "openrouter: 401; huggingface/a: 404"
