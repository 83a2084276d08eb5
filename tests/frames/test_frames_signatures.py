"""The options of `df.llm.run` are seen at every method that takes them: by Tab, Shift-Tab and `inspect.signature`."""

from __future__ import annotations

import inspect

import pandas as pd
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter

import llm_executor_nb  # noqa: F401 - makes df.llm known

FRAME = pd.DataFrame({"q": ["a"]})
OPTIONS = {
    name: parameter
    for name, parameter in inspect.signature(FRAME.llm.run).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


def test_run_shows_all_its_options_with_their_defaults():
    assert list(inspect.signature(FRAME.llm.run).parameters)[:2] == ["model", "column"]
    assert list(OPTIONS) == [
        *("template", "out", "system", "schema", "accept", "policy", "service_tier_fallback", "on_error"),
        *(
            "concurrency",
            "hedge",
            "budget_usd",
            "budget_s",
            "price",
            "timeout",
            "deadline",
            "reuse",
            "max_age",
            "progress",
        ),
        "extra_body",
    ]
    assert OPTIONS["max_age"].default == "7D"
    assert OPTIONS["reuse"].default is True


@pytest.mark.parametrize("name", ["arun", "start", "plan", "preview", "retry_failed"])
def test_methods_of_a_frame_show_the_options_of_run(name):
    method = getattr(FRAME.llm, name)
    shown = inspect.signature(method).parameters
    assert [shown[option] for option in OPTIONS] == list(OPTIONS.values())
    assert next(iter(shown)) == "model"
    assert [one.name for one in shown.values() if one.kind is one.VAR_KEYWORD] == ["params"]
    assert inspect.iscoroutinefunction(method) == (name == "arun")


@pytest.mark.parametrize("name", ["run", "arun", "start", "plan", "preview"])
def test_methods_of_a_series_show_the_options_that_a_series_can_have(name):
    shown = inspect.signature(getattr(FRAME["q"].llm, name)).parameters
    assert {*OPTIONS, "model", "params"} - {"template"} == {*shown} - {"n"}


@pytest.mark.parametrize("text", ["df.llm.start('gemma', templ", "df.llm.retry_failed(templ"])
def test_tab_completes_the_options_in_ipython(text):
    completer = IPCompleter(namespace={"df": FRAME}, use_jedi=False)
    with provisionalcompleter():
        assert [found.text for found in completer.completions(text, len(text))] == ["template="]
