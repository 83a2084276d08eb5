"""The panel: every button is a function, a key comes in and is shown nowhere, and what is shown is up to date."""

import json
import re
import sys
import threading
import types
from pathlib import Path

import nbclient
import nbformat
import pandas as pd
import pytest
from pressing import a_panel, keys_of, state_of, tell, without_keys, workers
from rehearsing import MODEL, wait_until
from shells import a_kernel  # noqa: F401 - a fixture

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.notebook.panel import panel, widget
from llm_executor_nb.notebook.panel.health import ACTIONS
from llm_executor_nb.notebook.panel.keys import KeysTab
from llm_executor_nb.notebook.panel.models import ModelsTab
from llm_executor_nb.notebook.panel.text import text_form

CANARY = "canary"
KEY, SECOND = "sk-or-v1-canary-panel-1a2b", "sk-or-v1-canary-panel-3c4d"
TEXTS = [Path(widget.__file__).with_name(name).read_text(encoding="utf-8") for name in (*widget.SCRIPTS, "panel.css")]


@pytest.fixture(autouse=True)
def _fresh():
    with without_keys():
        yield


@pytest.fixture
def shown(request):
    with a_panel(every_s=getattr(request, "param", 1.0)) as one:
        yield one


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_that_is_added_is_used_and_only_label_and_last_characters_are_shared(shown):
    message = {"id": "1", "tab": "keys", "do": "add", "backend": "openrouter", "key": KEY, "label": "team"}
    shown._handle_custom_msg(message, [])
    assert "key" not in message
    wait_until(lambda: shown.replies)
    assert shown.replies == [{"id": "1", "ok": True, "text": "Added team ..1a2b for this session."}]
    assert next(iter(llm.keys)).secret.reveal() == KEY
    assert keys_of(shown) == [("team ..1a2b", "session", "on")]
    assert CANARY not in state_of(shown)
    assert CANARY not in repr(shown) + repr(vars(shown))
    assert CANARY not in "".join(repr(vars(part)) for part in vars(shown).values() if isinstance(part, KeysTab))


@pytest.mark.parametrize("bad", [f"{KEY} {SECOND}", f"{KEY}\n", "", f"Bearer {KEY}é", 7, None])
def test_a_key_that_cannot_be_one_is_answered_in_words_without_it(shown, bad):
    answer = tell(shown, "keys", "add", backend="openrouter", key=bad, label="")
    if bad == f"{KEY}\n":
        assert answer["ok"]
    else:
        assert not answer["ok"]
        assert len(llm.keys) == 0
    assert CANARY not in state_of(shown)


def test_a_key_in_the_field_of_the_label_is_refused_and_not_shown(shown):
    answer = tell(shown, "keys", "add", backend="openrouter", key=KEY, label=KEY)
    assert not answer["ok"]
    assert CANARY not in state_of(shown)


def test_keys_are_tested_without_cost_and_what_was_found_is_shown(shown):
    with llm.rehearse("openrouter[2]: 401") as server:
        tell(shown, "keys", "refresh")
        works = tell(shown, "keys", "test", backend="openrouter", shown="key 1 ..0001")
        fails = tell(shown, "keys", "test", backend="openrouter", shown="key 2 ..0002")
        assert works["ok"]
        assert works["text"].startswith("key 1 ..0001 works")
        assert "does not work" in fails["text"]
        assert [row["grade"] for row in shown.key_rows] == ["ok", "bad", ""]
        assert not any(line.model for line in server.lines)
        tell(shown, "keys", "disable", backend="openrouter", shown="key 1 ..0001")
        assert "Enable it" in tell(shown, "keys", "test", backend="openrouter", shown="key 1 ..0001")["text"]


def test_keys_are_renamed_moved_disabled_enabled_saved_forgotten_and_removed(shown):
    for key, label in ((KEY, "one"), (SECOND, "two")):
        tell(shown, "keys", "add", backend="openrouter", key=key, label=label)
    two = {"backend": "openrouter", "shown": "two ..3c4d"}
    tell(shown, "keys", "move", **two, to=1)
    assert keys_of(shown) == [("two ..3c4d", "session", "on"), ("one ..1a2b", "session", "on")]
    tell(shown, "keys", "disable", **two)
    assert (keys_of(shown)[0][2], len(llm.keys)) == ("disabled", 1)
    tell(shown, "keys", "enable", **two)
    assert len(llm.keys) == 2
    assert tell(shown, "keys", "rename", **two, label="new")["text"] == "Renamed: new ..3c4d."
    new = {"backend": "openrouter", "shown": "new ..3c4d"}
    saved = tell(shown, "keys", "save", **new, to="file")
    assert re.fullmatch(r"Saved new \.\.3c4d in .*keys\.json\.", saved["text"])
    assert [row["saved_in"] for row in shown.key_rows] == ["file", ""]
    assert tell(shown, "keys", "forget", **new)["ok"]
    assert [row["saved_in"] for row in shown.key_rows] == ["", ""]
    assert tell(shown, "keys", "remove", **new)["text"] == "Removed new ..3c4d."
    assert not tell(shown, "keys", "disable", **new)["ok"]
    assert keys_of(shown) == [("one ..1a2b", "session", "on")]
    assert CANARY not in state_of(shown)


def test_a_key_of_the_environment_is_not_removed_and_the_answer_says_where_it_is(shown, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    llm.OPENROUTER_KEYS = [None]
    answer = tell(shown, "keys", "remove", backend="openrouter", shown="key 1 ..1a2b")
    assert (answer["ok"], "OPENROUTER_API_KEY" in answer["text"]) == (False, True)
    assert keys_of(shown) == [("key 1 ..1a2b", "OPENROUTER_API_KEY", "on")]


def test_the_tab_shows_what_holds_and_replies_say_of_each_key(shown):
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: 429 retry-after=40"):
        tell(shown, "keys", "refresh")
        assert [(row["held"], row["outcomes"]) for row in shown.key_rows] == [("", "no reply yet")] * 3
        for _ in range(2):
            llm.run_llm(MODEL, "x")
        tell(shown, "keys", "test", backend="openrouter", shown="key 2 ..0002")
        assert [(row["held"], row["outcomes"]) for row in shown.key_rows] == [
            ("on hold (auth), 10 min left", "auth 1"),
            ("on hold (rate_limited), 40 s left", "rate_limited 1"),
            ("", "ok 2"),
        ]
        assert [row["found"] != "" for row in shown.key_rows] == [True, True, False]
        assert "key 1 ..0001" in text_form()
        assert "on hold (auth), 10 min left · auth 1" in text_form()


def test_a_label_stays_when_a_key_before_it_is_removed(shown):
    llm.OPENROUTER_KEYS = [KEY, SECOND]
    tell(shown, "keys", "refresh")
    tell(shown, "keys", "remove", backend="openrouter", shown="key 1 ..1a2b")
    assert keys_of(shown) == [("key 2 ..3c4d", "code", "on")]


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"tab": "keys", "do": "add", "backend": "openrouter", "key": f"{KEY} {SECOND}", "label": "a"}, "key"),
        ({"tab": "keys", "do": "add", "backend": "openrouter", "key": "", "label": "a"}, "key"),
        ({"tab": "keys", "do": "add", "backend": "openrouter", "key": KEY, "label": SECOND}, "label"),
        ({"tab": "keys", "do": "add", "backend": "openrouter", "key": KEY, "label": "x" * 50}, "label"),
        ({"tab": "models", "do": "add", "model": MODEL, "providers": "", "alias": ""}, "model"),
        ({"tab": "models", "do": "add", "model": KEY, "providers": "", "alias": ""}, "model"),
        ({"tab": "models", "do": "add", "model": "x/y", "providers": KEY, "alias": ""}, "providers"),
        ({"tab": "models", "do": "add", "model": "x/y", "providers": "a", "alias": MODEL}, "alias"),
    ],
    ids=str,
)
def test_a_refusal_names_its_field_and_changes_nothing(shown, told, field):
    before = dict(llm.MODEL_INFERENCE_PROVIDERS), len(llm.keys)
    answer = tell(shown, told.pop("tab"), told.pop("do"), **told)
    assert (answer["ok"], answer["field"]) == (False, field)
    assert (dict(llm.MODEL_INFERENCE_PROVIDERS), len(llm.keys)) == before
    assert CANARY not in state_of(shown)


# --- models -------------------------------------------------------------------------------------------------------


def _model(shown, name=MODEL):
    row = next((row for row in shown.model_rows if row["model"] == name), None)
    return row and [one["name"] for one in row["providers"]]


def test_models_aliases_and_providers_are_added_put_in_order_and_removed(shown):
    assert tell(shown, "models", "add", model=" x/y ", providers="a, b  c", alias="xy")["ok"]
    assert _model(shown, "x/y") == ["a", "b", "c"]
    assert llm.models.resolve("xy") == "x/y"
    tell(shown, "models", "providers", model="x/y", providers=["c", "a"])
    assert llm.MODEL_INFERENCE_PROVIDERS["x/y"] == ["c", "a"]
    tell(shown, "models", "alias", model="x/y", alias="z")
    tell(shown, "models", "unalias", alias="xy")
    assert next(row for row in shown.model_rows if row["model"] == "x/y")["aliases"] == ["z"]
    tell(shown, "models", "openrouter", model="x/y", is_on=False)
    assert "x/y" in llm.models.off_openrouter
    assert _model(shown, "x/y") == ["c", "a"]
    assert "already" in tell(shown, "models", "add", model="x/y", providers="", alias="")["text"]
    assert tell(shown, "models", "remove", model="x/y")["ok"]
    assert _model(shown, "x/y") is None
    assert not tell(shown, "models", "remove", model="x/y")["ok"]


def test_a_comparison_marks_what_is_stale_and_offers_what_is_missing(shown):
    with llm.rehearse("huggingface/gone: 404"):
        llm.models.set_providers("gemma", ["gone", "scaleway"])
        assert tell(shown, "models", "sync")["ok"]
        row = next(row for row in shown.model_rows if row["model"] == "google/gemma-3-27b-it")
        marks = {one["name"]: one["mark"] for one in row["providers"]}
        assert "not offered" in marks["gone"]
        assert row["missing"] == ["practice"]
        assert llm.MODEL_INFERENCE_PROVIDERS["google/gemma-3-27b-it"] == ["gone", "scaleway"]
        assert tell(shown, "models", "apply")["ok"]
        assert _model(shown, "google/gemma-3-27b-it") == ["scaleway", "practice"]


def test_a_comparison_that_fails_changes_nothing_and_says_so(shown):
    llm.configure(huggingface_base_url="http://127.0.0.1:1/v1")
    before = llm.models.row(MODEL)
    answer = tell(shown, "models", "apply")
    assert (answer["ok"], answer["text"].startswith("Nothing was changed")) == (False, True)
    assert llm.models.row(MODEL) == before


def test_the_table_is_saved_on_request(shown):
    answer = tell(shown, "models", "save")
    path = Path(answer["text"].removeprefix("Saved for later sessions: "))
    assert MODEL in path.read_text(encoding="utf-8")


def test_a_row_that_code_broke_is_shown_with_what_is_wrong(shown):
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = "scaleway"
    tell(shown, "keys", "refresh")
    assert "must be a list" in next(row["wrong"] for row in shown.model_rows if row["model"] == MODEL)


def test_of_a_large_table_some_models_are_shown_and_the_others_are_counted_and_found(shown):
    assert shown.model_counts == {
        "part": "",
        "shown": len(llm.models),
        "matching": len(llm.models),
        "total": len(llm.models),
    }
    for number in range(10_000):
        llm.MODEL_INFERENCE_PROVIDERS[f"maker/model-{number}"] = ["a"]
    tell(shown, "keys", "add", backend="openrouter", key=KEY, label="team")
    assert len(shown.model_rows) == 25
    assert len({row["model"] for row in shown.route_rows}) == 25
    assert len(state_of(shown)) < 60_000
    assert f"{len(llm.models):,} models" in tell(shown, "models", "find", part="Model-77")["text"]
    assert (shown.model_counts["shown"], shown.model_counts["matching"]) == (25, 111)
    assert all("model-77" in row["model"] for row in shown.model_rows + shown.route_rows)
    assert tell(shown, "models", "find", part="")["ok"]
    assert tell(shown, "models", "add", model="maker/new", providers="a", alias="")["ok"]
    assert [row["model"] for row in shown.model_rows] == ["maker/new"]


# --- health -------------------------------------------------------------------------------------------------------


def _routes(shown):
    return {row["route"]: (row["state"], row["outcomes"]) for row in shown.route_rows if row["model"] == MODEL}


def test_each_route_has_a_line_with_its_state_and_what_came_back(shown):
    with llm.rehearse("openrouter[1]: 429 retry-after=40; openrouter[2]: 401"):
        llm.run_llm(MODEL, "x")
        tell(shown, "keys", "refresh")
        assert _routes(shown) == {
            "openrouter ..0001": ("on hold (rate_limited), 40 s left", "rate_limited 1"),
            "openrouter ..0002": ("on hold (auth), 10 min left", "auth 1"),
            "huggingface/a ..0001": ("free", "ok 1"),
            "huggingface/b ..0001": ("free", ""),
            "huggingface/c ..0001": ("free", ""),
        }
        assert tell(shown, "health", "reset")["ok"]
        assert {state for state, _ in _routes(shown).values()} == {"free"}


@pytest.mark.parametrize("shown", [0.01], indirect=True, ids=["often"])
def test_health_follows_a_running_job_without_being_told(shown):
    with clock.use(clock.Clock()), llm.rehearse(latency_s=0.05):
        shown._handle_custom_msg({"id": "drawn"}, [])
        pd.DataFrame({"q": [f"q{n}" for n in range(40)]}).llm.run(MODEL, "q", concurrency=4)
        wait_until(lambda: sum(int(done.removeprefix("ok ") or 0) for _, done in _routes(shown).values()) == 40)
    assert shown.assigned_by == {"llm_executor_nb panel"}


@pytest.mark.usefixtures("shown")
def test_nothing_is_looked_at_until_a_front_end_has_drawn_the_panel():
    assert not workers()


# --- the widget ---------------------------------------------------------------------------------------------------


def test_every_button_has_its_action_and_every_action_its_button():
    script = "".join(TEXTS)
    sent = set(re.findall(r'send\("(\w+)", "(\w+)"', script))
    sent |= {("keys", what) for what in re.findall(r'act\("(\w+)"', script)}
    tabs = {"keys": KeysTab().actions, "models": ModelsTab().actions, "health": ACTIONS}
    assert sent == {(name, what) for name, actions in tabs.items() for what in actions}


@pytest.mark.parametrize(
    "told",
    [{"tab": "nope", "do": "add"}, {"tab": "keys", "do": "nope"}, {"do": "add"}, {"tab": "keys", "do": "add"}],
    ids=str,
)
def test_a_message_that_makes_no_sense_is_answered_and_the_panel_goes_on(shown, told):
    shown._handle_custom_msg({"id": "odd", **told}, [])
    wait_until(lambda: shown.replies)
    assert not shown.replies[0]["ok"]
    assert tell(shown, "health", "reset")["ok"]


def test_messages_of_any_thread_are_answered_by_one(shown):
    def add(number):
        told = {"id": str(number), "tab": "keys", "do": "add", "backend": "openrouter", "key": f"{KEY}{number}"}
        shown._handle_custom_msg(told, [])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(shown.replies) == 5)
    assert len(llm.keys) == 5
    assert shown.assigned_by == {"llm_executor_nb panel"}


def test_a_rehearsal_is_said_to_be_one(shown):
    assert not shown.place["is_practice"]
    with llm.rehearse():
        tell(shown, "keys", "refresh")
        assert shown.place["is_practice"]


def test_script_and_style_are_small_and_load_nothing_from_elsewhere():
    script, style = sum(map(len, TEXTS[:-1])), len(TEXTS[-1])
    assert (script < 30_000, style < 11_000) == (True, True)
    for text in TEXTS:
        assert not re.search(r"https?:|\bimport\b|@import|url\(|fetch\(|innerHTML|localStorage", text)


def test_there_is_one_panel_until_it_is_closed():
    first = widget.the_panel()
    assert widget.the_panel() is first
    first.close()
    second = widget.the_panel()
    assert second is not first
    second.close()


# --- as text ------------------------------------------------------------------------------------------------------


def test_in_a_terminal_it_is_printed_with_the_function_for_each_button(capsys):
    llm.keys.add("openrouter", KEY, label="team")
    assert panel() is None
    printed = capsys.readouterr().out
    for told in ("team ..1a2b", MODEL, "free, no reply yet", "llm.keys.add", "llm.models.add", "llm.health()"):
        assert told in printed
    assert CANARY not in printed


def test_every_function_that_the_text_names_is_there():
    named = re.findall(r"llm\.([a-z_.]+)\(", text_form())
    named += [f"keys.{name}" for name in ("move", "disable", "enable", "remove", "forget_saved")]
    named += [f"models.{name}" for name in re.findall(r"   \.(\w+_alias|remove)\(", text_form())]
    assert len(named) > 12
    for name in named:
        thing = llm
        for part in name.split("."):
            thing = getattr(thing, part)
        assert callable(thing)


SHOW = (
    "import llm_executor_nb as llm\n"
    "llm.keys.add('openrouter', 'sk-or-v1-' + 'can' + 'ary-0007', label='team')\n"
    "llm.panel()"
)
VIEW = "application/vnd.jupyter.widget-view+json"


def test_a_notebook_that_a_program_runs_holds_the_panel_as_text_and_so_does_its_export(tmp_path):
    magic = "%load_ext llm_executor_nb\n%llm panel"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (SHOW, magic)])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        assert "team ..0007" in "".join(output.text for output in cell.outputs if output.output_type == "stream")
    nbformat.validate(notebook)
    written = nbformat.writes(notebook)
    assert CANARY not in written
    assert VIEW not in written
    exporters = pytest.importorskip("nbconvert.exporters", reason="nbconvert comes with JupyterLab")
    html, _ = exporters.HTMLExporter().from_notebook_node(notebook)
    assert "team ..0007" in html
    assert "llm.keys.add(&quot;openrouter&quot;" in html or 'llm.keys.add("openrouter"' in html


def test_where_a_person_attends_the_panel_is_one_widget_with_its_text_beside_it(a_kernel):  # noqa: F811 - the fixture
    by_function, by_magic = (a_kernel.run(code) for code in (SHOW, "%llm panel"))
    [first] = by_function.of("execute_result")
    [second] = by_magic.of("display_data")
    assert first["data"][VIEW]["model_id"] == second["data"][VIEW]["model_id"]
    assert "team ..0007" in first["data"]["text/plain"]
    assert CANARY not in json.dumps([ran.messages for ran in (by_function, by_magic)], default=str)


def test_in_marimo_it_is_a_widget_whose_thread_is_one_of_marimos(monkeypatch):
    class Thread(threading.Thread):
        """As `marimo.Thread`: only these reach the page."""

    marimo = types.SimpleNamespace(running_in_notebook=lambda: True, Thread=Thread)
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    shown = panel()
    shown._handle_custom_msg({"id": "drawn"}, [])
    assert [type(worker) for worker in workers()] == [Thread]
    shown.close()
    wait_until(lambda: not workers())
    monkeypatch.setattr(marimo, "running_in_notebook", lambda: False)
    assert panel() is None
