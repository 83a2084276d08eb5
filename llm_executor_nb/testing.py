"""What you need to test your own code that uses this package: no waiting, no network, no money.

    # conftest.py
    from llm_executor_nb.testing import rehearsal  # noqa: F401

    # test_mine.py
    import llm_executor_nb as llm
    from llm_executor_nb.testing import frozen_clock

    @pytest.mark.parametrize("rehearsal", ["openrouter: 429*2"], indirect=True)
    def test_my_column_survives_a_rate_limit(rehearsal):
        with frozen_clock() as clock:
            out = my_function(frame)
        assert (out["review_llm_status"] == "ok").all()
        assert clock.elapsed_s >= 3          # it waited 3 s, and the test did not

pytest is needed for the fixture only.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.clock import FrozenClock
from llm_executor_nb.core.errors import PaidCallForbiddenError
from llm_executor_nb.engine.paid_calls import forbidding
from llm_executor_nb.rehearsal.rehearse import Rehearsal, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.language_models import BaseChatModel

    rehearsal: Callable[..., Iterator[Rehearsal]]

__all__ = [
    "FrozenClock",
    "PaidCallForbiddenError",
    "Rehearsal",
    "fake_model",
    "forbid_paid_calls",
    "frozen_clock",
    "rehearsal",
]


@contextmanager
def frozen_clock() -> Iterator[FrozenClock]:
    """Let no wait of this package take time: retries, holds and Retry-After pass at once, and are counted.

    Time stands still while a request is under way and jumps to the end of the next wait when none is. It holds for
    the whole process.

        with frozen_clock() as clock:
            llm.run_llm("gemma", "x")
        clock.elapsed_s       # the seconds that would have been waited
        clock.advance(60)     # let a hold end

    Yields:
        The clock.
    """
    frozen = FrozenClock()
    with clock.use(frozen):
        yield frozen


@contextmanager
def forbid_paid_calls() -> Iterator[None]:
    """Let every request raise that may cost something; nothing of it is sent.

    Allowed are a rehearsal, a server on this machine that is asked without a key, and models that send nothing
    (`fake_model`, LangChain's own fakes). It holds for the whole process, jobs included; a job ends with the error.

        @pytest.fixture(autouse=True)
        def _no_money():
            with forbid_paid_calls():
                yield

    Raises:
        PaidCallForbiddenError: out of `run_llm` and its twins, and out of `df.llm.run`; it names where the request
            would have gone.
    """
    with forbidding():
        yield


def fake_model(function: Callable[[str], str]) -> BaseChatModel:
    """Return a LangChain chat model that answers with what a plain function makes of the last message's text.

        llm.add_backend("fake", chat_model=fake_model(str.upper))
        llm.models.add("shout", providers=["fake"], openrouter=False)
        llm.run_llm("shout", "hello").content     # "HELLO"

    Args:
        function: from the prompt to the answer. It runs in a thread; what it raises becomes an outcome of the attempt,
            and an empty text does not count as an answer.
    """
    from llm_executor_nb.rehearsal.fakes import FakeModel  # noqa: PLC0415 - costs LangChain

    return FakeModel(function=function)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - pytest's fixture has no public type
    """Make the fixture `rehearsal` when it is first asked for, so that pytest is needed by its users only."""
    if name != "rehearsal":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = _make_fixture()
    return found


def _make_fixture() -> Any:  # noqa: ANN401 - pytest's fixture has no public type
    import pytest  # noqa: PLC0415 - the package itself does not need it

    @pytest.fixture
    def rehearsal(request: pytest.FixtureRequest) -> Iterator[Rehearsal]:
        """Run the test against practice providers on this machine; without a key, and without cost.

        Parametrise it indirectly with a script, or with a dict of `rehearse`'s arguments.
        """
        told = getattr(request, "param", {})
        with rehearse(**({"script": told} if isinstance(told, str) else told)) as running:
            yield running

    return rehearsal
