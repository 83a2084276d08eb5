"""Keys from places outside this program: `.env`, the secrets of notebook services, the Hugging Face login."""

import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from key_places import be_in_colab, be_in_databricks, be_in_kaggle, log_in, login_file
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.key_sources import LOGIN_KEPT_S, login_path

ONE, TWO, THREE = (f"sk-or-v1-places-000{n}" for n in (1, 2, 3))
TOKEN, SECOND = "hf_placestoken0001", "hf_placestoken0002"


@pytest.fixture(autouse=True)
def time():
    with fresh(), clock.use(clock.FrozenClock()) as frozen:
        yield frozen


def _found(backend=None):
    keys = [line for line in session().options.keys.lines() if backend in (None, line.backend)]
    return [(key.secret.ending, key.source) for key in keys]


def _endings(backend=None):
    return [ending for ending, _ in _found(backend)]


# --- .env ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("git", [lambda path: path.mkdir(), lambda path: path.write_text("gitdir: elsewhere")])
def test_a_dotenv_above_the_working_folder_counts_up_to_the_root_of_the_repository(git, tmp_path, monkeypatch):
    root, here = tmp_path / "repository", tmp_path / "repository" / "notebooks" / "week 1"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    (tmp_path / ".env").write_text(f"OPENROUTER_API_KEY={THREE}\n")
    (root / ".env").write_text(f"OPENROUTER_API_KEY={ONE}\nHF_TOKEN={TOKEN}\n")
    assert _found() == []  # without a repository the folder above may be anybody's
    git(root / ".git")
    llm.keys.refresh()
    assert _found() == [("..0001", "../../.env OPENROUTER_API_KEY"), ("..0001", "../../.env HF_TOKEN")]
    with RehearsalServer() as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.openrouter_url)
        with pytest.warns(llm.LLMExecutorWarning, match="as no other place") as warned:
            llm.run_llm(MODEL, "x")
    assert f"the keys of {root / '.env'} (../../.env OPENROUTER_API_KEY ..0001)" in str(warned[0].message)
    # the nearest one that has a key of the backend; another without one is no end of the search
    (here / ".env").write_text(f"OPENROUTER_API_KEY={TWO}\nOTHER=x\n")
    assert _found() == [("..0002", ".env OPENROUTER_API_KEY"), ("..0001", "../../.env HF_TOKEN")]
    (here / ".env").unlink()
    monkeypatch.chdir(root)
    assert _found() == [("..0001", ".env OPENROUTER_API_KEY"), ("..0001", ".env HF_TOKEN")]
    (root / ".env").unlink()
    assert _found() == []
    monkeypatch.setenv("HF_TOKEN", SECOND)
    (root / ".env").write_text(f"HF_TOKEN={TOKEN}\n")
    assert _found() == [("..0002", "HF_TOKEN")]


def test_a_working_folder_that_is_gone_holds_no_keys(tmp_path, monkeypatch):
    here = tmp_path / "gone"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert _found() == []


# --- the login ----------------------------------------------------------------------------------------------------


def test_the_login_is_found_and_read_again_when_it_changes():
    log_in(TOKEN)
    assert _found() == [("..0001", "the Hugging Face login")]
    log_in(SECOND + "\n")
    assert _endings() == ["..0002"]
    login_file().unlink()
    assert _endings() == []


def test_the_login_is_read_through_huggingface_hub_which_refreshes_it(monkeypatch, time):
    tokens = iter([TOKEN, SECOND, SECOND])
    monkeypatch.setattr("huggingface_hub.get_token", lambda: next(tokens))
    log_in("hf_inthefile0009")
    llm.keys.add("huggingface", "hf_another0003")
    assert _endings() == ["..0003", "..0001"]
    llm.keys.rename("huggingface", "..0001", "mine")
    llm.keys.move("huggingface", "mine", to=1)
    llm.keys.disable("huggingface", "mine")
    assert _endings() == ["..0001", "..0003"]
    time.advance(LOGIN_KEPT_S)
    # what was said of the login is true of its new token
    lines = [(key.shown, key.is_enabled) for key in session().options.keys.lines()]
    assert lines == [("mine ..0002", False), ("key 2 ..0003", True)]
    assert next(tokens) == SECOND


def test_a_variable_does_not_hide_the_login(monkeypatch):
    log_in(TOKEN)
    monkeypatch.setenv("HF_TOKEN", SECOND)
    assert _found() == [("..0002", "HF_TOKEN"), ("..0001", "the Hugging Face login")]
    login_file().unlink()
    assert _endings() == ["..0002"]


def test_a_login_that_cannot_be_read_is_told_with_the_next_step(monkeypatch):
    def fail():
        raise PermissionError("hf_insidetheerror0001")

    log_in(TOKEN)
    monkeypatch.setattr("huggingface_hub.get_token", fail)
    with pytest.warns(llm.LLMExecutorWarning, match=r"\(PermissionError\).*llm\.login\('huggingface'\)") as warned:
        assert _endings() == []
    assert "insidetheerror" not in str(warned[0].message)


@pytest.mark.parametrize("variable", ["HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_login_is_looked_for_where_huggingface_hub_has_it_without_loading_it(variable, monkeypatch, tmp_path):
    for name in ("HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    values = {"HF_TOKEN_PATH": "$HOME/my.token", "HOME": os.environ["HOME"]}
    monkeypatch.setenv(variable, values.get(variable, str(tmp_path)))
    spec = importlib.util.find_spec("huggingface_hub.constants")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)  # a copy: the one that is loaded has read its variables already
    for name in ("huggingface_hub", "huggingface_hub.constants"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert login_path() == Path(theirs.HF_TOKEN_PATH)


def test_without_a_login_huggingface_hub_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert _found() == []
    assert "the Hugging Face login" in repr(llm.keys)


def test_the_login_is_left_alone_where_hugging_face_is_told_to(monkeypatch):
    log_in(TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert _found() == []


# --- Colab --------------------------------------------------------------------------------------------------------


def test_colabs_secrets_are_asked_once_and_stand_behind_the_environment(monkeypatch):
    userdata = be_in_colab(monkeypatch, {"OPENROUTER_API_KEY": ONE, "OPENROUTER_KEY_1": TWO, "HF_TOKEN": TOKEN})
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)
    assert _endings() == ["..0003", "..0001", "..0002", "..0001"]
    asked = len(userdata.asked)
    assert len(llm.keys) == 4
    assert len(userdata.asked) == asked
    assert "Colab's secrets OPENROUTER_API_KEY" in repr(llm.keys)
    userdata.secrets["OPENROUTER_KEY_2"] = "sk-or-v1-places-0009"
    llm.keys.refresh()
    assert len(llm.keys) == 5


def test_a_secret_that_colab_refuses_is_told_and_the_others_are_taken(monkeypatch):
    be_in_colab(monkeypatch, {"HUGGINGFACEHUB_API_TOKEN": TOKEN}, ["HF_TOKEN"])
    with pytest.warns(llm.LLMExecutorWarning, match=r"HF_TOKEN \(NotebookAccessError\)"):
        assert _endings("huggingface") == ["..0001"]


def test_colab_is_not_asked_from_another_thread_but_later_from_the_main_one(monkeypatch):
    userdata = be_in_colab(monkeypatch, {"OPENROUTER_API_KEY": ONE})
    thread = threading.Thread(target=lambda: list(llm.keys))
    thread.start()
    thread.join()
    assert userdata.asked == []
    assert _endings() == ["..0001"]
    asked = len(userdata.asked)
    thread = threading.Thread(target=lambda: [llm.keys.refresh(), list(llm.keys)])
    thread.start()
    thread.join()
    assert len(userdata.asked) == asked
    assert _endings() == ["..0001"]


# --- Kaggle and Databricks ----------------------------------------------------------------------------------------


def test_kaggles_secrets_are_asked_once_under_the_variables_names(monkeypatch):
    module = be_in_kaggle(monkeypatch, {"OPENROUTER_API_KEY": ONE, "HF_TOKEN": f" {TOKEN}\n", "HF_TOKEN_1": SECOND})
    assert _found() == [
        ("..0001", "Kaggle's secrets OPENROUTER_API_KEY"),
        ("..0001", "Kaggle's secrets HF_TOKEN"),
        ("..0002", "Kaggle's secrets HF_TOKEN_1"),
    ]
    asked = len(module.asked)
    assert len(llm.keys) == 3
    assert len(module.asked) == asked


@pytest.mark.parametrize(
    "failure", [ConnectionError("no internet"), TimeoutError(), lambda of: of.CredentialError("x")]
)
def test_kaggle_that_does_not_answer_is_told_and_asked_no_more(failure, monkeypatch):
    module = be_in_kaggle(monkeypatch, {"OPENROUTER_API_KEY": ONE})
    module.failure = failure(module) if callable(failure) else failure
    with pytest.warns(llm.LLMExecutorWarning, match=r"Kaggle's secrets did not answer .*llm\.keys\.refresh") as warned:
        assert _found() == []
    assert len(warned) == len(module.asked) == 2  # once for each backend
    module.failure = None
    assert _found() == []
    llm.keys.refresh()
    assert _endings() == ["..0001"]


def test_a_program_that_only_has_kaggles_variable_goes_on_without_its_secrets(monkeypatch):
    monkeypatch.setenv("KAGGLE_USER_SECRETS_TOKEN", "x")
    assert _found() == []


def test_databricks_secrets_are_taken_of_every_scope_that_may_be_listed(monkeypatch):
    scopes = {
        "team": {"OPENROUTER_API_KEY": ONE, "OTHER": "x"},
        "locked": {"HF_TOKEN": "hf_lockedaway0009"},
        "vault": {"hf-token-2": SECOND, "HF-TOKEN-1": TOKEN},  # Azure's Key Vault takes no underscores
        "empty": {"HF_TOKEN": ""},
    }
    secrets = be_in_databricks(monkeypatch, scopes, ["locked"])
    assert _found() == [
        ("..0001", "Databricks' secrets team/OPENROUTER_API_KEY"),
        ("..0001", "Databricks' secrets vault/HF-TOKEN-1"),
        ("..0002", "Databricks' secrets vault/hf-token-2"),
    ]
    assert "team/OTHER" not in secrets.asked  # what is not ours is not read


def test_databricks_with_very_many_scopes_is_not_waited_for_without_end(monkeypatch, time):
    scopes = {f"scope {number}": {"OPENROUTER_API_KEY": ONE} for number in range(1000)}
    secrets, listed = be_in_databricks(monkeypatch, scopes), []

    def list_slowly(scope):
        listed.append(scope)
        time.advance(1)
        return []

    secrets.list = list_slowly
    with pytest.warns(llm.LLMExecutorWarning, match=r"985 of 1,000 scopes were not searched for OPENROUTER_API_KEY"):
        assert session().options.keys.of("openrouter") == ()
    assert len(listed) == 15


@pytest.mark.parametrize(
    "be_there", [be_in_colab, be_in_kaggle, lambda patch, one: be_in_databricks(patch, {"a": one})]
)
def test_a_secret_that_is_no_text_is_left_out_and_said(be_there, monkeypatch):
    be_there(monkeypatch, {"OPENROUTER_API_KEY": [ONE], "OPENROUTER_KEY_1": TWO})
    with pytest.warns(llm.LLMExecutorWarning, match="OPENROUTER_API_KEY is left out: A key is a text, not list"):
        assert _endings() == ["..0002"]


def test_a_dbutils_that_finds_no_cluster_is_no_place(monkeypatch):
    class Utils:
        @property
        def secrets(self):
            raise RuntimeError("no cluster")

    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={"dbutils": Utils()}))
    assert _found() == []
    assert not any("Databricks" in place for place in session().options.keys.places())


def test_databricks_that_lists_no_scopes_is_told(monkeypatch):
    be_in_databricks(monkeypatch, {}, (), RuntimeError("denied"))
    with pytest.warns(llm.LLMExecutorWarning, match=r"Databricks' secrets could not be listed \(RuntimeError\)"):
        assert _found() == []


@pytest.mark.parametrize(
    ("service", "secrets"),
    [
        (be_in_colab, {"OPENROUTER_API_KEY": ONE}),
        (be_in_kaggle, {"OPENROUTER_API_KEY": ONE}),
        (be_in_databricks, {"scope": {"OPENROUTER_API_KEY": ONE}}),
    ],
)
def test_a_service_is_named_where_keys_are_looked_for_and_left_alone_by_lists_and_rehearsals(
    service, secrets, monkeypatch
):
    asked = service(monkeypatch, secrets).asked
    llm.OPENROUTER_KEYS = [TWO]
    llm.HUGGINGFACE_TOKENS = []
    assert _endings() == ["..0002"]
    with llm.rehearse():
        llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS = [None], [None]
        assert _endings() == []
    assert asked == []
    llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS = [None], [None]
    name = service.__name__.removeprefix("be_in_").capitalize()
    assert any(place.startswith(f"{name}'") for place in session().options.keys.places())
    with pytest.raises(llm.ConfigError, match=f"comes from {name}.*Remove it there"):
        llm.keys.remove("openrouter", "..0001")
