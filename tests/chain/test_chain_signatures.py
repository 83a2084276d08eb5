"""The parameters of the functions users call are written once, on `make_request`, and each of them shows them."""

import inspect

import pytest

import llm_executor_nb as llm
from llm_executor_nb.chain.request import make_request
from llm_executor_nb.core.signatures import takes

LINE = "ask('gemma', 'x', "
FUNCTIONS = [llm.run_llm, llm.arun_llm, llm.stream_llm, llm.astream_llm]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_shows_the_parameters_of_a_request_and_what_it_returns_itself(function):
    shown = inspect.signature(function)
    assert shown.parameters == inspect.signature(make_request).parameters
    assert "AIMessage" in shown.return_annotation


@pytest.mark.parametrize("function", FUNCTIONS)
def test_tab_offers_the_parameters(function):
    from IPython.core.completer import IPCompleter, provisionalcompleter  # noqa: PLC0415 - loads IPython

    completer = IPCompleter(namespace={"ask": function})
    with provisionalcompleter():
        offered = {one.text for one in completer.completions(LINE, len(LINE))}
    assert {"system=", "schema=", "accept=", "timeout=", "deadline=", "extra_body="} <= offered


def test_each_is_still_the_kind_of_function_that_it_was():
    assert inspect.iscoroutinefunction(llm.arun_llm)
    assert inspect.isasyncgenfunction(llm.astream_llm)
    assert not any(inspect.iscoroutinefunction(function) for function in (llm.run_llm, llm.stream_llm))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_wrong_call_is_refused_in_the_name_of_the_function_that_was_called(function):
    for args in ((), ("gemma",), ("gemma", "x", "y")):
        with pytest.raises(TypeError, match=rf"^{function.__name__}\(\) "):
            function(*args)


def test_a_method_can_take_the_parameters_of_another():
    class Doors:
        def run(self, text: str, *, n: int = 1) -> str:
            return text * n

        @takes(run)
        def start(self, *args, **options) -> "list[str]":
            return [self.run(*args, **options)]

    assert Doors().start("a", n=2) == ["aa"]
    assert str(inspect.signature(Doors().start)) == "(text: str, *, n: int = 1) -> 'list[str]'"
