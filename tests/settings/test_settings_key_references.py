"""Keys as references: where another process finds them, without the key."""

import pickle

import pytest
from key_places import log_in
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.settings.key_references import missing, practice_key, references, resolved, ring_of
from llm_executor_nb.settings.key_ring import KeyRing

ONE, TWO, THREE = (f"sk-or-v1-canary-elsewhere-000{n}" for n in (1, 2, 3))
TOKEN = "hf_canaryelsewhere0001"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def _references(backend="openrouter"):
    ring = session().options.keys
    found = references(ring.of(backend), (), ring)
    text = pickle.dumps(tuple(found.values())).decode("latin-1") + repr(found.values())
    assert not any(key.secret.reveal() in text for key in found)
    return tuple(found.values())


def _values(found, worker="worker 1"):
    return [key.secret.reveal() for key in resolved(found, KeyRing(), worker)]


def test_a_key_of_the_environment_stays_a_reference_to_its_variable_and_its_pace_and_label_travel(monkeypatch):
    monkeypatch.setenv("OPENROUTER_KEY_1", ONE)
    monkeypatch.setenv("OPENROUTER_KEY_2", TWO)
    llm.keys.add("openrouter", TWO, label="work", rpm=20)
    found = _references()
    assert [(one.variable, one.label, one.rpm) for one in found] == [
        ("OPENROUTER_KEY_2", "work", 20.0),
        ("OPENROUTER_KEY_1", "key 1", None),
    ]
    monkeypatch.setenv("OPENROUTER_KEY_2", THREE)  # another process may have other keys
    assert _values(found) == [THREE, ONE]
    assert [(key.label, key.rpm) for key in resolved(found, KeyRing(), "w")] == [("work", 20.0), ("key 1", None)]


def test_a_key_in_code_is_found_in_whatever_variable_holds_it(monkeypatch):
    monkeypatch.setenv("TEAM_GATEWAY", f"'{ONE}'")
    llm.OPENROUTER_KEYS = [ONE]
    llm.add_backend("mine", base_url="http://localhost:9/v1", keys=[ONE])
    assert [one.variable for one in (*_references(), *_references("mine"))] == ["TEAM_GATEWAY", "TEAM_GATEWAY"]
    assert _values(_references("mine")) == [ONE]


def test_a_look_through_the_environment_takes_nothing_in_it_for_a_key(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", ONE)
    monkeypatch.setenv("SOME_FOLDER", "/home/somebody/notebooks")
    _references()
    assert scrub("see /home/somebody/notebooks") == "see /home/somebody/notebooks"


def test_keys_that_are_only_in_code_are_refused_with_a_variable_for_each():
    llm.OPENROUTER_KEYS = [ONE, TWO]
    llm.add_backend("my-own", base_url="http://localhost:9/v1", keys=[THREE])
    ring = session().options.keys
    with pytest.raises(llm.ConfigError) as raised:
        references([*ring.of("openrouter"), *ring.of("my-own")], (), ring)
    words = str(raised.value)
    assert all(
        name in words for name in ("OPENROUTER_API_KEY", "OPENROUTER_KEY_1", "MY_OWN_API_KEY", "Nothing was sent")
    )
    assert not any(key in words for key in (ONE, TWO, THREE))


def test_a_key_that_nobody_needs_may_be_in_code_alone(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", ONE)
    llm.HUGGINGFACE_TOKENS = [TOKEN]
    ring = session().options.keys
    found = references(ring.of("openrouter"), ring.of("huggingface"), ring)
    assert [one.backend for one in found.values()] == ["openrouter"]


def test_saved_keys_the_login_and_a_dotenv_are_found_in_their_places_and_a_variable_goes_first(monkeypatch):
    with fresh():  # an earlier session
        for name, key in {"mine": ONE, "team": TWO, "private": THREE}.items():
            llm.keys.add("openrouter", key, label=name)
            llm.keys.save("openrouter", name, to="file")
    llm.keys.disable("openrouter", "mine")  # the number of a key counts the keys of its place, asked or not
    log_in(TOKEN)
    found = [*_references(), *_references("huggingface")]
    assert [one.label for one in found[:2]] == ["team", "private"]
    assert _values(found) == [TWO, THREE, TOKEN]
    monkeypatch.setenv(found[0].variable, ONE)  # what a plugin of the workers sets
    assert found[0].variable == "OPENROUTER_API_KEY"
    assert _values(found) == [ONE, THREE, TOKEN]


def test_a_dotenv_is_found_again_under_the_name_it_has_there(tmp_path):
    (tmp_path / ".env").write_text(f"OPENROUTER_KEY_3={ONE}\n")
    with pytest.warns(llm.LLMExecutorWarning, match="as no other place"):
        (found,) = _references()
    assert (found.variable, found.source) == ("OPENROUTER_KEY_3", ".env OPENROUTER_KEY_3")
    assert _values([found]) == [ONE]


def test_a_worker_without_a_key_is_an_error_that_names_worker_and_variable(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", ONE)
    monkeypatch.setenv("OPENROUTER_KEY_1", TWO)
    found = _references()
    monkeypatch.delenv("OPENROUTER_KEY_1")
    assert [one.variable for one in missing(found, KeyRing())] == ["OPENROUTER_KEY_1"]
    with pytest.raises(llm.ConfigError, match=r"(?s)worker 7 does not find .*'key 2'.*Set OPENROUTER_KEY_1 ") as raised:
        _values(found, "worker 7")
    assert ONE not in str(raised.value)
    assert TWO not in str(raised.value)


def test_practice_keys_follow_from_their_numbers_and_a_key_of_the_users_own_in_a_rehearsal_does_not_travel():
    with llm.rehearse(openrouter_keys=3) as practice:
        found = _references()
        assert _values(found) == practice.openrouter_keys == [practice_key("openrouter", n) for n in (1, 2, 3)]
        assert _values(_references("huggingface")) == practice.huggingface_tokens
        llm.keys.add("openrouter", "made-up-word-canary")  # it looks made up, and may be the key of a gateway
        with pytest.raises(llm.ConfigError, match="OPENROUTER_API_KEY") as raised:
            _references()
    assert "made-up-word" not in str(raised.value)


def test_a_worker_asks_with_the_keys_of_the_client_alone_in_the_clients_order(monkeypatch):
    monkeypatch.setenv("OPENROUTER_KEY_1", ONE)
    monkeypatch.setenv("OPENROUTER_KEY_2", TWO)
    llm.keys.move("openrouter", "key 2", 1)
    llm.keys.rename("openrouter", "key 2", "first")
    found = _references()
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)  # the worker's own
    here = KeyRing()
    ring = ring_of({"openrouter": resolved(found, here, "w")}, here, is_practice=False)
    assert [(key.label, key.secret.reveal()) for key in ring.of("openrouter")] == [("first", TWO), ("key 1", ONE)]
    assert ring.of("huggingface") == ()
