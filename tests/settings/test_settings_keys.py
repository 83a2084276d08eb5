"""The key ring: what can be said of a key, in which order they are asked, and what the table of them shows."""

import copy
import pickle

import pytest
from IPython.utils.dir2 import dir2
from rehearsing import MODEL, fresh, seen_by

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer

ONE, TWO, THREE = (f"sk-or-v1-keyring-000{n}" for n in (1, 2, 3))
TOKEN = "hf_keyringtoken0001"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), clock.use(clock.FrozenClock()):
        yield


@pytest.fixture
def refusing(monkeypatch):
    """Providers that refuse every key, so that a call walks all of them."""
    with RehearsalServer("*: 401") as running:
        monkeypatch.setenv("OPENROUTER_BASE_URL", running.openrouter_url)
        monkeypatch.setenv("HF_ROUTER_URL", running.huggingface_url)
        yield running


def _walk(server):
    server.clear()
    llm.reset_health()
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm(MODEL, "hi")
    return [key for _, key, *_ in seen_by(server)]


def _lines():
    return session().options.keys.lines()


def _shown(backend="openrouter"):
    return [f"{line.label} {line.secret.ending}" for line in _lines() if line.backend == backend]


# --- labels -------------------------------------------------------------------------------------------------------


def test_a_key_is_renamed_and_found_by_label_last_characters_or_both():
    llm.keys.add("openrouter", ONE)
    assert llm.keys.rename("openrouter", "key 1", "team") == "team ..0001"
    assert llm.keys.rename("openrouter", "..0001", "lab") == "lab ..0001"
    assert llm.keys.rename("openrouter", "lab ..0001", "mine") == "mine ..0001"
    assert [key.shown for key in llm.keys] == ["mine ..0001"]


def test_a_label_said_of_a_key_of_the_environment_holds_wherever_it_is_shown(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", ONE)
    llm.keys.rename("openrouter", "..0001", "team")
    _walk(refusing)
    assert llm.attempts()["key"].tolist() == ["team ..0001"]


@pytest.mark.parametrize("label", ["", " ", "two\nlines", "x" * 41, None, ONE, "hf_pastedinthewrongfield", "taken"])
def test_a_label_that_is_none_or_taken_or_a_key_is_refused_and_not_shown(label):
    llm.keys.add("openrouter", ONE, label="first")
    llm.keys.add("openrouter", TWO, label="taken")
    with pytest.raises(llm.ConfigError) as raised:
        llm.keys.rename("openrouter", "first", label)
    assert "hf_pasted" not in str(raised.value)
    assert ONE not in str(raised.value)
    assert _shown() == ["first ..0001", "taken ..0002"]


def test_keys_without_a_label_get_numbers_that_no_other_key_has(monkeypatch):
    monkeypatch.setenv("OPENROUTER_KEY_1", TWO)
    llm.keys.add("openrouter", ONE)
    llm.keys.add("openrouter", THREE)
    labels = [key.label for key in llm.keys]
    assert len(set(labels)) == 3


def test_two_keys_with_the_same_ending_are_told_apart_by_label():
    llm.keys.add("openrouter", "sk-or-v1-another-0001", label="other")
    llm.keys.add("openrouter", ONE, label="mine")
    with pytest.raises(llm.ConfigError, match=r"other \.\.0001, mine \.\.0001"):
        llm.keys.disable("openrouter", "0001")
    llm.keys.disable("openrouter", "mine")
    assert [key.label for key in llm.keys] == ["other"]


def test_an_unknown_key_is_answered_with_the_ones_there_are_and_never_with_its_own_text():
    llm.keys.add("openrouter", ONE, label="mine")
    with pytest.raises(llm.ConfigError, match=r"There are: mine \.\.0001") as raised:
        llm.keys.disable("openrouter", "canary-value-of-a-key")
    assert "canary" not in str(raised.value)


# --- order, on and off --------------------------------------------------------------------------------------------


def test_keys_are_asked_in_the_order_they_were_moved_to_wherever_they_come_from(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)
    llm.keys.add("openrouter", ONE)
    llm.keys.add("openrouter", TWO)
    assert _walk(refusing) == ["..0001", "..0002", "..0003"]
    llm.keys.move("openrouter", "..0003", to=1)
    assert _walk(refusing) == ["..0003", "..0001", "..0002"]
    llm.keys.move("openrouter", "..0003", to=99)
    assert _walk(refusing) == ["..0001", "..0002", "..0003"]
    llm.keys.move("openrouter", "..0002", to=1)
    llm.keys.add("openrouter", "sk-or-v1-keyring-0004")
    assert _walk(refusing) == ["..0002", "..0001", "..0003", "..0004"]


def test_moving_a_key_renames_none():
    llm.OPENROUTER_KEYS = [ONE, TWO]
    llm.keys.add("openrouter", THREE, label="team")
    llm.keys.move("openrouter", "team", to=1)
    assert _shown() == ["team ..0003", "key 1 ..0001", "key 2 ..0002"]


def test_a_key_that_goes_or_comes_renames_none():
    llm.OPENROUTER_KEYS = [ONE, TWO, THREE]
    assert _shown() == ["key 1 ..0001", "key 2 ..0002", "key 3 ..0003"]
    llm.keys.remove("openrouter", "key 1")
    assert _shown() == ["key 2 ..0002", "key 3 ..0003"]
    llm.OPENROUTER_KEYS.insert(0, "sk-or-v1-keyring-0009")
    assert _shown() == ["key 1 ..0009", "key 2 ..0002", "key 3 ..0003"]
    llm.keys.rename("openrouter", "..0003", "key 4")
    llm.OPENROUTER_KEYS.insert(0, ONE)
    assert _shown() == ["key 3 ..0001", "key 1 ..0009", "key 2 ..0002", "key 4 ..0003"]
    llm.OPENROUTER_KEYS = [TWO]
    assert _shown() == ["key 2 ..0002"]


def test_a_list_assigned_in_code_counts_in_its_own_order():
    llm.OPENROUTER_KEYS = [ONE, TWO]
    llm.keys.move("openrouter", "..0002", to=1)
    llm.OPENROUTER_KEYS = [ONE, TWO, THREE]
    assert _shown() == ["key 1 ..0001", "key 2 ..0002", "key 3 ..0003"]


@pytest.mark.parametrize("to", [0, -1, 1.5, "1", None])
def test_a_position_that_is_none_is_refused(to):
    llm.keys.add("openrouter", ONE)
    with pytest.raises(llm.ConfigError, match="first position is 1"):
        llm.keys.move("openrouter", "..0001", to=to)


def test_a_disabled_key_is_in_no_chain_until_it_is_enabled(refusing, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    llm.OPENROUTER_KEYS = [ONE, TWO]
    llm.keys.disable("openrouter", "..0001")
    llm.keys.disable("huggingface", "..0001")
    assert _walk(refusing) == ["..0002"]
    assert [line.is_enabled for line in _lines()] == [False, True, False]
    assert "disabled" in repr(llm.keys)
    llm.keys.enable("openrouter", "..0001")
    assert _walk(refusing) == ["..0001", "..0002"]


def test_adding_a_disabled_key_again_enables_it():
    llm.keys.add("openrouter", ONE, label="mine")
    llm.keys.disable("openrouter", "mine")
    assert llm.keys.add("openrouter", ONE) == "mine ..0001"
    assert len(llm.keys) == 1


def test_without_an_enabled_key_the_call_says_that_there_is_none():
    llm.OPENROUTER_KEYS = [ONE]
    llm.keys.disable("openrouter", "..0001")
    with pytest.raises(llm.MissingKeyError):
        llm.run_llm(MODEL, "x")


# --- removing -----------------------------------------------------------------------------------------------------


def test_a_key_of_the_list_in_code_is_removed_from_it():
    llm.OPENROUTER_KEYS = [ONE, TWO]
    assert llm.keys.remove("openrouter", "..0001")
    assert llm.OPENROUTER_KEYS == [TWO]


def test_a_key_of_the_environment_is_not_ours_to_remove(monkeypatch):
    monkeypatch.setenv("OPENROUTER_KEY_2", TWO)
    llm.keys.add("openrouter", TWO, label="both")
    with pytest.raises(llm.ConfigError, match=r"OPENROUTER_KEY_2.*llm\.keys\.disable\('openrouter', '\.\.0002'\)"):
        llm.keys.remove("openrouter", "both")
    assert _shown() == ["both ..0002"]


# --- a rehearsal --------------------------------------------------------------------------------------------------


def test_a_rehearsal_gives_back_labels_order_and_what_is_disabled():
    llm.OPENROUTER_KEYS = [ONE, TWO]
    llm.keys.add("huggingface", TOKEN, label="mine")
    llm.keys.move("openrouter", "..0002", to=1)
    llm.keys.disable("openrouter", "..0001")
    before = _lines()
    with llm.rehearse(openrouter_keys=2):
        assert _shown() == ["key 1 ..0001", "key 2 ..0002"]
        assert all(line.is_enabled for line in _lines())
        llm.keys.move("openrouter", "..0002", to=1)
        llm.keys.disable("huggingface", "..0001")
        llm.keys.rename("openrouter", "..0002", "practice")
        llm.keys.remove("openrouter", "practice")
    assert _lines() == before


# --- what a user sees of it on Tab ---------------------------------------------------------------------------------


_MODELS = "add add_alias aliases find marks names off_openrouter providers remove remove_alias resolve row save search "


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        ("keys", "add disable enable forget_saved move refresh remove rename save"),
        ("models", f"{_MODELS} set_providers"),
    ],
)
def test_tab_shows_what_is_for_users(thing, expected):
    assert len(llm.models) > 0  # the table is looked up at first need
    shown = dir2(getattr(llm, thing))
    assert [name for name in shown if not name.startswith("_")] == expected.split()


# --- what is shown ------------------------------------------------------------------------------------------------


def test_the_table_shows_label_ending_source_state_and_pace_and_nothing_of_the_key(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    llm.keys.add("openrouter", ONE, label="<team>", rpm=20)
    llm.keys.disable("openrouter", "<team>")
    html = llm.keys._repr_html_()
    for told in ("&lt;team&gt; ..0001", "session", "disabled, 20 a minute", "HF_TOKEN", "key 1 ..0001"):
        assert told in html
    assert "<td>" not in html
    assert "<th>" not in html
    for text in (html, repr(llm.keys), repr(_lines()), repr(vars(session().options.keys))):
        assert "keyring" not in text.replace("what llm.keys.save kept (keyring", "")


def test_without_keys_the_text_says_where_they_are_looked_for():
    assert llm.keys._repr_html_() is None
    for place in ("OPENROUTER_API_KEY", ".env", "Hugging Face login", "keys.json"):
        assert place in repr(llm.keys)
    for step in ("llm.panel()", "llm.keys.add('openrouter', key)", "with llm.rehearse():"):
        assert step in repr(llm.keys)


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_the_ring_is_neither_pickled_nor_copied(take):
    with pytest.raises(TypeError, match="never pickled"):
        take(llm.keys)
