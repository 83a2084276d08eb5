"""llm.models.search: two lists joined, filtered and kept; llm.models.add and the error about a name use them too."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import contextmanager

import pandas as pd
import pytest
from looking import providers_here
from loopback import JSON, Loopback
from rehearsing import fresh, wait_for

import llm_executor_nb as llm
from llm_executor_nb.chain.model_search import COLUMNS
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.saved_lists import saved_path
from llm_executor_nb.testing import forbid_paid_calls, frozen_clock

GEMMA = "google/gemma-3-27b-it"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture
def here():
    """Give both lists on loopback, to be filled by the test."""
    with providers_here() as server:
        server.replies["/or/endpoints/zdr"] = {"data": [{"model_id": "a/one", "provider_name": "P"}]}
        server.replies["/or/models"] = {"data": [{"id": "a/one"}]}
        server.replies["/hf/v1/models"] = {"data": [{"id": "a/one", "providers": [{"provider": "x"}]}]}
        yield server


@contextmanager
def practice(script=""):
    """Make the practice lists those of a session that is no rehearsal, so that they are kept on disk."""
    with RehearsalServer(script) as server:
        llm.configure(openrouter_base_url=server.openrouter_url, huggingface_base_url=server.huggingface_url)
        yield server


def priced(model, prompt, completion=None, **more):
    return {"id": model, "pricing": {"prompt": prompt, "completion": completion or prompt}, **more}


def at_hub(model, *providers):
    return {"id": model, "providers": [one if isinstance(one, dict) else {"provider": one} for one in providers]}


def names_in(frame):
    return [[one["provider"] for one in each] for each in frame["providers"]]


# --- the join ---------------------------------------------------------------------------------------------------


def test_a_model_of_both_lists_is_one_row_whoever_says_that_it_is_the_same(here):
    llm.models.add("a/mine", providers=[], names={"openrouter": "a/three", "huggingface": "Org/Third"})
    here.replies["/or/models"] = {
        "data": [
            {"id": "a/one"},
            {"id": "a/two", "hugging_face_id": "Other/TWO"},
            {"id": "a/three", "hugging_face_id": "Wrong/Three"},
            {"id": "a/two:free", "hugging_face_id": "Other/Two"},
            {"id": "a/four", "hugging_face_id": ""},
        ]
    }
    here.replies["/hf/v1/models"] = {
        "data": [
            at_hub("A/One", "x"),
            at_hub("other/two", "y", {"provider": "down", "status": "error"}),
            at_hub("Org/Third", "z"),
            at_hub("Org/Alone", "w"),
        ]
    }
    found = llm.models.search()
    assert found["model"].tolist() == ["a/one", "a/two", "a/three", "a/two:free", "a/four", "Org/Alone"]
    assert names_in(found) == [["x"], ["y"], ["z"], [], [], ["w"]]
    assert found["zdr"].tolist() == [True, False, False, False, False, False]


def test_a_row_says_what_openrouter_says_and_else_what_the_providers_say(here):
    whole = {
        "provider": "x",
        "status": "live",
        "context_length": 4096,
        "pricing": {"input": 3, "output": 4},
        "supports_tools": True,
        "supports_structured_output": False,
        "first_token_latency_ms": 250,
        "throughput": 80,
    }
    cheaper = {**whole, "provider": "y", "pricing": {"input": 1, "output": 2}, "context_length": 8192, "is_free": False}
    here.replies["/or/models"] = {
        "data": [
            priced(
                "a/one",
                "1e-7",
                "2e-7",
                context_length=100,
                supported_parameters=["structured_outputs"],
                architecture={"input_modalities": ["text", "image"]},
                expiration_date="2031-02-03",
            )
        ]
    }
    here.replies["/hf/v1/models"] = {
        "data": [at_hub("a/one", whole), at_hub("b/two", whole, cheaper), at_hub("b/bare")]
    }
    found = llm.models.search()
    assert {name: dtype.name for name, dtype in found.dtypes.items()} == {**COLUMNS}
    one, two, bare = (found.iloc[place].to_dict() for place in range(3))
    assert (one["input_usd_per_million"], one["output_usd_per_million"], one["context_length"]) == (0.1, 0.2, 100)
    assert (one["modalities"], one["tools"], one["schema"], one["is_free"]) == ("text, image", False, True, False)
    assert one["expires"] == pd.Timestamp("2031-02-03", tz="UTC")
    assert one["providers"] == [
        {
            "provider": "x",
            "latency_s": 0.25,
            "throughput": 80.0,
            "input_usd_per_million": 3.0,
            "output_usd_per_million": 4.0,
        }
    ]
    assert (two["input_usd_per_million"], two["output_usd_per_million"], two["context_length"]) == (1, 2, 8192)
    assert (two["tools"], two["schema"], two["is_free"]) == (True, False, False)
    assert bare["providers"] == []
    assert found.iloc[2].drop(["model", "providers", "zdr"]).isna().all()


def test_both_practice_lists_are_found_whole_and_joined():
    with llm.rehearse() as rehearsal:
        found = llm.models.search()
        paths = sorted(line.path.partition("/v1")[2] for line in rehearsal.lookups)
        assert paths == ["/endpoints/zdr", "/models", "/models"]
    assert found["model"].is_unique
    served = found[found["providers"].map(len) > 0]
    assert len(served) == 150
    assert len(found) == 600 + found["model"].str.contains("[A-Z]").sum()
    assert served["model"].str.contains(":").sum() == 0
    assert found.loc[found["model"].eq("deepseek/deepseek-chat-v3.1"), "providers"].iloc[0]
    assert found.attrs["age_s"].keys() == {"openrouter", "huggingface", "zdr"}


# --- conditions -------------------------------------------------------------------------------------------------


def test_each_condition_keeps_the_rows_that_are_known_to_meet_it():
    with llm.rehearse():
        every = llm.models.search()

        def only(mask, **conditions):
            found = llm.models.search(**conditions)
            expected = every[mask.fillna(value=False).astype(bool)]
            assert 0 < len(found) < len(every), conditions
            assert sorted(found["model"]) == sorted(expected["model"]), conditions

        for wanted in (True, False):
            only(every["modalities"].str.contains("image").eq(wanted), images=wanted)
            only(every["modalities"].str.contains("file").eq(wanted), files=wanted)
            for argument, column in (("tools", "tools"), ("schema", "schema"), ("free", "is_free"), ("zdr", "zdr")):
                only(every[column].eq(wanted), **{argument: wanted})
        price = every["input_usd_per_million"].le(0.1) & every["output_usd_per_million"].le(0.3)
        only(price, max_price=(0.1, 0.3))
        served = every["providers"].map(lambda each: {one["provider"] for one in each})
        only(served.map(lambda names: "scaleway" in names), providers="Scaleway")
        only(served.map(lambda names: bool({"groq", "featherless-ai"} & names)), providers=["groq", "featherless"])
        both = every["tools"].eq(other=True) & every["is_free"].eq(other=True)
        only(both & every["model"].str.contains("qwen"), text="qwen", tools=True, free=True)


def test_a_price_that_is_missing_is_neither_low_nor_free(here):
    here.replies["/or/models"] = {
        "data": [
            priced("a/varies", "-1"),
            {"id": "a/none"},
            priced("a/text", "free"),
            priced("a/free", "0"),
            priced("a/cheap", "1e-9"),
            {"id": "a/half", "pricing": {"prompt": "0"}},
        ]
    }
    assert llm.models.search(free=True)["model"].tolist() == ["a/free"]
    assert llm.models.search(max_price=(1, 1))["model"].tolist() == ["a/free", "a/cheap"]
    assert llm.models.search(max_price=[0, 0])["model"].tolist() == ["a/free"]
    assert llm.models.search(free=False)["model"].tolist() == ["a/cheap"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"images": "yes"}, "images='yes' must be True, False"),
        ({"max_price": 1}, "max_price=1 must be"),
        ({"max_price": (1, -1)}, "max_price="),
        ({"providers": "scalewai"}, "Did you mean scaleway"),
        ({"providers": [7]}, "providers has 7"),
        ({"providers": 7}, "providers=7 must be a name"),
        ({"text": 7}, "must be a part of a model's name"),
        ({"image": True}, "Did you mean images"),
    ],
)
def test_a_wrong_condition_is_said_to_be_wrong(wrong, words):
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="(?s)" + words.replace("(", r"\(")):
        llm.models.search(**wrong)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("gemma", GEMMA),
        ("QWEN3-32B", "qwen/qwen3-32b"),
        ("32b qwen3", "qwen/qwen3-32b"),
        ("deepseek-ai/deepseek-v3", "deepseek/deepseek-chat-v3"),
        ("claude-3-haiku", "anthropic/claude-3-haiku"),
        ("Apertus", "swiss-ai/Apertus-8B-Instruct"),
        ("gemma 3 12", "google/gemma-3-12b-it"),
        ("gemma  2", "google/gemma-2-2b-it"),
    ],
)
def test_the_best_name_comes_first_by_id_alias_or_some_words(text, first):
    with llm.rehearse():
        found = llm.models.search(text)
        assert found["model"].iloc[0] == first
        assert len(found) < 200
        assert llm.models.search("no such model").empty


# --- odd lists --------------------------------------------------------------------------------------------------


def test_a_list_that_is_large_odd_or_without_prices_is_read():
    with llm.rehearse():
        usual = llm.models.search()
    for script in ("openrouter: list-large", "*: list-odd"):
        with llm.rehearse(script):
            assert sorted(llm.models.search()["model"]) == sorted(usual["model"])
    with llm.rehearse("*: list-unpriced"):
        assert llm.models.search()["input_usd_per_million"].isna().all()
        assert llm.models.search(free=True).empty
        assert llm.models.search(max_price=(1e9, 1e9)).empty


def test_a_list_that_drifts_is_another_one_after_an_hour():
    with llm.rehearse("*: list-drift"), frozen_clock() as frozen:
        before = llm.models.search()
        assert llm.models.search()["model"].equals(before["model"])
        frozen.advance(3601)
        after = llm.models.search()
    both = before.merge(after, on="model", suffixes=("", "_then"))
    assert 0 < len(set(before["model"]) ^ set(after["model"])) < 300
    assert (both["input_usd_per_million_then"] > both["input_usd_per_million"]).mean() > 0.7


# --- kept lists -------------------------------------------------------------------------------------------------


def test_lists_are_kept_for_an_hour_by_every_session_and_used_later_where_there_is_no_network():
    with frozen_clock() as frozen:
        with practice() as server:
            urls = {"openrouter_base_url": server.openrouter_url, "huggingface_base_url": server.huggingface_url}
            found = llm.models.search("gemma")
            assert len(server.lookups) == 3
            with fresh():
                llm.configure(**urls)
                pd.testing.assert_frame_equal(llm.models.search("gemma"), found)
            frozen.advance(1800)
            assert llm.models.search("gemma").attrs["age_s"] == {"openrouter": 1800, "huggingface": 1800, "zdr": 1800}
            assert len(server.lookups) == 3
        frozen.advance(9000)
        _searches_offline(found)
        with fresh():
            llm.configure(**urls)
            _searches_offline(found)


def _searches_offline(found):
    with pytest.warns(llm.LLMExecutorWarning) as told:
        later = llm.models.search("gemma")
    (warned,) = told
    assert "could not be fetched" in str(warned.message)
    assert "what came 3 h 0 min ago is used" in str(warned.message)
    assert warned.filename == __file__
    pd.testing.assert_frame_equal(later, found)
    assert later.attrs["age_s"]["huggingface"] == 10_800


def test_a_list_of_another_server_is_not_mixed_up_and_a_damaged_file_is_left_out(here):
    assert llm.models.search()["model"].tolist() == ["a/one"]
    llm.configure(openrouter_base_url=f"{here.url}/other")
    here.replies["/other/models"] = {"data": [{"id": "b/two"}]}
    here.replies["/other/endpoints/zdr"] = {"data": []}
    assert llm.models.search()["model"].tolist() == ["b/two", "a/one"]
    for text in ("", "{", "[]", '{"version": 1}', saved_path("huggingface").read_text().replace("provider", "p")):
        saved_path("huggingface").write_text(text)
        here.replies["/hf/v1/models"] = {"data": [at_hub("c/three", "x")]}
        with fresh():
            llm.configure(openrouter_base_url=f"{here.url}/other", huggingface_base_url=f"{here.url}/hf/v1")
            assert llm.models.search()["model"].tolist() == ["b/two", "c/three"]


@pytest.mark.parametrize(
    "offers",
    [
        [{"provider": 5}],
        [{"provider": "x:y"}],
        [{"price": {"input_usd": "low", "output_usd": 2}}],
        [{"input_modalities": "text"}],
        [{"input_modalities": {}}],
        [{"context_length": "many"}],
        [{"expires": "soon"}],
        [{"latency_s": []}],
        ["x"],
        "x",
        5,
    ],
)
def test_a_kept_list_with_values_of_another_kind_is_none(here, offers):
    llm.models.search()
    for name in ("openrouter", "huggingface"):
        kept = json.loads(saved_path(name).read_text())
        saved_path(name).write_text(json.dumps({**kept, "rows": {"b/two": offers}}))
    with fresh():
        llm.configure(openrouter_base_url=f"{here.url}/or", huggingface_base_url=f"{here.url}/hf/v1")
        assert llm.models.search()["model"].tolist() == ["a/one"]
        llm.models.add("a/one")


def test_a_kept_model_without_an_offer_or_a_file_that_is_too_large_does_no_harm(here):
    llm.models.search()
    kept = json.loads(saved_path("openrouter").read_text())
    saved_path("openrouter").write_text(json.dumps({**kept, "rows": {"b/two": [], "b/three": [{}]}}))
    saved_path("huggingface").write_text(" " * 2**25 + saved_path("huggingface").read_text().replace("a/one", "b/four"))
    with fresh():
        llm.configure(openrouter_base_url=f"{here.url}/or", huggingface_base_url=f"{here.url}/hf/v1")
        assert llm.models.search()["model"].tolist() == ["b/three", "a/one"]


def test_a_folder_that_cannot_be_written_keeps_the_lists_in_the_session(here):
    folder = saved_path("openrouter").parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder should be")
    for _ in range(2):
        assert llm.models.search()["model"].tolist() == ["a/one"]
    assert len(here.asked) == 3


def test_no_key_and_no_address_is_in_the_files(here):
    llm.models.search()
    for name in ("openrouter", "huggingface", "zdr"):
        text = saved_path(name).read_text()
        assert "canary" not in text
        assert "127.0.0.1" not in text
    assert {key for _, key in here.asked} == {None}


def test_a_rehearsal_reads_and_writes_no_list_of_the_user(here):
    llm.models.search()
    before = saved_path("openrouter").read_text()
    with llm.rehearse():
        assert len(llm.models.search()) > 600
    assert saved_path("openrouter").read_text() == before
    assert len(here.asked) == 3


@pytest.mark.usefixtures("here")
def test_a_catalogue_without_a_byte_is_given_up_and_the_other_one_is_searched():
    wait_for(silence_s=0.3)
    with Loopback(lambda connection: connection.recv(1)) as dead:
        llm.configure(openrouter_base_url=dead.url)
        began = time.monotonic()
        with pytest.warns(llm.LLMExecutorWarning, match=r"not a byte for 0\.3 s\), and none is kept") as told:
            found = llm.models.search()
        assert 0.3 <= time.monotonic() - began < 10
        assert len(told) == 1
        assert found["model"].tolist() == ["a/one"]
        assert found["zdr"].isna().all() or found["zdr"].eq(other=False).all()
        wait_for(silence_s=60.0)
        with pytest.warns(llm.LLMExecutorWarning, match=r"not a byte for 0\.3 s"):  # a failure is kept for a minute
            llm.models.search()


@pytest.mark.usefixtures("here")
def test_a_slow_list_that_keeps_coming_is_waited_for():
    wait_for(silence_s=1.0)
    body = json.dumps({"data": [priced("a/slow", "0")]}).encode()

    def trickle(connection):
        connection.sendall(JSON)
        for piece in (body[:20], body[20:40], body[40:60], body[60:]):
            time.sleep(0.35)
            connection.sendall(piece)

    with Loopback(trickle) as slow:
        llm.configure(openrouter_base_url=slow.url)
        assert llm.models.search(free=True)["model"].tolist() == ["a/slow"]


def test_where_paid_calls_are_forbidden_nothing_is_looked_up_but_in_a_rehearsal(here):
    with forbid_paid_calls():
        with pytest.warns(llm.LLMExecutorWarning, match="paid calls are forbidden here"):
            assert llm.models.search().empty
        llm.models.add("a/one")
        assert llm.models.row("a/one") == ()
        with llm.rehearse():
            assert len(llm.models.search()) > 600
    assert here.asked == []


# --- add --------------------------------------------------------------------------------------------------------


def test_a_model_added_without_providers_gets_the_live_ones_and_its_ids_from_the_lists(here):
    here.replies["/or/models"] = {"data": [{"id": "deepseek/chat", "hugging_face_id": "deepseek-ai/DeepSeek"}]}
    here.replies["/hf/v1/models"] = {
        "data": [at_hub("deepseek-ai/DeepSeek", "x", {"provider": "y", "status": "error"}, "z")]
    }
    for name in ("deepseek/chat", "deepseek-ai/deepseek", "DeepSeek-AI/DeepSeek"):
        llm.models.add(name, alias="ds")
        assert llm.models.row("ds") == ("x", "z")
        names = {"openrouter": name, "huggingface": name, **llm.models.names[name]}
        assert names == {"openrouter": "deepseek/chat", "huggingface": "deepseek-ai/DeepSeek"}
    llm.models.add("my/own", names={"huggingface": "deepseek-ai/deepseek"})
    assert llm.models.row("my/own") == ("x", "z")
    assert llm.models.names["my/own"]["huggingface"] == "deepseek-ai/deepseek"
    assert len(here.asked) == 3


def test_a_listed_provider_that_no_request_can_name_is_left_out(here):
    odd = ["x:y", ":cheapest", "a b", "<b>", "hf_" + "0aB1" * 8, "", "x/y"]
    here.replies["/hf/v1/models"] = {"data": [at_hub("a/one", *odd, "good-ai")]}
    assert names_in(llm.models.search()) == [["good-ai"]]
    llm.models.add("a/one")
    assert llm.models.row("a/one") == ("good-ai",)
    llm.models.set_providers("a/one", ["gone"])
    assert llm.sync_models("a/one", apply=True)["provider"].tolist() == ["gone", "good-ai"]
    assert llm.models.row("a/one") == ("good-ai",)


def test_who_wants_no_providers_or_others_gets_them_and_no_list_is_asked_for(here):
    llm.models.add("a/one", providers=[])
    assert llm.models.row("a/one") == ()
    llm.models.add("a/one", providers=["z"])
    assert llm.models.row("a/one") == ("z",)
    llm.models.add("short")
    assert llm.models.row("short") == ()
    with pytest.raises(llm.ConfigError, match="looks like a key"):
        llm.models.add("sk-or-v1-" + "0a" * 32)
    assert here.asked == []


def test_a_variant_and_a_model_of_openrouter_alone_get_no_provider():
    with llm.rehearse():
        free = llm.models.search("gemma", free=True)["model"].iloc[0]
        for name in (free, "anthropic/claude-3-haiku"):
            llm.models.add(name)
            assert llm.models.row(name) == ()


def test_an_id_that_no_list_has_is_added_with_a_warning_that_names_near_ones(here):
    here.replies["/or/models"] = {"data": [{"id": "qwen/qwen3-32b"}]}
    here.replies["/hf/v1/models"] = {"data": [at_hub("Qwen/Qwen3-32B", "x")]}
    with pytest.warns(llm.LLMExecutorWarning, match=r"lists qwen/qwen3-32, .* Did you mean qwen/qwen3-32b\?"):
        llm.models.add("qwen/qwen3-32")
    with pytest.warns(llm.LLMExecutorWarning, match=r"lists no/such, so it was added without providers\.$"):
        llm.models.add("no/such")
    assert llm.models.row("no/such") == ()


def test_a_model_that_was_found_can_be_added_and_asked():
    with llm.rehearse("openrouter: 401") as rehearsal:
        model = llm.models.search("qwen3", providers="novita")["model"].iloc[0]
        llm.models.add(model)
        assert "novita" in llm.models.row(model)
        assert llm.run_llm(model, "x").content
        assert rehearsal.lines[-1].backend == "huggingface"


def test_offline_a_model_is_added_without_providers_and_a_warning_says_so():
    wait_for(silence_s=0.2)
    with Loopback(lambda connection: connection.recv(1)) as dead:
        llm.configure(openrouter_base_url=dead.url, huggingface_base_url=dead.url)
        with pytest.warns(llm.LLMExecutorWarning, match=r"llm\.sync_models\('a/one', apply=True\)") as told:
            llm.models.add("a/one")
    assert [warned.filename for warned in told] == [__file__]
    assert llm.models.row("a/one") == ()


def test_no_event_loop_stands_still_for_a_list(here):
    async def adds():
        with pytest.warns(llm.LLMExecutorWarning, match=r"await asyncio\.to_thread\(llm\.models\.add"):
            helper()
        assert llm.models.row("a/one") == ()
        assert here.asked == []
        await asyncio.to_thread(llm.models.add, "a/one")
        assert llm.models.row("a/one") == ("x",)
        llm.models.add("a/one")

    def helper():
        llm.models.add("a/one")

    async def calls_back():
        called = asyncio.Event()
        asyncio.get_running_loop().call_soon(lambda: (helper(), called.set()))
        await asyncio.wait_for(called.wait(), 10)

    with pytest.warns(llm.LLMExecutorWarning, match=r"await asyncio\.to_thread\(llm\.models\.add"):
        asyncio.run(calls_back())
    assert here.asked == []
    asyncio.run(adds())
    assert llm.models.row("a/one") == ("x",)


# --- the error about a name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("qwen/qwen3-32", "llm.models.add('qwen/qwen3-32b')"),
        ("Qwen/Qwen3-32B", "llm.models.add('qwen/qwen3-32b')"),
        ("qwen3-32b", "llm.models.add('qwen/qwen3-32b', alias='qwen3-32b')"),
        ("claude-3-haku", "llm.models.add('anthropic/claude-3-haiku')"),
        ("hermes-4-14b", "llm.models.add('nousresearch/hermes-4-14b', alias='hermes-4-14b')"),
    ],
)
def test_an_unknown_name_is_told_what_the_kept_lists_have_and_the_line_that_adds_it(name, step):
    with llm.rehearse() as rehearsal:
        with pytest.raises(llm.ModelNotSupportedError) as before:
            llm.run_llm(name, "x")
        assert step not in str(before.value)
        assert rehearsal.lookups == ()
        llm.models.search()
        asked = len(rehearsal.lookups)
        with pytest.raises(llm.ModelNotSupportedError) as raised:
            llm.run_llm(name, "x")
        assert len(rehearsal.lookups) == asked
        heading, first, *_ = str(raised.value).splitlines()[1:]
        assert (heading, first.partition("   ")[0].strip()) == ("To add a model:", step)
        eval(step, {"llm": llm})  # noqa: S307 - what the message says to type
        assert llm.run_llm(name if "alias" in step else step.split("'")[1], "x").content


def test_an_unknown_name_is_told_what_an_earlier_session_kept(here):
    llm.models.search()
    asked = len(here.asked)
    with fresh():
        with pytest.raises(llm.ModelNotSupportedError, match=r"llm\.models\.add\('a/one', alias='one'\)"):
            llm.run_llm("one", "x")
        for name in ("which one of them is it", "o", ""):
            with pytest.raises(llm.ModelNotSupportedError) as raised:
                llm.run_llm(name, "x")
            assert "a/one" not in str(raised.value)
    assert len(here.asked) == asked
