"""A misspelled argument is told the near name of ours, at every door; only what is no name of ours goes elsewhere."""

from __future__ import annotations

import asyncio

import pytest
from columns import MODEL, PROVIDERS, prompts
from rehearsing import fresh

import llm_executor_nb as llm

FRAME = prompts(1)
CANARY = "sk-or-v1-canary-near-0123456789"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


BY_HAND = {
    "run_llm": lambda **wrong: llm.run_llm(MODEL, "x", **wrong),
    "arun_llm": lambda **wrong: asyncio.run(llm.arun_llm(MODEL, "x", **wrong)),
    "stream_llm": lambda **wrong: list(llm.stream_llm(MODEL, "x", **wrong)),
    "invoke": lambda **wrong: llm.chat_model(MODEL).invoke("x", **wrong),
    "chat_model": lambda **wrong: llm.chat_model(MODEL, **wrong),
}
OF_COLUMNS = {
    "run": lambda **wrong: FRAME.llm.run(MODEL, "q", **wrong),
    "arun": lambda **wrong: asyncio.run(_awaited(**wrong)),
    "start": lambda **wrong: FRAME.llm.start(MODEL, "q", **wrong),
    "plan": lambda **wrong: FRAME.llm.plan(MODEL, "q", **wrong),
    "preview": lambda **wrong: FRAME.llm.preview(MODEL, "q", **wrong),
    "series": lambda **wrong: FRAME["q"].llm.run(MODEL, **wrong),
}


async def _awaited(**wrong):
    return await FRAME.llm.arun(MODEL, "q", **wrong)


def refusal(door, wrong: str) -> str:
    """Return what a door says of an argument; nothing is sent."""
    with llm.rehearse() as server, pytest.raises(llm.ConfigError) as refused:
        door(**{wrong: CANARY})
    assert not server.lines
    assert CANARY not in str(refused.value)
    return str(refused.value)


def assert_near(said: str, wrong: str, right: str) -> None:
    """Check that the near name is the whole advice."""
    assert said.startswith(f"Unknown argument {wrong!r}. Did you mean ")
    assert right in said.split("Did you mean ")[1]
    assert "extra_body" not in said


@pytest.mark.parametrize("door", [*BY_HAND, *OF_COLUMNS])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [("tempreture", "temperature"), ("maxTokens", "max_tokens"), ("timout", "timeout"), ("temp", "temperature")],
)
def test_a_misspelled_parameter_is_told_its_name_at_every_door(door, wrong, right):
    assert_near(refusal({**BY_HAND, **OF_COLUMNS}[door], wrong), wrong, right)


@pytest.mark.parametrize("door", OF_COLUMNS)
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("concurency", "concurrency"),
        ("resue", "reuse"),
        ("sytem", "system"),
        ("templat", "template"),
        ("budget", "budget_usd"),
        ("on_eror", "on_error"),
        ("maxage", "max_age"),
        ("skip_route", "skip_routes (of df.llm.retry_failed)"),
        ("n_jobs", "concurrency"),
        ("max_workers", "concurrency"),
        ("response_model", "schema"),
        ("json_schema", "schema"),
        ("prompt", "column or template"),
        ("output", "out"),
    ],
)
def test_a_misspelled_argument_of_a_column_is_told_its_name(door, wrong, right):
    assert_near(refusal(OF_COLUMNS[door], wrong), wrong, right)


@pytest.mark.parametrize(
    ("door", "wrong", "right"),
    [
        (llm.configure, "concurency", "concurrency"),
        (llm.configure, "openrouter_key", "openrouter_keys"),
        (llm.configure, "timeouts", "timeout"),
        (lambda **wrong: llm.add_backend("mine", **wrong), "baseurl", "base_url"),
        (lambda **wrong: llm.add_backend("mine", **wrong), "key", "keys"),
        (lambda **wrong: llm.models.add("a/b", **wrong), "provider", "providers"),
        (lambda **wrong: llm.keys.add("openrouter", "sk-or-v1-practice-0001", **wrong), "lable", "label"),
        (lambda **wrong: llm.chat_model(MODEL, **wrong), "max_retrys", "max_retries"),
        (llm.rehearse, "latency", "latency_s"),
        (llm.sync_models, "aply", "apply"),
        (llm.check_keys, "frehs", "fresh"),
        (llm.attempts, "off", "of"),
        (llm.ledger.forget, "olderthan", "older_than"),
        (lambda **wrong: llm.keys.save("openrouter", "x", **wrong), "too", "to"),
    ],
)
def test_a_misspelled_argument_of_a_setting_is_told_its_name(door, wrong, right):
    assert_near(refusal(door, wrong), wrong, right)


def test_an_argument_of_another_function_is_told_where_it_belongs():
    for wrong, where in {"concurrency": "df.llm.run", "retries": "llm.configure", "budget_usd": "df.llm.run"}.items():
        said = refusal(BY_HAND["run_llm"], wrong)
        assert said.startswith(f"{wrong} is not taken here: it is an argument of ")
        assert where in said
        assert "extra_body" not in said
    assert "an argument of llm.run_llm, df.llm.run and llm.chat_model" in refusal(llm.configure, "temperature")


def test_a_parameter_beside_the_messages_of_a_request_is_told_where_it_belongs():
    with (
        llm.rehearse(),
        pytest.raises(llm.ConfigError, match="timeout is not taken here"),
    ):
        llm.run_llm(MODEL, {"messages": [("user", "x")], "timeout": 5})


@pytest.mark.parametrize("wrong", ["top_k", "min_p", "repetition_penalty", "reasoning", "models", "provider", "xyz"])
def test_what_only_one_backend_knows_goes_in_extra_body(wrong):
    for door in ("run_llm", "run", "chat_model"):
        said = refusal({**BY_HAND, **OF_COLUMNS}[door], wrong)
        assert "Did you mean" not in said
        assert f"extra_body={{'openrouter': {{'{wrong}': ...}}}}" in said


@pytest.mark.parametrize("door", [*BY_HAND, *OF_COLUMNS])
def test_a_key_is_told_where_keys_go(door):
    said = refusal({**BY_HAND, **OF_COLUMNS}[door], "api_key")
    assert "llm.keys.add" in said
    assert "extra_body" not in said


def test_a_name_that_is_like_none_is_told_what_there_is():
    assert "llm.configure takes openrouter_keys, huggingface_tokens, " in refusal(llm.configure, "xyz")


@pytest.mark.parametrize("door", [*BY_HAND, *OF_COLUMNS])
def test_whoever_has_no_key_yet_is_told_first_what_else_is_wrong(door):
    for wrong, said in {
        "tempreture": r"^Unknown argument 'tempreture'. Did you mean temperature",
        "timeout": r"^timeout='soon' must be seconds",
        "max_tokens": r"^max_tokens='soon': it must be a whole number",
    }.items():
        with pytest.raises(llm.ConfigError, match=said) as refused:
            {**BY_HAND, **OF_COLUMNS}[door](**{wrong: "soon"})
        assert not isinstance(refused.value, llm.MissingKeyError)


@pytest.mark.parametrize(("wrong", "right"), [("colum", "column"), ("templte", "template"), ("clumn", "column")])
def test_a_misspelled_column_is_not_taken_for_a_missing_one(wrong, right):
    with pytest.raises(llm.ConfigError, match=rf"^Unknown argument '{wrong}'. Did you mean {right}"):
        FRAME.llm.run(MODEL, **{wrong: "q"})
