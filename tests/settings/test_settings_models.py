"""The provider table: rows, orders, aliases and marks by function; saved on request, read at first need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import llm_executor_nb as llm
from llm_executor_nb.core.errors import ConfigError, LLMExecutorWarning, ModelNotSupportedError
from llm_executor_nb.settings.models import ModelTable, problems_of
from llm_executor_nb.settings.saved_models import saved_path
from llm_executor_nb.settings.shipped_models import shipped_parts

GEMMA = "google/gemma-3-27b-it"
ROOT = str(Path(llm.__file__).parent.parent)


@pytest.fixture
def table():
    return ModelTable()


def test_a_row_gets_another_order_and_keeps_all_else(table):
    table.add("m", providers=["a", "ollama"], names={"ollama": "m:small", "openrouter": "org/m"}, openrouter=False)
    table.set_providers("m", ["ollama", "a"])
    assert table.row("m") == ("ollama", "a")
    assert (table.names["m"], table.off_openrouter) == ({"ollama": "m:small", "openrouter": "org/m"}, {"m"})
    table.set_providers("m", ["b"])
    assert table.names["m"] == {"openrouter": "org/m"}


def test_a_row_can_be_named_by_its_alias(table):
    table.set_providers("gemma", ["scaleway"])
    assert table.providers[GEMMA] == ["scaleway"]


def test_a_row_is_read_by_its_alias_and_an_unknown_one_is_told_near_names(table):
    table.add("my/model", providers=["a", "b", "a"], alias="mine")
    assert table.row("mine") == table.row("my/model") == ("a", "b")
    with pytest.raises(ModelNotSupportedError, match="my/model"):
        table.row("my/modell")


@pytest.mark.parametrize("providers", ["scaleway", [3], [""], 7])
def test_what_is_no_list_of_names_is_refused_and_changes_nothing(table, providers):
    with pytest.raises(ConfigError):
        table.set_providers("gemma", providers)
    assert table.row(GEMMA) == ("nebius", "featherless-ai", "scaleway")


@pytest.mark.parametrize(
    ("entry", "meant"),
    [(":fastst", ":fastest"), (":cheap", ":cheapest"), (":scaleway", "scaleway"), ("novita:fp8", None)],
)
def test_an_entry_with_a_colon_is_a_suffix_of_hugging_faces_or_refused_with_near_names(table, entry, meant):
    with pytest.raises(ConfigError, match=f"{entry}.*cannot stand in a row") as refused:
        table.set_providers("gemma", [entry])
    assert (f"Did you mean {meant!r}?" in str(refused.value)) is (meant is not None)
    table.set_providers("gemma", [":Fastest", "Cheapest"])
    assert table.row("gemma") == (":fastest", "cheapest")
    for word in ("fastest", ":fastest"):
        with pytest.raises(ConfigError, match="not in the row"):
            table.add("my/model", providers=[word], names={word: "x"})
    with pytest.raises(ConfigError, match="stands for the providers"):
        llm.add_backend("Fastest", base_url="http://127.0.0.1:9/v1")


def test_aliases_come_and_go_and_their_model_stays(table):
    table.add_alias("g", "gemma")
    assert table.resolve("g") == GEMMA
    table.remove_alias("g")
    with pytest.raises(ModelNotSupportedError):
        table.resolve("g")
    assert table.resolve("gemma") == GEMMA
    with pytest.raises(ConfigError, match="there are gemma, gemma-4"):
        table.remove_alias("g")


@pytest.mark.parametrize("alias", ["", "  ", None, GEMMA])
def test_an_alias_that_could_mean_nothing_is_refused(table, alias):
    with pytest.raises(ConfigError):
        table.add_alias(alias, "gemma")
    with pytest.raises(ModelNotSupportedError):
        table.add_alias("g", "nobody/knows")
    assert table.aliases == shipped_parts()["aliases"]


def test_a_refused_alias_adds_no_model(table):
    with pytest.raises(ConfigError):
        table.add("m", alias="m")
    assert "m" not in table.providers


def test_marks_stand_beside_providers_in_text_and_html(table):
    assert "nebius (left Hugging Face on 2026-07-01)" in repr(table)
    table.marks = {(GEMMA, "scaleway"): "error at the router", (GEMMA, "nebius"): None}
    assert problems_of(table, GEMMA) == {"scaleway": "error at the router"}
    for shown in (repr(table), table._repr_html_()):
        assert "scaleway (error at the router)" in shown
        assert "nebius (" not in shown


def test_html_shows_names_as_text_and_not_as_markup(table):
    table.add("<b>m</b>", providers=["<script>x</script>"], alias="<i>")
    shown = table._repr_html_()
    assert "&lt;b&gt;m&lt;/b&gt;" in shown
    assert not any(tag in shown for tag in ("<b>", "<script>", "<i>"))


def test_a_row_that_is_no_list_says_so_where_the_table_is_shown(table):
    table.providers["broken"] = "scaleway"
    assert "must be a list" in repr(table)
    assert "must be a list" in table._repr_html_()


def test_of_ten_thousand_models_fifty_are_shown_and_the_others_are_counted_and_found(table):
    for number in range(10_000):
        table.add(f"maker/Model-{number}", providers=["a"], alias=f"short{number}")
    assert len(repr(table).splitlines()) == 51
    assert table._repr_html_().count("<tr>") == 51
    for shown in (repr(table), table._repr_html_()):
        assert f"… and {len(table) - 50:,} more" in shown
    assert table.find("model-777") == ["maker/Model-777", *(f"maker/Model-777{digit}" for digit in range(10))]
    assert table.find("SHORT9999") == ["maker/Model-9999"]
    assert table.find("nothing") == []
    assert table.find() == list(table)
    with pytest.raises(ValueError, match=r"and 9,9[0-9]{2} more") as refused:
        table.resolve("☃")
    assert len(str(refused.value)) < 1000


def test_tables_are_aligned_to_the_left_where_style_sheets_are_taken_out(table):
    assert table._repr_html_().count('style="text-align:left"') == 4 + 4 * len(table)


# --- saving -----------------------------------------------------------------------------------------------------


def test_a_saved_table_is_the_next_sessions_table(table):
    for model in list(table):
        table.remove(model)
    table.add("m", providers=["a"], alias="short", names={"huggingface": "org/M"}, openrouter=False)
    path = table.save()
    assert path == saved_path()
    later = ModelTable()
    assert (later.providers, later.aliases) == ({"m": ["a"]}, {"short": "m"})
    assert (later.names, later.off_openrouter) == ({"m": {"huggingface": "org/M"}}, {"m"})
    assert [file.name for file in path.parent.iterdir()] == ["models.json"]


def test_nothing_is_saved_unless_it_is_asked_for(table):
    table.add("m", providers=["a"])
    assert not saved_path().exists()
    assert "m" not in ModelTable().providers


def test_what_code_assigns_stands_above_what_was_saved(table):
    table.add("m", providers=["a"])
    table.save()
    later = ModelTable()
    later.providers = {"mine": ["b"]}
    assert later.aliases == shipped_parts()["aliases"]
    assert list(later) == ["mine"]


def test_a_table_is_read_when_it_is_needed_and_once(table):
    later, third = ModelTable(), ModelTable()
    table.add("m", providers=["a"])
    path = table.save()
    assert "m" in later.providers
    path.unlink()
    assert "m" in later.providers
    assert "m" not in third.providers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 2, "models": {}}',
        '{"version": 1, "models": {"m": []}}',
        '{"version": 1, "models": {"m": {"providers": "a", "aliases": [], "names": {}, "openrouter": true}}}',
        '{"version": 1, "models": {"m": {"providers": ["a"], "aliases": 3, "names": {}, "openrouter": true}}}',
        '{"version": 1, "models": {"m": {"providers": ["a"], "aliases": ["m"], "names": {}, "openrouter": true}}}',
        '{"version": 1, "models": {"": {"providers": [], "aliases": [], "names": {}, "openrouter": true}}}',
        "\udce9",
        "[" * 100_000,
    ],
)
def test_a_file_that_cannot_be_read_is_left_alone_with_a_warning(text):
    path = saved_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = path.read_bytes()
    table = ModelTable()
    with pytest.warns(LLMExecutorWarning, match="is left out"):
        assert table.row(GEMMA) == ("nebius", "featherless-ai", "scaleway")
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_a_clear_error(table):
    folder = saved_path().parent
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cannot be saved"):
        table.save()


@pytest.mark.parametrize("key", ["sk-or-v1-" + "0a" * 32, "hf_" + "aB3" * 11])
def test_a_key_in_the_place_of_a_name_is_refused_and_not_shown(table, key):
    for put in (
        lambda: table.add(key),
        lambda: table.add("my/model", alias=key),
        lambda: table.add("my/model", providers=[key]),
        lambda: table.set_providers(GEMMA, ["scaleway", key]),
        lambda: table.add_alias(key, GEMMA),
    ):
        with pytest.raises(ConfigError, match="looks like a key") as raised:
            put()
        assert key not in str(raised.value)
    assert key not in repr(table)


def test_a_saved_table_holds_no_key(table):
    llm.keys.add("openrouter", "sk-or-v1-canary-in-the-session")
    assert "canary" not in table.save().read_text()
    llm.keys.remove("openrouter", "sk-or-v1-canary-in-the-session")


def test_a_new_python_begins_with_the_saved_table_and_rehearses_with_it(table):
    table.add("my/model", providers=["a"], alias="mine")
    table.save()
    told = "import llm_executor_nb as llm, json\nwith llm.rehearse():\n print(json.dumps([*llm.models]))\n"
    done = subprocess.run(
        [sys.executable, "-c", told],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [*shipped_parts()["providers"], "my/model"]
