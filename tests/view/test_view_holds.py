"""`llm.health()` says in words that nothing is on hold, and is a frame all the same."""

from __future__ import annotations

import pickle

import pandas as pd
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.view.holds import HoldsFrame


def test_where_nothing_is_on_hold_it_says_so_and_is_an_empty_frame_with_its_columns():
    with fresh(), llm.rehearse():
        held = llm.health()
    assert repr(held) == str(held) == "Nothing is on hold."
    assert "Nothing is on hold." in held._repr_html_()
    assert isinstance(held, pd.DataFrame)
    assert held.empty
    assert {"scope", "why", "seconds_left"} <= set(held.columns)
    assert repr(pickle.loads(pickle.dumps(held))) == "Nothing is on hold."  # noqa: S301 - our own
    assert type(held[["scope"]]) is pd.DataFrame


def test_what_is_on_hold_is_shown_as_a_frame():
    with fresh(), llm.rehearse("openrouter[1]: 401"):
        llm.run_llm(MODEL, "x")
        held = llm.health()
    assert list(held["why"]) == ["auth"]
    assert repr(held) == repr(pd.DataFrame(held))
    assert "<table" in held._repr_html_()
    assert "User not found" in held._repr_html_()


def test_formulas_in_the_words_of_a_hold_are_not_typeset():
    held = HoldsFrame({"message": ["$\\unicode{x41}$", None]})
    assert 'class="llm-nb mathjax_ignore tex2jax_ignore"' in held._repr_html_()
