"""The panel's search of all models: what is found is shown in words, and added with one press."""

import pandas as pd
import pytest
from pressing import a_panel, tell, without_keys
from rehearsing import MODEL

import llm_executor_nb as llm
from llm_executor_nb.notebook.panel import offers
from llm_executor_nb.notebook.panel.text import text_form

QWEN = "qwen/qwen3-32b"


@pytest.fixture(autouse=True)
def _fresh():
    with without_keys():
        yield


@pytest.fixture
def shown():
    with a_panel() as one:
        yield one


def _found(shown, text="", *only):
    answer = tell(shown, "models", "search", text=text, only=list(only))
    return answer, shown.offers.get("rows", [])


def test_what_a_search_finds_is_shown_and_said(shown):
    with llm.rehearse():
        for text, only in (("qwen3 32b", ()), ("", ("images", "tools")), ("", ("free",)), ("no such model", ())):
            answer, rows = _found(shown, text, *only)
            found = llm.models.search(text, **dict.fromkeys(only, True))
            assert [row["model"] for row in rows] == list(found["model"].head(offers.SHOWN))
            assert shown.offers["caption"] == answer["text"]
            assert answer["text"].startswith(f"{len(found) or 'no'} model")
            assert ("longer text" in answer["text"]) == (len(found) > offers.SHOWN)
        assert tell(shown, "models", "close")["ok"]
        assert shown.offers == {}


def test_one_press_adds_a_model_with_its_providers_and_marks_it(shown):
    with llm.rehearse():
        _, rows = _found(shown, QWEN)
        assert [row["is_listed"] for row in rows if row["model"] == QWEN] == [False]
        answer = tell(shown, "models", "add", model=QWEN, providers=None)
        listed = [one["provider"] for one in llm.models.search(QWEN)["providers"].iloc[0]]
        assert list(llm.models.row(QWEN)) == listed != []
        assert answer["text"] == f"Added {QWEN} with {len(listed)} providers."
        assert [row["is_listed"] for row in shown.offers["rows"] if row["model"] == QWEN] == [True]
        tell(shown, "models", "remove", model=QWEN)
        assert [row["is_listed"] for row in shown.offers["rows"] if row["model"] == QWEN] == [False]


def test_old_lists_are_said_to_be_old_beside_the_button_and_nowhere_else(shown):
    llm.configure(openrouter_base_url="http://127.0.0.1:1/v1", huggingface_base_url="http://127.0.0.1:1/v1")
    answer, rows = _found(shown, "gemma")  # a warning would be an error here
    assert (answer["ok"], rows) == (True, [])
    assert "could not be fetched" in answer["text"]
    added = tell(shown, "models", "add", model=QWEN, providers="", alias="q")
    assert "sync_models" in added["text"]
    assert llm.models.resolve("q") == QWEN


def test_what_no_list_says_is_called_unknown():
    said = {
        "model": "maker/model",
        "input_usd_per_million": 0.08,
        "output_usd_per_million": 1.25,
        "context_length": 131072,
        "modalities": "text, image",
        "tools": True,
        "schema": False,
        "providers": [{"provider": name, "latency_s": 0.41, "throughput": 60.4} for name in "abcde"],
        "is_free": False,
        "zdr": True,
        "expires": pd.Timestamp("2027-01-02", tz="UTC"),
    }
    nothing = {**dict.fromkeys(said), "model": "maker/model"}
    for row, words in (
        (
            said,
            {
                "price": "$0.080 in, $1.25 out",
                "context": "131,072",
                "providers": "a (0.4 s, 60 tokens/s) · b (0.4 s, 60 tokens/s) · c (0.4 s, 60 tokens/s) · 2 more",
                "marks": "text, image · tools · keeps nothing · until 2027-01-02",
            },
        ),
        (nothing, {"price": "unknown", "context": "unknown", "providers": "none", "marks": ""}),
        ({**nothing, "is_free": True}, {"price": "free"}),
    ):
        frame = pd.DataFrame([row])
        assert offers.offer_rows(frame)[0].items() >= words.items()


def test_the_text_form_has_one_line_for_equal_routes_and_counts_the_quiet_ones():
    with llm.rehearse("openrouter: 401"):
        text = text_form()
        assert len(text.splitlines()) < 40
        llm.run_llm(MODEL, "x")
        health = text_form().partition("Health\n")[2]
        others = len(llm.models) - 1
        assert f"{others} models  openrouter ..0001: on hold (auth)" in health
        assert f"{MODEL}  huggingface/a ..0001: free · ok 1" in health
        assert "routes free, no reply yet" in health
