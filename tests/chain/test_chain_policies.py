"""A policy reaches every route that can promise it, through every door, and no other route is asked."""

import asyncio
import pickle
import threading
from functools import partial

import pandas as pd
import pytest
from doors import DOORS
from langchain_core.caches import InMemoryCache
from refusing import clouds, said, served
from rehearsing import MODEL, fresh
from shells import extended_shell
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.chain.compile import _fallback_chain_cache
from llm_executor_nb.chain.inspection import route_states
from llm_executor_nb.core.needs import needs_of

ROW = ["together", "scaleway", "fireworks-ai", "mine"]
PRICES = {"together": (0.1, 0.2), "scaleway": (0.5, 0.2), "fireworks-ai": None}
"""Dollars per million tokens at Hugging Face."""
KEEPS_NOTHING = llm.Policy(zdr=True)
ALL = ("together", "scaleway", "fireworks-ai")


class Sides:
    """OpenRouter with two keys, Hugging Face and a server of one's own, which all answer or all fail."""

    def __init__(self):
        self.servers = {}
        self.is_down = False

    def answer(self, body):
        return (503, {"error": {"message": "down"}}) if self.is_down else (200, said(body, "fine"))

    def bodies(self, half="openrouter"):
        return self.servers[half].bodies

    @property
    def asked(self):
        """Whether OpenRouter was asked, which providers of Hugging Face were, and whether one's own server was."""
        providers = tuple(body["model"].partition(":")[2] for body in self.bodies("huggingface"))
        return bool(self.bodies()), providers, bool(self.bodies("mine"))


@pytest.fixture
def sides():
    made = Sides()
    both = clouds(made.answer, made.answer, keys=2, model=MODEL)
    with fresh(), served(made.answer) as mine, both as (openrouter, huggingface):
        made.servers = {"openrouter": openrouter, "huggingface": huggingface, "mine": mine}
        offers = [
            {
                "provider": name,
                "status": "live",
                "pricing": price and dict(zip(("input", "output"), price, strict=True)),
            }
            for name, price in PRICES.items()
        ]
        huggingface.lists["/v1/models"] = {"data": [{"id": MODEL, "providers": offers}]}
        openrouter.lists["/v1/providers"] = {"data": [{"name": "New", "slug": "brand-new"}]}
        llm.add_backend("mine", base_url=mine.url)
        llm.models.add(MODEL, providers=ROW)
        llm.configure(retries=0, retry_wait_strategy=wait_none())
        yield made


def failure(**options):
    """Return the error of a call."""
    with pytest.raises(llm.LLMExecutorError) as raised:
        llm.run_llm(MODEL, "hi", **options)
    return raised.value


# --- which routes are asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demanded", "openrouter", "huggingface", "own"),
    [
        ({}, True, ALL, True),
        ({"zdr": True}, True, (), False),
        ({"no_training": True}, True, (), False),
        ({"zdr": True, "only": ("scaleway",)}, True, ("scaleway",), False),
        ({"only": ("Fireworks", "mine")}, True, ("fireworks-ai",), True),
        ({"only": ("fireworks-ai/fast", "together")}, True, ("together",), False),
        ({"only": ("mine",)}, False, (), True),
        ({"ignore": ("together", "mine")}, True, ("scaleway", "fireworks-ai"), False),
        ({"ignore": ("together/turbo",)}, True, ("scaleway", "fireworks-ai"), True),
        ({"only": ("together",), "ignore": ("Together",)}, False, (), False),
        ({"quantizations": ("fp8",)}, True, (), True),
        ({"max_price": (0.1, 0.2)}, True, ("together",), True),
        ({"max_price": (0.05, 9)}, True, (), True),
        ({"bill_to": "lab"}, True, ALL, True),
    ],
    ids=str,
)
def test_only_routes_that_can_promise_the_policy_are_asked(sides, demanded, openrouter, huggingface, own):
    sides.is_down = True
    error = failure(policy=llm.Policy(**demanded))
    assert sides.asked == (openrouter, huggingface, own)
    missing = {f"huggingface/{name}" for name in ALL} - {f"huggingface/{name}" for name in huggingface}
    assert all(name in str(error) for name in missing)
    assert ("left out by" in str(error)) is (sides.asked != (True, ALL, True))
    assert isinstance(error, llm.ConfigError if sides.asked == (False, (), False) else llm.AllRoutesFailedError)


@pytest.mark.parametrize("demanded", [{"ignore": "together"}, {"only": "scaleway"}], ids=str)
def test_a_provider_that_hugging_face_chooses_itself_cannot_be_promised(sides, demanded):
    llm.models.add(MODEL, providers=[":fastest", "scaleway"])
    sides.is_down = True
    failure(policy=llm.Policy(**demanded))
    assert sides.asked[1] == ("scaleway",)


def test_an_own_backend_is_asked_when_it_is_said_to_keep_nothing(sides):
    llm.add_backend("mine", base_url=sides.servers["mine"].url, trusted=True)
    sides.is_down = True
    failure(policy=KEEPS_NOTHING)
    assert sides.asked == (True, (), True)
    with llm.rehearse("openrouter: 401"):
        reply = llm.run_llm(MODEL, "hi", policy=KEEPS_NOTHING)
        assert llm.attempts(reply)["route"].tolist()[-1] == "mine"


def test_without_a_route_left_nothing_is_sent_and_each_clause_is_named(sides):
    llm.configure(openrouter_keys=[])
    error = failure(policy=KEEPS_NOTHING)
    assert isinstance(error, llm.ConfigError)
    assert "can promise Policy(zdr=True)" in str(error)
    assert "left out by zdr=True: huggingface/together ..0001, huggingface/scaleway ..0001," in str(error)
    assert "trusted=True" in str(error)
    with pytest.raises(llm.ConfigError, match="can promise"):
        pd.DataFrame({"q": ["a"]}).llm.run(MODEL, "q", policy=KEEPS_NOTHING, progress=False)
    assert sides.asked == (False, (), False)


@pytest.mark.parametrize(
    ("demanded", "provider"),
    [
        ({}, None),
        ({"bill_to": "lab"}, None),
        ({"zdr": True}, {"zdr": True}),
        ({"no_training": True}, {"data_collection": "deny"}),
        ({"only": ("Together", "zai-org", "mine")}, {"only": ["together", "z-ai"]}),
        (
            {"ignore": "DeepInfra/Turbo", "quantizations": ["fp8"]},
            {"ignore": ["deepinfra/turbo"], "quantizations": ["fp8"]},
        ),
        ({"max_price": (1, 2)}, {"max_price": {"prompt": 1.0, "completion": 2.0}}),
    ],
    ids=str,
)
@pytest.mark.parametrize("door", DOORS)
def test_openrouter_is_told_the_policy(sides, door, demanded, provider):
    DOORS[door](MODEL, "hi", policy=llm.Policy(**demanded))
    (body,) = sides.bodies()
    assert body.get("provider") == provider


@pytest.mark.parametrize("beside", [{"sort": "price", "zdr": True}, {"order": ["DeepInfra/turbo"]}], ids=str)
def test_what_extra_body_says_beside_the_policy_is_sent_with_it(sides, beside):
    policy = llm.Policy(zdr=True, only="deepinfra")
    llm.run_llm(MODEL, "hi", policy=policy, extra_body={"openrouter": {"provider": beside}})
    assert sides.bodies()[0]["provider"] == {**beside, "zdr": True, "only": ["deepinfra"]}


@pytest.mark.parametrize(
    ("demanded", "fields"),
    [
        ({"zdr": True}, {"provider": {"zdr": False}}),
        ({"zdr": True}, {"provider": {"data_collection": "allow"}}),
        ({"zdr": True}, {"provider": None}),
        ({"zdr": True}, {"plugins": [{"id": "web"}]}),
        ({"zdr": True}, {"web_search_options": {}}),
        ({"zdr": True}, {"preset": "mine"}),
        ({"no_training": True}, {"models": ["b/c", "b/d:online"]}),
        ({"no_training": True}, {"tools": [{"type": "openrouter:web_search"}]}),
        ({"no_training": True}, {"provider": {"data_collection": "allow"}}),
        ({"only": ("together",)}, {"provider": {"only": ["groq"]}}),
        ({"only": ("together",)}, {"provider": {"order": ["groq", "together"]}}),
        ({"ignore": ("groq",)}, {"provider": {"only": ["Groq/fast"]}}),
        ({"max_price": (1, 2)}, {"provider": {"max_price": {"prompt": 9}}}),
    ],
    ids=str,
)
def test_an_extra_body_that_contradicts_the_policy_is_an_error(sides, demanded, fields):
    error = failure(policy=llm.Policy(**demanded), extra_body={"openrouter": fields})
    assert "contradicts the policy" in str(error)
    assert sides.asked == (False, (), False)


SEARCH = {"type": "openrouter:web_search"}
OWN_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def test_a_tool_that_openrouter_runs_is_refused_under_a_clause_about_texts(sides):
    frame = pd.DataFrame({"q": [{"messages": [("user", "hi")], "tools": [SEARCH]}]})
    for tools in ([SEARCH], [OWN_TOOL, SEARCH]):
        assert "contradicts the policy" in str(failure(policy=KEEPS_NOTHING, tools=tools))
        with pytest.raises(llm.ConfigError, match="contradicts the policy"):
            pd.DataFrame({"q": ["hi"]}).llm.run(MODEL, "q", policy=KEEPS_NOTHING, tools=tools, progress=False)
    out = frame.llm.run(MODEL, "q", policy=KEEPS_NOTHING, progress=False)
    assert "web_search" in out["q_llm_error"].iloc[0]
    assert sides.asked == (False, (), False)
    llm.run_llm(MODEL, "hi", policy=KEEPS_NOTHING, tools=[OWN_TOOL])
    llm.run_llm(MODEL, "hi", policy=llm.Policy(only="together"), tools=[SEARCH])
    assert len(sides.bodies()) == 2


@pytest.mark.parametrize("name", ["m/x:online", "m/x:Online:floor", "m/x@preset/mine", "@preset/mine"])
def test_a_model_s_name_that_adds_a_search_or_a_preset_is_not_asked_under_a_clause_about_texts(sides, name):
    llm.models.add(name, providers=[], openrouter=True)
    with pytest.raises(llm.ConfigError, match="may send text to others"):
        llm.run_llm(name, "hi", policy=KEEPS_NOTHING)
    assert sides.asked == (False, (), False)
    llm.run_llm(name, "hi", policy=llm.Policy(only="together"))


@pytest.mark.parametrize("door", DOORS)
def test_only_the_model_itself_reads_a_file_under_a_clause_about_texts(sides, door):
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjc="}}
    texts, file = [{"role": "user", "content": "hi"}], [{"role": "user", "content": [part]}]
    quiet = llm.Policy(no_training=True)
    asked = [
        (KEEPS_NOTHING, texts),
        (KEEPS_NOTHING, file),
        (quiet, file),
        (llm.Policy(only="groq"), file),
        (None, file),
    ]
    for policy, messages in asked:
        DOORS[door](MODEL, messages, policy=policy)
    native = [{"id": "file-parser", "pdf": {"engine": "native"}}]
    assert [body.get("plugins") for body in sides.bodies()] == [None, native, native, None, None]


@pytest.mark.parametrize("door", DOORS)
def test_only_hugging_face_is_told_who_pays(sides, door):
    sides.is_down = True
    with pytest.raises(llm.AllRoutesFailedError):
        DOORS[door](MODEL, "hi", policy=llm.Policy(bill_to="lab"))
    told = {half: {head.get("X-HF-Bill-To") for head in server.heads} for half, server in sides.servers.items()}
    assert told == {"openrouter": {None}, "huggingface": {"lab"}, "mine": {None}}


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Together", "together"),
        ("Z.AI", "z-ai"),
        ("zai-org", "z-ai"),
        ("Fireworks-AI", "fireworks"),
        ("Amazon Bedrock", "amazon-bedrock"),
        ("AtlasCloud", "atlas-cloud"),
        ("google-vertex/us-east5", "google-vertex/us-east5"),
        ("Brand New", "brand-new"),
        ("tiny.host", "tiny.host"),
        (" DeepInfra / Turbo", "deepinfra/turbo"),
        ("deepinfra//turbo/", "deepinfra/turbo"),
    ],
)
def test_a_provider_may_be_written_as_either_half_writes_it(sides, written, meant):
    llm.models.add("other", providers=["Tiny.Host"])
    llm.run_llm(MODEL, "hi", policy=llm.Policy(ignore=written))
    assert sides.bodies()[0]["provider"] == {"ignore": [meant]}


@pytest.mark.parametrize(("written", "near"), [("togehter", "together"), ("scaelway/x", "scaleway"), ("qqq", "")])
def test_an_unknown_provider_is_an_error_with_near_names(sides, written, near):
    error = failure(policy=llm.Policy(only=written))
    assert isinstance(error, llm.ConfigError)
    assert "is not a provider" in str(error)
    assert near in str(error)
    assert sides.asked == (False, (), False)


@pytest.mark.parametrize(
    "arguments",
    [
        {"zrd": True},
        {"zdr": 1},
        {"only": [None]},
        {"only": " / "},
        {"max_price": 3},
        {"max_price": (10**400, 1)},
        {"bill_to": ""},
        {"quantizations": "fp9"},
    ],
    ids=" ".join,
)
def test_a_policy_that_cannot_be_meant_is_refused(arguments):
    with pytest.raises(llm.ConfigError):
        llm.Policy(**arguments)


@pytest.mark.parametrize("name", ["only", "bill_to"])
def test_a_key_in_a_policy_is_refused_and_not_shown(name):
    key = "hf_" + "aB3dE5gH7" * 4
    with pytest.raises(llm.ConfigError) as refused:
        llm.Policy(**{name: key})
    assert key not in str(refused.value)
    assert key not in repr([step.frame.f_locals for step in refused.traceback if step.path.parent.name == "core"])


def test_a_policy_is_one_readable_line_and_survives_pickling():
    policy = llm.Policy(zdr=True, only=["Together"], max_price=(1, 2))
    assert repr(policy) == "Policy(zdr=True, only=('together',), max_price=(1.0, 2.0))"
    assert pickle.loads(pickle.dumps(policy)) == policy == eval(repr(policy), {"Policy": llm.Policy})  # noqa: S301, S307
    assert repr(llm.Policy()) == "Policy()"


# --- doors --------------------------------------------------------------------------------------------------------


def _in_a_cell(policy):
    with extended_shell(p=policy) as shell:
        named = "" if policy is None else " --policy @p"
        shell.run_cell_magic("llm", f"{MODEL} --no-stream{named}", "hi")


def _in_a_column(policy):
    pd.DataFrame({"q": ["hi"]}).llm.run(MODEL, "q", policy=policy, reuse=False, progress=False)


def _in_an_async_column(policy):
    asyncio.run(pd.Series(["hi"]).llm.arun(MODEL, policy=policy, reuse=False, progress=False))


def _by_hand(door, policy):
    door(MODEL, "hi", policy=policy)


ALL_DOORS = {
    **{name: partial(_by_hand, door) for name, door in DOORS.items()},
    "model": lambda policy: llm.chat_model(MODEL, policy=policy).invoke("hi"),
    "model call": lambda policy: (
        llm.chat_model(MODEL, policy=llm.Policy(only="groq")).invoke("hi", policy=policy)
        if policy is not None
        else llm.chat_model(MODEL).invoke("hi", policy=None)
    ),
    "async model": lambda policy: asyncio.run(llm.chat_model(MODEL).bind(policy=policy).ainvoke("hi")),
    "column": _in_a_column,
    "async column": _in_an_async_column,
    "cell": _in_a_cell,
}


@pytest.mark.parametrize("door", ALL_DOORS)
def test_every_door_takes_a_policy_in_place_of_the_session_s(sides, door):
    ask = ALL_DOORS[door]
    llm.configure(policy=KEEPS_NOTHING)
    for policy in (None, llm.Policy(no_training=True), llm.Policy()):
        ask(policy)
    llm.configure(policy=None)
    ask(None)
    given = [body.get("provider") for body in sides.bodies()]
    assert given == [{"zdr": True}, {"data_collection": "deny"}, None, None]


def test_a_cell_s_variable_without_a_policy_leaves_the_session_s_in_force(sides):
    llm.configure(policy=KEEPS_NOTHING)
    with extended_shell(p=None) as shell:
        shell.run_cell_magic("llm", f"{MODEL} --no-stream --policy @p", "hi")
    assert sides.bodies()[0]["provider"] == {"zdr": True}


@pytest.mark.parametrize("door", ALL_DOORS)
def test_every_door_refuses_what_is_not_a_policy(sides, door):
    with pytest.raises(llm.ConfigError, match=r"llm\.Policy"):
        ALL_DOORS[door]({"zdr": True})
    assert sides.asked == (False, (), False)


def test_a_refusal_under_a_policy_never_holds_a_request_without_it():
    lost, refused = [], []

    def ask(number):
        for _ in range(25):
            try:
                reply = llm.run_llm(MODEL, "hi", policy=None if number % 2 else llm.Policy())
                lost.extend([] if number % 2 == 0 and "practice" in reply.content else [number])
            except llm.AllRoutesFailedError as error:
                (refused if number % 2 else lost).append(str(error))

    with fresh(), llm.rehearse("openrouter: privacy_restricted"):
        llm.configure(policy=KEEPS_NOTHING)
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        attempts = llm.attempts()
        chain = _fallback_chain_cache[MODEL]
    assert lost == []
    assert len(refused) == 100
    assert all("left out by zdr=True" in words for words in refused)
    assert set(attempts["backend"]) == {"openrouter"}
    assert len(list(chain.routes())) == 5  # the cached chain is that of the model, whatever a policy left of it


def test_a_cached_answer_of_langchain_s_is_not_taken_under_another_policy(sides):
    model = llm.chat_model(MODEL, cache=InMemoryCache())
    for policy in (None, None, KEEPS_NOTHING, KEEPS_NOTHING):
        model.invoke("hi", policy=policy)
    llm.configure(policy=llm.Policy(no_training=True))
    model.invoke("hi")
    assert len(sides.bodies()) == 3


def test_a_route_that_the_policy_leaves_out_may_also_be_skipped(sides):
    sides.is_down = True
    out = pd.DataFrame({"q": ["hi"]}).llm.run(MODEL, "q", progress=False, deadline=0.2, policy=KEEPS_NOTHING)
    sides.is_down = False
    again = out.llm.retry_failed(skip_routes=["huggingface"], progress=False)
    assert again["q_llm_status"].tolist() == ["ok"]


def test_the_need_is_that_of_the_policy_and_of_what_is_sent_beside_it():
    plain, policy = needs_of({}, None), llm.Policy(zdr=True)
    beside = {"openrouter": {"provider": {"sort": "price"}}}
    alone, both = needs_of({}, None, policy), needs_of({}, beside, policy)
    assert (plain, alone) == (frozenset(), {policy.need})
    assert len({plain, alone, both, needs_of({}, beside)}) == 4
    assert len(both) == 1


# --- what is shown ------------------------------------------------------------------------------------------------


def test_plan_health_and_a_row_s_failure_name_the_clause(sides):
    frame = pd.DataFrame({"q": ["hi"]})
    plan = frame.llm.plan(MODEL, "q", policy=KEEPS_NOTHING)
    assert "huggingface/scaleway" in str(plan.left_out)
    assert "by zdr=True" in repr(plan)
    assert not frame.llm.plan(MODEL, "q").left_out
    assert llm.health().empty
    llm.configure(policy=KEEPS_NOTHING)
    assert [one.why for one in route_states([MODEL])] == ["", "", *(["zdr=True"] * 4)]
    rows = llm.health().query("model == @MODEL")
    assert rows["provider"].dropna().tolist() == list(ALL)
    assert set(rows["kind"]) == {"policy"}
    assert set(rows["why"]) == {"zdr=True"}
    sides.is_down = True
    out = frame.llm.run(MODEL, "q", progress=False, deadline=0.2)
    assert "left out by zdr=True: 4 routes" in out["q_llm_error"].iloc[0]


def test_a_dry_run_of_a_cell_shows_what_is_left_out(sides, capsys):
    with extended_shell(p=KEEPS_NOTHING) as shell:
        shell.run_cell_magic("llm", f"{MODEL} -n --policy @p", "hi")
        shell.run_line_magic("llm", "health")
    shown = capsys.readouterr().out
    assert "left out by zdr=True" in shown
    assert "policy=Policy(zdr=True)" in shown
    assert sides.asked == (False, (), False)
