"""The module's settings: by mutation, assignment and patching, from the environment and .env."""

import importlib
import os
import re
from pathlib import Path
from unittest import mock

import pytest
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, seen_by, waits, words
from tenacity import stop_after_attempt, wait_exponential, wait_fixed

import llm_executor_nb as llm
from llm_executor_nb.chain.session import own_session, session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.options import Options

ONE, TWO, THREE = (f"sk-or-v1-settings-000{n}" for n in (1, 2, 3))
TOKEN = "hf_settingstoken0001"


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        yield time


@pytest.fixture
def server(monkeypatch):
    """Providers that the environment's base URLs lead to; no rehearsal."""
    with RehearsalServer(openrouter_keys=[ONE, TWO, THREE], huggingface_tokens=[TOKEN]) as running:
        monkeypatch.setenv("OPENROUTER_BASE_URL", running.openrouter_url)
        monkeypatch.setenv("HF_ROUTER_URL", running.huggingface_url)
        yield running


def _asked(server, model=MODEL):
    """Make one call, and return who was asked: key endings, or provider and ending."""
    server.clear()
    llm.run_llm(model, "hi")
    return [f"{provider} {key}" if provider else key for _, key, provider, _, _ in seen_by(server)]


def _walk(server):
    """Make one call in which every route refuses its key, and return the order in which they were asked."""
    server.clear()
    llm.reset_health()
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm(MODEL, "hi")
    return [key for _, key, *_ in seen_by(server)]


@pytest.fixture
def refusing(monkeypatch):
    with RehearsalServer("*: 401") as running:
        monkeypatch.setenv("OPENROUTER_BASE_URL", running.openrouter_url)
        monkeypatch.setenv("HF_ROUTER_URL", running.huggingface_url)
        yield running


# --- models -------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_a_value_error_that_names_near_ones():
    with pytest.raises(ValueError, match=r"^Model not supported: nope\. ") as raised:
        llm.run_llm("nope", "x")
    assert isinstance(raised.value, llm.ModelNotSupportedError)
    with pytest.raises(ValueError, match=r"^Model not supported: gema\. Near names: gemma, "):
        llm.run_llm("gema", "x")


@pytest.mark.parametrize("name", [None, 7, ["gemma"]])
def test_a_model_that_is_no_name_is_not_supported(name):
    with pytest.raises(llm.ModelNotSupportedError, match="Model not supported"):
        llm.run_llm(name, "x")


def test_the_shipped_table_is_as_the_first_users_had_it():
    assert llm.MODEL_INFERENCE_PROVIDERS["google/gemma-3-27b-it"] == ["nebius", "featherless-ai", "scaleway"]
    with llm.rehearse() as server:
        llm.run_llm("gemma", "x")
        assert server.lines[0].model == "google/gemma-3-27b-it"


def test_a_row_changed_in_place_or_assigned_counts_from_the_next_call(server):
    llm.HUGGINGFACE_TOKENS = [TOKEN]
    assert _asked(server) == ["a ..0001"]
    llm.MODEL_INFERENCE_PROVIDERS[MODEL].insert(0, "z")
    assert _asked(server) == ["z ..0001"]
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["y"]
    assert _asked(server) == ["y ..0001"]
    llm.MODEL_INFERENCE_PROVIDERS = {MODEL: ["x"], "other/model": ["w"]}
    assert _asked(server) == ["x ..0001"]
    assert _asked(server, "other/model") == ["w ..0001"]
    with pytest.raises(llm.ModelNotSupportedError):
        llm.run_llm("gemma", "hi")


@pytest.mark.parametrize("row", ["scaleway", None, 7, [""], [3]])
def test_a_row_that_is_no_list_of_names_is_said_to_be_wrong(row):
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = row
    with pytest.raises(llm.ConfigError, match=r"providers of my/model"):
        llm.run_llm(MODEL, "x")


def test_models_can_be_added_with_an_alias_and_removed():
    llm.models.add("new/model", providers=["scaleway"], alias="new")
    with llm.rehearse() as server:
        llm.run_llm("new", "x")
        assert server.lines[0].model == "new/model"
    llm.models.remove("new")
    with pytest.raises(llm.ModelNotSupportedError):
        llm.run_llm("new/model", "x")


# --- the compiled chain -------------------------------------------------------------------------------------------


def test_the_same_model_twice_compiles_one_chain():
    with llm.rehearse():
        llm.run_llm(MODEL, "x")
        chain = llm._fallback_chain_cache[MODEL]
        llm.run_llm(MODEL, "y")
        assert llm._fallback_chain_cache[MODEL] is chain
        llm.OPENROUTER_KEYS.append(THREE)
        llm.run_llm(MODEL, "z")
        assert llm._fallback_chain_cache[MODEL] is not chain


def test_an_alias_and_its_model_share_one_chain():
    with llm.rehearse():
        llm.run_llm("gemma", "x")
        chain = llm._fallback_chain_cache["google/gemma-3-27b-it"]
        llm.run_llm("google/gemma-3-27b-it", "x")
        assert llm._fallback_chain_cache == {"google/gemma-3-27b-it": chain}


# --- keys in code -------------------------------------------------------------------------------------------------


def test_keys_appended_count_from_the_next_call(refusing):
    llm.OPENROUTER_KEYS.append(ONE)
    assert _walk(refusing) == ["..0001"]
    llm.OPENROUTER_KEYS.append(TWO)
    llm.HUGGINGFACE_TOKENS.append(TOKEN)
    assert _walk(refusing) == ["..0001", "..0002", "..0001"]


def test_keys_appended_to_an_imported_list_count_too(refusing):
    from llm_executor_nb import OPENROUTER_KEYS  # noqa: PLC0415 - as a user's cell has it

    OPENROUTER_KEYS.append(ONE)
    OPENROUTER_KEYS += [TWO]  # noqa: N806 - the setting's own name
    OPENROUTER_KEYS.insert(0, THREE)
    assert OPENROUTER_KEYS is llm.OPENROUTER_KEYS
    assert _walk(refusing) == ["..0003", "..0001", "..0002"]


def test_a_list_assigned_takes_the_place_of_the_one_before(refusing):
    llm.OPENROUTER_KEYS = [ONE]
    llm.OPENROUTER_KEYS = [TWO, None, TWO, THREE]
    assert _walk(refusing) == ["..0002", "..0003"]
    del llm.OPENROUTER_KEYS[:2]
    assert _walk(refusing) == ["..0003"]
    llm.OPENROUTER_KEYS[0] = ONE
    assert _walk(refusing) == ["..0001"]
    llm.OPENROUTER_KEYS[:] = [TWO, None]
    assert _walk(refusing) == ["..0002"]


def test_none_entries_are_dropped_and_do_not_end_the_search(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)
    llm.OPENROUTER_KEYS = [os.getenv("NOT_SET"), os.getenv("NOT_SET_EITHER")]
    llm.OPENROUTER_KEYS.append(None)
    llm.OPENROUTER_KEYS.insert(0, None)
    assert llm.OPENROUTER_KEYS == []
    assert _walk(refusing) == ["..0003"]


def test_a_list_given_in_code_ends_the_search(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)
    llm.OPENROUTER_KEYS = [ONE]
    assert _walk(refusing) == ["..0001"]
    llm.OPENROUTER_KEYS = []
    with pytest.raises(llm.MissingKeyError):
        llm.run_llm(MODEL, "x")


@pytest.mark.parametrize("bad", ["sk-one-text", 7, None, [7], ["a b"]])
def test_what_is_no_list_of_keys_is_refused_and_changes_nothing(bad):
    llm.OPENROUTER_KEYS = [ONE]
    with pytest.raises(llm.ConfigError):
        llm.OPENROUTER_KEYS = bad
    assert llm.OPENROUTER_KEYS == [ONE]


def test_the_sessions_keys_stand_behind_those_in_code_and_can_be_removed(refusing):
    llm.OPENROUTER_KEYS = [ONE]
    assert llm.keys.add("openrouter", TWO, label="team") == "team ..0002"
    assert _walk(refusing) == ["..0001", "..0002"]
    assert llm.keys.remove("openrouter", "team")
    assert not llm.keys.remove("openrouter", "team")
    assert _walk(refusing) == ["..0001"]


@pytest.mark.parametrize(
    ("backend", "key", "rpm"), [("nope", ONE, None), ("openrouter", "", None), ("openrouter", ONE, 0)]
)
def test_a_bad_key_or_backend_or_limit_is_refused(backend, key, rpm):
    with pytest.raises(llm.ConfigError):
        llm.keys.add(backend, key, rpm=rpm)
    assert len(llm.keys) == 0


# --- keys from elsewhere ------------------------------------------------------------------------------------------


def test_keys_of_the_environment_are_asked_in_the_order_of_their_numbers(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_KEY_10", "sk-or-v1-settings-0010")
    monkeypatch.setenv("OPENROUTER_KEY_2", f" '{TWO}' ")
    monkeypatch.setenv("OPENROUTER_KEY_03", THREE)
    monkeypatch.setenv("OPENROUTER_KEY_4", "")
    monkeypatch.setenv("OPENROUTER_KEY_X", "sk-or-v1-settings-000X")
    monkeypatch.setenv("OPENROUTER_API_KEY", ONE)
    monkeypatch.setenv("HF_TOKEN_1", "hf_settingstoken0007")
    monkeypatch.setenv("HUGGINGFACEHUB_API_TOKEN", "hf_settingstoken0006")
    monkeypatch.setenv("HF_TOKEN", "hf_settingstoken0005")
    assert _walk(refusing) == ["..0001", "..0002", "..0003", "..0010", "..0005", "..0006", "..0007"]
    monkeypatch.delenv("OPENROUTER_API_KEY")
    assert _walk(refusing)[0] == "..0002"


def test_a_bad_key_of_the_environment_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("OPENROUTER_KEY_1", "your key here")
    with (
        pytest.warns(llm.LLMExecutorWarning, match="OPENROUTER_KEY_1 is left out") as warned,
        pytest.raises(llm.MissingKeyError),
    ):
        llm.run_llm(MODEL, "x")
    assert "your key here" not in str(warned[0].message)


def test_dotenv_of_the_working_folder_gives_keys_only_and_leaves_the_environment_alone(refusing):
    before = dict(os.environ)
    Path(".env").write_text(
        f"OPENROUTER_API_KEY={ONE}\nexport HF_TOKEN='{TOKEN}'\n"
        "OPENROUTER_BASE_URL=http://evil.invalid\nHF_ROUTER_URL=http://evil.invalid\nAWS_SECRET=canary-other\n",
    )
    with pytest.warns(llm.LLMExecutorWarning, match="as no other place has a key"):
        assert _walk(refusing) == ["..0001", "..0001"]
    assert dict(os.environ) == before
    assert "canary-other" not in repr(vars(session().options.keys))
    assert _walk(refusing) == ["..0001", "..0001"]  # said once
    Path(".env").write_text(f"OPENROUTER_KEY_1={TWO}\nOPENROUTER_KEY_2={THREE}\n")
    with pytest.warns(llm.LLMExecutorWarning, match=r"\.env OPENROUTER_KEY_1 \.\.0002, \.env OPENROUTER_KEY_2"):
        assert _walk(refusing) == ["..0002", "..0003"]


@pytest.mark.parametrize(
    "give",
    [
        lambda monkeypatch: monkeypatch.setenv("OPENROUTER_API_KEY", ONE),
        lambda _: llm.keys.add("openrouter", ONE),
        lambda _: setattr(llm, "OPENROUTER_KEYS", [ONE]),
        lambda _: _save_in_an_earlier_session(),
    ],
    ids=["environment", "session", "code", "saved"],
)
def test_a_dotenv_takes_no_request_of_a_user_with_a_key_of_their_own(give, refusing, monkeypatch):
    Path(".env").write_text(f"OPENROUTER_API_KEY={TWO}\nOPENROUTER_KEY_1={THREE}\nHF_TOKEN={TOKEN}\n")
    give(monkeypatch)
    with pytest.warns(llm.LLMExecutorWarning, match=r"huggingface use the keys of .*env \(\.env HF_TOKEN") as warned:
        assert _walk(refusing) == ["..0001", "..0001"]
    assert len(warned) == 1


def _save_in_an_earlier_session():
    with own_session(Options(ledger=None)):
        llm.keys.add("openrouter", ONE)
        llm.keys.save("openrouter", ONE, to="file")


def test_an_empty_list_in_code_ends_the_search_before_the_dotenv():
    Path(".env").write_text(f"OPENROUTER_API_KEY={ONE}\nHF_TOKEN={TOKEN}\n")
    llm.OPENROUTER_KEYS = llm.HUGGINGFACE_TOKENS = []
    with pytest.raises(llm.MissingKeyError):
        llm.run_llm(MODEL, "x")


def test_a_dotenv_that_is_no_utf8_is_told():
    Path(".env").write_bytes(b"\xff\xfe\x00=x")
    with pytest.warns(llm.LLMExecutorWarning, match="UTF-8"), pytest.raises(llm.MissingKeyError):
        llm.run_llm(MODEL, "x")


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda _: None])
def test_a_dotenv_that_cannot_be_read_holds_no_keys(make):
    make(Path(".env"))
    with pytest.raises(llm.MissingKeyError):
        llm.run_llm(MODEL, "x")


THREE_WAYS = (
    "Sign in with {}, paste a key into llm.panel() in a notebook, or rehearse without a key: with llm.rehearse(): ..."
)


def _missing_key():
    with pytest.raises(llm.MissingKeyError) as raised:
        llm.run_llm(MODEL, "x")
    return str(raised.value)


def test_without_a_key_the_error_says_the_cause_what_to_type_the_places_and_last_the_three_ways_in_a_sentence():
    cause, heading, *lines, last = _missing_key().splitlines()
    assert (cause, heading) == (f"No key for {MODEL}.", "Type one of these:")
    assert last == THREE_WAYS.format("llm.login()")
    assert [line.split("   ")[0].strip() for line in lines[: lines.index("Looked in:")]] == [
        "llm.keys.add('openrouter', key)",
        "llm.keys.add('huggingface', token)",
        "export OPENROUTER_API_KEY=key",
    ]
    assert [line.partition(":")[0].strip() for line in lines[lines.index("Looked in:") + 1 :]] == [
        "llm.OPENROUTER_KEYS",
        "llm.HUGGINGFACE_TOKENS",
        "the environment",
        "the Hugging Face login",
        ".env of the working folder, and in a repository of the folders above it",
        "what llm.keys.save kept",
    ]
    for name in ("OPENROUTER_API_KEY", "OPENROUTER_KEY_1", "HF_TOKEN"):
        assert name in _missing_key()


def test_a_list_in_code_is_named_as_the_end_of_the_search():
    llm.OPENROUTER_KEYS = []
    told = _missing_key()
    assert "llm.OPENROUTER_KEYS: an empty list in code, which ends the search" in told
    assert "OPENROUTER_API_KEY" not in told
    assert "HF_TOKEN" in told


def test_only_backends_that_can_serve_the_row_are_named():
    llm.models.add(MODEL, providers=[])
    told = _missing_key()
    assert "OPENROUTER_API_KEY" in told
    assert not any(words in told for words in ("HF_TOKEN", "huggingface", "sync_models"))
    llm.HUGGINGFACE_TOKENS = [TOKEN]
    told = _missing_key()
    assert told.startswith(f"No key for {MODEL}, and its row names no Hugging Face provider.\nType one of these:\n")
    assert told.splitlines()[2].strip().startswith(f"llm.sync_models({MODEL!r}, apply=True)")


def test_the_sign_in_that_is_named_is_one_that_can_serve_the_row():
    llm.models.off_openrouter.add(MODEL)
    assert _missing_key().splitlines()[-1] == THREE_WAYS.format("llm.login('huggingface')")
    assert repr(llm.keys).splitlines()[-1] == THREE_WAYS.format("llm.login()")
    with llm.rehearse(openrouter_keys=0, huggingface_tokens=0):
        assert "llm.login()" not in _missing_key()
        llm.models.off_openrouter.discard(MODEL)
        assert "llm.login()" in _missing_key()


def test_a_login_that_may_not_be_used_is_named_as_such(monkeypatch):
    assert f"the Hugging Face login: {Path(os.environ['HF_HOME']) / 'token'}" in _missing_key()
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert "the Hugging Face login: not used, because HF_HUB_DISABLE_IMPLICIT_TOKEN is set" in _missing_key()


def test_keys_that_are_all_disabled_are_named_and_not_looked_for():
    llm.OPENROUTER_KEYS = [ONE, TWO]
    llm.keys.disable("openrouter", "..0001")
    llm.keys.disable("openrouter", "..0002")
    cause, heading, *steps = _missing_key().splitlines()
    assert cause == f"No key for {MODEL}: all of its keys are disabled."
    for step in steps:
        eval(step.partition("   ")[0].strip(), {"llm": llm})  # noqa: S307 - what the message says to type
    assert len(llm.keys) == len(steps) == 2
    assert heading == "Type:"


def test_in_a_rehearsal_without_keys_no_advice_begins_a_second_one():
    with llm.rehearse(openrouter_keys=0, huggingface_tokens=0):
        told = _missing_key()
    assert "end this one first" in told
    assert "HF_TOKEN" not in told


@pytest.mark.parametrize(
    ("name", "near"),
    [("Qwen/Qwen3.8-27B", "qwen/qwen3.8-27b"), ("GEMMA", "gemma"), ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3")],
)
def test_a_name_in_another_case_or_of_another_backend_is_near(name, near):
    with pytest.raises(llm.ModelNotSupportedError) as raised:
        llm.run_llm(name, "x")
    assert near in str(raised.value).splitlines()[0].partition("Near names: ")[2].split(", ")[0]


def test_what_an_unknown_model_says_to_type_can_be_typed():
    for name in ("maker/new-model", "short name"):
        with pytest.raises(llm.ModelNotSupportedError) as raised:
            llm.run_llm(name, "x")
        cause, heading, *steps, there_are = str(raised.value).splitlines()
        assert cause.startswith(f"Model not supported: {name}. ")
        assert heading == "To add a model:"
        assert there_are.startswith("The table has: gemma, gemma-4, ")
        assert "scaleway" not in str(raised.value)
        with llm.rehearse() as server:
            for step in steps:
                eval(step.partition("   ")[0].strip(), {"llm": llm})  # noqa: S307 - what the message says to type
            llm.run_llm(name, "x")
            assert server.lines[0].backend == "openrouter"
            assert llm.models.row(llm.models.resolve(name)) == ()


def test_what_an_error_about_a_model_that_is_gone_says_to_type_can_be_typed():
    with llm.rehearse("*: 404"), pytest.raises(llm.AllRoutesFailedError) as raised:
        llm.run_llm("gemma", "x")
    typed = re.findall(r"llm\.[\w.]+\([^)]*\)", str(raised.value))
    assert len(typed) == 2
    with llm.rehearse() as server:
        for step in typed:
            eval(step, {"llm": llm})  # noqa: S307 - what the message says to type
        llm.run_llm("gemma", "x")
        assert server.lines[0].backend == "huggingface", "OpenRouter is left out"
        assert "practice" in llm.models.row("google/gemma-3-27b-it"), "the row is as the catalogue has it"


@pytest.mark.parametrize("prompt", ["What is the capital of France?", "Summarise this " * 9])
def test_a_prompt_in_the_place_of_the_model_is_told_as_such(prompt):
    with pytest.raises(llm.ModelNotSupportedError, match="The model comes first, then the prompt") as raised:
        llm.run_llm(prompt, "gemma")
    assert "alias=" not in str(raised.value)


# --- waits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (wait_fixed(1), [0, 1, 1, 1]),
        (wait_exponential(multiplier=2, max=60), [0, 2, 4, 8]),
        (lambda state: state.attempt_number * 10.0, [0, 10, 20, 30]),
        (wait_fixed(1) + wait_fixed(2), [0, 3, 3, 3]),
    ],
)
def test_a_strategy_assigned_counts_from_the_next_call(strategy, expected):
    with llm.rehearse("openrouter[1]: 503*3; openrouter[2]: 503"):
        llm.retry_wait_strategy = strategy
        llm.run_llm(MODEL, "x")
        assert waits() == expected


def test_retries_before_sleep_and_stop_objects_are_settings():
    slept = []
    with llm.rehearse("openrouter: 503; huggingface/a: 503") as server:
        llm.configure(retries=stop_after_attempt(2), before_sleep=lambda state: slept.append(state.next_action.sleep))
        llm.run_llm(MODEL, "x")
        assert (len(server.lines), slept) == (7, [3, 3, 3])
        llm.reset_health()
        server.clear()
        llm.configure(retries=0, before_sleep=None)
        llm.run_llm(MODEL, "x")
        assert (len(server.lines), len(slept)) == (4, 3)


# --- patching -----------------------------------------------------------------------------------------------------

SETTINGS = {
    "OPENROUTER_KEYS": [TWO],
    "HUGGINGFACE_TOKENS": [TOKEN],
    "MODEL_INFERENCE_PROVIDERS": {MODEL: ["z"]},
    "retry_wait_strategy": wait_fixed(1),
}


@pytest.mark.parametrize(("name", "value"), SETTINGS.items())
@pytest.mark.parametrize("how", ["monkeypatch", "patch.object", "patch", "patch.multiple"])
def test_every_setting_can_be_patched_and_comes_back_as_the_same_object(name, value, how):
    before = getattr(llm, name)
    patcher = {
        "monkeypatch": lambda: _monkeypatched(name, value),
        "patch.object": lambda: mock.patch.object(llm, name, value),
        "patch": lambda: mock.patch(f"llm_executor_nb.{name}", value),
        "patch.multiple": lambda: mock.patch.multiple(llm, **{name: value}),
    }[how]()
    with patcher:
        assert getattr(llm, name) == value
    assert getattr(llm, name) is before


def _monkeypatched(name, value):
    context = pytest.MonkeyPatch.context()
    patch = context.__enter__()
    patch.setattr(llm, name, value)
    return mock.MagicMock(__enter__=mock.Mock(), __exit__=lambda *_: context.__exit__(None, None, None))


def test_a_patched_key_is_asked_and_after_its_undoing_the_former_one(refusing):
    llm.OPENROUTER_KEYS = [ONE]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm, "OPENROUTER_KEYS", [TWO])
        assert _walk(refusing) == ["..0002"]
    assert _walk(refusing) == ["..0001"]
    with mock.patch.object(llm, "OPENROUTER_KEYS", [THREE]):
        assert _walk(refusing) == ["..0003"]
    assert _walk(refusing) == ["..0001"]


def test_patching_an_ungiven_list_does_not_end_the_search_afterwards(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm, "OPENROUTER_KEYS", [TWO])
        assert _walk(refusing) == ["..0002"]
    assert _walk(refusing) == ["..0003"]


def test_a_row_patched_with_patch_dict_counts_and_comes_back(server):
    llm.HUGGINGFACE_TOKENS = [TOKEN]
    with mock.patch.dict(llm.MODEL_INFERENCE_PROVIDERS, {MODEL: ["z"]}):
        assert _asked(server) == ["z ..0001"]
    assert _asked(server) == ["a ..0001"]


def test_a_reload_keeps_the_settings(refusing):
    llm.OPENROUTER_KEYS = [ONE]
    assert importlib.reload(llm) is llm
    assert _walk(refusing) == ["..0001"]
    llm.OPENROUTER_KEYS = [TWO]
    assert _walk(refusing) == ["..0002"]


@pytest.mark.parametrize(
    ("name", "near"), [("OPENROUTER_KEY", "OPENROUTER_KEYS"), ("HUGGINGFACE_TOKEN", "HUGGINGFACE_TOKENS")]
)
def test_a_mistyped_setting_is_refused_and_the_near_name_said(name, near):
    with pytest.raises(llm.ConfigError, match=f"Did you mean {near}"):
        setattr(llm, name, [ONE])


@pytest.mark.parametrize("name", ["keys", "models"])
def test_keys_and_models_are_not_assigned(name):
    with pytest.raises(llm.ConfigError, match=rf"llm\.{name}\.add"):
        setattr(llm, name, [ONE])


# --- configure ----------------------------------------------------------------------------------------------------


def test_configure_sets_what_is_given_and_leaves_the_rest(refusing):
    llm.OPENROUTER_KEYS = [ONE]
    llm.configure(huggingface_tokens=[TOKEN], models={MODEL: ["z"]})
    assert _walk(refusing) == ["..0001", "..0001"]
    assert words("provider")[-1] == "z"
    llm.configure(openrouter_keys=[TWO])
    assert _walk(refusing) == ["..0002", "..0001"]


def test_base_urls_come_from_code_then_the_environment_and_none_takes_them_back(server):
    llm.OPENROUTER_KEYS = [ONE]
    with RehearsalServer() as other:
        llm.configure(openrouter_base_url=f"{other.openrouter_url}/")
        assert (_asked(other), server.lines) == (["..0001"], ())
        llm.configure(openrouter_base_url=None)
        assert _asked(server) == ["..0001"]


def test_without_a_variable_a_backend_is_where_its_provider_says():
    assert session().options.base_url("openrouter") == "https://openrouter.ai/api/v1"
    assert session().options.base_url("huggingface") == "https://router.huggingface.co/v1"


def test_none_means_no_bound(frozen):
    llm.configure(timeout=None, deadline=None, retry_after_ceiling_s=None)
    with llm.rehearse("openrouter[1]: 429*1 retry-after=4000"):
        llm.run_llm(MODEL, "x")
    assert frozen.elapsed_s == 4000


@pytest.mark.parametrize(
    "bad",
    [
        {"openrouter_keys": "sk-one"},
        {"openrouter_keys": None},
        {"huggingface_tokens": [7]},
        {"models": ["gemma"]},
        {"models": None},
        {"openrouter_base_url": "openrouter.ai"},
        {"huggingface_base_url": 7},
        {"retry_wait_strategy": 3},
        {"retry_wait_strategy": None},
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"retries": None},
        {"before_sleep": "log"},
        {"timeout": 0},
        {"timeout": "1"},
        {"timeout": float("nan")},
        {"deadline": -1},
        {"retry_after_ceiling_s": -1},
        {"retry_after_ceiling_s": "30"},
        {"concurrency": 0},
        {"concurrency": 2.5},
    ],
    ids=str,
)
def test_a_bad_value_is_refused_and_nothing_is_changed(bad):
    before = session().options
    keys = list(llm.OPENROUTER_KEYS)
    with pytest.raises(llm.ConfigError):
        llm.configure(**{"openrouter_keys": [ONE], "timeout": 5, **bad})
    assert session().options is before
    assert keys == llm.OPENROUTER_KEYS


@pytest.mark.parametrize("bad", [{"timeout": 0}, {"deadline": "5"}, {"accept": 7}, {"temperatur": 1}, {"system": 7}])
def test_a_bad_argument_of_a_call_is_refused_before_anything_is_sent(bad):
    with llm.rehearse() as server:
        with pytest.raises(llm.ConfigError):
            llm.run_llm(MODEL, "x", **bad)
        assert server.lines == ()


# --- a rehearsal gives everything back ----------------------------------------------------------------------------


def test_a_rehearsal_gives_back_keys_urls_holds_log_and_the_same_lists(refusing, frozen):
    frozen.advance(1)
    imported, tokens, table = llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS, llm.MODEL_INFERENCE_PROVIDERS
    imported.append(ONE)
    llm.keys.add("huggingface", TOKEN, label="mine")
    _walk(refusing)
    holds, log = llm.health()["scope"].tolist(), llm.attempts()
    health, shown = session().health, repr(llm.keys)
    with llm.rehearse("openrouter: 503*1") as server:
        assert llm.OPENROUTER_KEYS is not imported
        assert imported == [ONE]
        assert llm.health().empty
        assert llm.attempts().empty
        assert len(llm.keys) == 3
        message = llm.run_llm(MODEL, "x")
        llm.OPENROUTER_KEYS = [TWO]
        llm.HUGGINGFACE_TOKENS.append("hf_anothertoken0009")
        llm.MODEL_INFERENCE_PROVIDERS["x/y"] = ["z"]
        llm.configure(retries=0, timeout=1, huggingface_base_url="http://127.0.0.1:1")
        llm.keys.add("openrouter", THREE)
        assert_log_is_what_the_server_saw(server)
    assert (llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS) == ([ONE], [])
    assert llm.OPENROUTER_KEYS is imported
    assert llm.HUGGINGFACE_TOKENS is tokens
    assert llm.MODEL_INFERENCE_PROVIDERS is table
    assert "x/y" not in table
    assert repr(llm.keys) == shown
    assert session().health is health
    assert llm.health()["scope"].tolist() == holds
    assert llm.attempts().equals(log)
    assert llm.attempts(message)["outcome"].tolist() == ["overloaded", "ok"]
    assert (session().options.retries, session().options.timeout_s) == (3, 120)
    assert _walk(refusing) == ["..0001", "..0001"]


def test_a_list_or_a_table_imported_by_name_stays_the_users_own_during_a_rehearsal():
    from llm_executor_nb import MODEL_INFERENCE_PROVIDERS, OPENROUTER_KEYS  # noqa: PLC0415 - as a user's cell has it

    with llm.rehearse(openrouter_keys=1) as server:
        OPENROUTER_KEYS.append(ONE)
        MODEL_INFERENCE_PROVIDERS["x/y"] = ["z"]
        llm.run_llm(MODEL, "x")
        assert [key for _, key, *_ in seen_by(server)] == ["..0001"]
        assert [key.source for key in llm.keys] == ["code", "code"]
        with pytest.raises(llm.ModelNotSupportedError):
            llm.run_llm("x/y", "x")
    assert llm.OPENROUTER_KEYS == [ONE]
    assert llm.MODEL_INFERENCE_PROVIDERS["x/y"] == ["z"]


def test_a_ledger_named_in_a_rehearsal_is_not_written(tmp_path):
    with llm.rehearse():
        llm.configure(ledger=tmp_path / "practice.sqlite")
        assert llm.ledger.path is None
    assert not (tmp_path / "practice.sqlite").exists()


def test_after_a_rehearsal_the_search_for_keys_goes_on_as_before(refusing, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", THREE)
    with llm.rehearse():
        llm.run_llm(MODEL, "x")
    assert _walk(refusing) == ["..0003"]


def test_a_call_after_the_ledger_was_moved_is_told_of_once(server, tmp_path):
    llm.OPENROUTER_KEYS = [ONE]
    llm.configure(ledger=tmp_path / "moved.sqlite")
    assert len(llm.attempts(llm.run_llm(MODEL, "x"))) == len(server.lines) == 1
