"""The panel's sign-in: a link, a code that goes in one way, a key that is used at once and shown nowhere."""

import pytest
from pressing import a_panel, keys_of, state_of, tell, without_keys
from rehearsing import MODEL
from signing_in import code_at

import llm_executor_nb as llm


@pytest.fixture(autouse=True)
def _fresh():
    with without_keys():
        yield


@pytest.fixture
def shown():
    with a_panel() as one:
        yield one


def _begin(shown):
    """Press Sign in, open the link and agree; return the code that the page shows."""
    assert tell(shown, "keys", "sign_in")["ok"]
    return code_at(shown.place["sign_in"])


@pytest.mark.parametrize("pasted", ["{}", "  {}\n", "http://localhost:3000/?code={}&user=x", "'{}'"], ids=str)
def test_a_key_that_came_by_a_sign_in_is_used_at_once_and_shown_nowhere(shown, pasted):
    with llm.rehearse(openrouter_keys=0):
        code = _begin(shown)
        answer = tell(shown, "keys", "finish_sign_in", key=pasted.format(code))
        [(label, _, _)] = keys_of(shown)[:1]
        assert (answer["ok"], label in answer["text"]) == (True, True), answer
        assert label.startswith("signed in ..")
        assert shown.place["sign_in"] == ""
        key = next(iter(llm.keys)).secret.reveal()
        assert not any(text in state_of(shown) + repr(vars(shown)) for text in (code, key))
        assert llm.attempts(llm.run_llm(MODEL, "x"))["backend"].tolist() == ["openrouter"]


@pytest.mark.parametrize("bad", ["not-the-code", "", "sk-or-v1-canary-pasted-by-mistake-1a2b3c"])
def test_a_code_that_is_refused_says_so_at_its_field_and_the_next_one_works(shown, bad):
    with llm.rehearse(openrouter_keys=0):
        code = _begin(shown)
        before = keys_of(shown)
        refused = tell(shown, "keys", "finish_sign_in", key=bad)
        assert (refused["ok"], refused["field"]) == (False, "code")
        assert "ign in" in refused["text"] or "llm.panel()" in refused["text"]
        assert keys_of(shown) == before
        assert "canary" not in state_of(shown)
        assert tell(shown, "keys", "finish_sign_in", key=code)["ok"]


def test_a_sign_in_is_cancelled_and_what_comes_later_is_refused(shown):
    with llm.rehearse(openrouter_keys=0):
        code = _begin(shown)
        assert tell(shown, "keys", "cancel_sign_in")["ok"]
        assert shown.place["sign_in"] == ""
        assert not tell(shown, "keys", "finish_sign_in", key=code)["ok"]
        code = _begin(shown)
    late = tell(shown, "keys", "finish_sign_in", key=code)
    assert (late["ok"], len(llm.keys)) == (False, 0)
