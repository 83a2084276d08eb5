"""The shipped table: the first users' row, a dozen models, and a script that compares it with the providers' lists."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.models import ModelTable
from llm_executor_nb.settings.shipped_models import LEFT, SHIPPED

SCRIPT = Path(__file__).parents[1] / "by_hand" / "check_models.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_dozen_models_have_a_short_name_and_two_providers_that_have_not_left():
    assert len(SHIPPED) >= 12
    assert len({row.alias for row in SHIPPED}) == len({row.model for row in SHIPPED}) == len(SHIPPED)
    for row in SHIPPED:
        assert len(set(row.providers) - LEFT.keys()) >= 2, row.model


def test_only_the_first_users_row_names_a_provider_that_left():
    assert [row.model for row in SHIPPED if set(row.providers) & LEFT.keys()] == ["google/gemma-3-27b-it"]


def test_the_first_short_name_is_gemma_which_is_the_default_model():
    assert next(iter(ModelTable().aliases)) == "gemma"


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.alias)
def test_every_row_is_asked_by_its_id_at_each_backend(row):
    with llm.rehearse("openrouter: 404", openrouter_keys=1) as server:
        llm.run_llm(row.alias, "x")
        first, second = server.lines
    assert (first.backend, first.model) == ("openrouter", row.model)
    assert (second.backend, second.model, second.provider) == (
        "huggingface",
        f"{row.id_at_huggingface}:{row.providers[0]}",
        row.providers[0],
    )


def test_the_script_finds_the_table_as_the_practice_providers_list_it(script, capsys):
    with RehearsalServer() as server:
        assert script.main(server.openrouter_url, server.huggingface_url) == 0
    shown = capsys.readouterr().out
    assert "google/gemma-3-27b-it (gemma): nebius left Hugging Face on 2026-07-01" in shown
    assert "openai/gpt-oss-120b (gpt-oss): as listed" in shown
    assert "others at Hugging Face: practice" in shown


def test_the_script_fails_where_a_provider_or_a_model_is_gone(script, capsys):
    with RehearsalServer("huggingface/groq: model_not_supported") as server:
        assert script.main(server.openrouter_url, server.huggingface_url) == 1
        assert "openai/gpt-oss-120b (gpt-oss): groq does not serve it" in capsys.readouterr().out
    with RehearsalServer(models=lambda _: {"google/gemma-3-27b-it": ["scaleway", "featherless-ai"]}) as server:
        assert script.main(server.openrouter_url, server.huggingface_url) == 1
    assert "z-ai/glm-5.2 (glm): OpenRouter does not list it; Hugging Face does not list zai-org/GLM-5.2" in (
        capsys.readouterr().out
    )
