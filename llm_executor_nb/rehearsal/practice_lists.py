"""The lists of models that the practice providers send: the user's table, then a catalogue of real names.

With the catalogue practice OpenRouter lists 600 models and practice Hugging Face 150, so that a search finds something.
Prices, times and providers in it are made up from the names, so they are the same in every rehearsal.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.providers.catalog import PER_MILLION
from llm_executor_nb.rehearsal.upstreams import PRICE_USD, UPSTREAMS
from llm_executor_nb.settings.provider_names import is_chosen_there
from llm_executor_nb.settings.shipped_models import LEFT, SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from llm_executor_nb.rehearsal.upstreams import Upstream
    from llm_executor_nb.settings.options import Options

    Row = dict[str, Any]

ANY_MODEL_PROVIDER = "practice"
"""A provider that serves every model, so that a rehearsal has one that a row of the table does not name."""
_TO_CHOOSE_FROM = ("novita", "scaleway", "together")
"""Providers that serve a model whose row leaves the choice to live figures, or to Hugging Face."""
SIZES: Final = {OPENROUTER: 600, HUGGINGFACE: 150}
"""How many models each backend lists; more where the user's table has more."""
_CONTEXT = 131_072
_CONTEXTS = (8_192, 32_768, _CONTEXT, _CONTEXT, 262_144, 1_048_576)
_ENDS_IN = timedelta(days=180)
_PROVIDERS = (
    "cerebras",
    "deepinfra",
    "featherless-ai",
    "fireworks-ai",
    "groq",
    "hyperbolic",
    "novita",
    "nscale",
    "ovhcloud",
    "sambanova",
    "scaleway",
    "together",
)
_PARAMETERS = ("max_tokens", "response_format", "seed", "structured_outputs", "temperature", "tools")
_ON_BOTH: Final = (
    ("google", "google/gemma-3-{1b,4b,12b}-it"),
    ("google", "google/gemma-3n-{e2b,e4b}-it"),
    ("google", "google/gemma-2-{2b,9b,27b}-it"),
    ("Qwen", "qwen/qwen3-{0.6b,1.7b,4b,8b,14b,32b,30b-a3b,235b-a22b}"),
    ("Qwen", "qwen/qwen3-vl-{4b,8b,32b,30b-a3b,235b-a22b}-{instruct,thinking}"),
    ("Qwen", "qwen/qwen2.5-{0.5b,1.5b,3b,7b,14b,32b,72b}-instruct"),
    ("Qwen", "qwen/qwen2.5-coder-{1.5b,3b,7b,14b,32b}-instruct"),
    ("Qwen", "qwen/qwen2.5-vl-{3b,7b,32b,72b}-instruct"),
    ("meta-llama", "meta-llama/llama-3.1-{70b,405b}-instruct"),
    ("meta-llama", "meta-llama/llama-3.2-{1b,3b,11b-vision,90b-vision}-instruct"),
    ("meta-llama", "meta-llama/llama-4-{scout-17b-16e,maverick-17b-128e}-instruct"),
    ("mistralai", "mistralai/mistral-7b-instruct-{v0.1,v0.2,v0.3}"),
    ("mistralai", "mistralai/mistral-small-{3.1,3.2}-24b-instruct"),
    ("mistralai", "mistralai/ministral-{3b,8b,14b}-instruct"),
    ("mistralai", "mistralai/mixtral-{8x7b,8x22b}-instruct"),
    ("mistralai", "mistralai/devstral-small-{2505,2507,2512}"),
    ("deepseek-ai", "deepseek/deepseek-chat-{v3,v3-0324,v3.1,v3.2}"),
    ("deepseek-ai", "deepseek/deepseek-r1-{0528,distill-llama-70b,distill-qwen-14b,distill-qwen-32b}"),
    ("microsoft", "microsoft/phi-{3.5-mini-instruct,4,4-mini-instruct,4-reasoning,4-multimodal-instruct}"),
    ("nvidia", "nvidia/nemotron-nano-{9b,12b,30b-a3b}-v2"),
    ("zai-org", "z-ai/glm-{4-32b,4.5,4.5-air,4.5v,4.6,4.7}"),
    ("moonshotai", "moonshotai/kimi-{k2-0711,k2-0905,k2-thinking,dev-72b}"),
    ("MiniMaxAI", "minimax/minimax-{m1,m2,m2.1}"),
    ("NousResearch", "nousresearch/hermes-{3-70b,3-405b,4-14b,4-70b,4-405b}"),
    ("allenai", "allenai/olmo-{2-13b,2-32b,3-7b,3-32b}-instruct"),
    ("ibm-granite", "ibm-granite/granite-{3.3-2b,3.3-8b,4.0-micro,4.0-small}-instruct"),
    ("CohereLabs", "cohere/command-{r,r-plus,r7b,a}"),
    ("baidu", "baidu/ernie-4.5-{21b-a3b,300b-a47b,vl-28b-a3b,vl-424b-a47b}"),
    ("arcee-ai", "arcee-ai/{afm-4.5b,virtuoso-large,maestro-32b,trinity-mini,trinity-nano}"),
)
"""Models of both lists: the maker's name at Hugging Face, and their ids at OpenRouter."""
_ON_HUGGINGFACE: Final = (
    "HuggingFaceTB/SmolLM{2-1.7B,3-3B}-Instruct",
    "swiss-ai/Apertus-{8B,70B}-Instruct",
    "aisingapore/SEA-LION-v{3,4}-{8B,27B}-IT",
    "utter-project/EuroLLM-{1.7B,9B,22B}-Instruct",
    "speakleash/Bielik-{4.5B,11B}-Instruct",
    "tiiuae/Falcon-H1-{0.5B,3B,7B,34B}-Instruct",
    "LGAI-EXAONE/EXAONE-{3.5-7.8B,4.0-1.2B,4.0-32B}",
    "CohereLabs/aya-{expanse-8b,expanse-32b,vision-8b,vision-32b}",
    "openGPT-X/Teuken-7B-instruct-{v0.4,v0.6}",
    "internlm/Intern{LM3-8B,VL3-8B,VL3-38B,VL3-78B,-S1}-Instruct",
    "stepfun-ai/Step{3,-Audio-2}",
    "Salesforce/xLAM-2-{1b,8b,32b,70b}-fc-r",
)
_ON_OPENROUTER: Final = (
    "openrouter/auto",
    "openai/gpt-{4o,4o-mini,4.1,4.1-mini,4.1-nano,5,5-mini,5-nano,5.1,5.2}",
    "openai/gpt-4o-{2024-05-13,2024-08-06,2024-11-20}",
    "openai/{o1,o3,o3-mini,o4-mini}",
    "anthropic/claude-{3-haiku,3.5-haiku,3.5-sonnet,3.7-sonnet,sonnet-4,opus-4,sonnet-4.5,opus-4.5,haiku-4.5}",
    "google/gemini-{2.0-flash,2.0-flash-lite,2.5-flash,2.5-flash-lite,2.5-pro,3-flash,3-pro}",
    "x-ai/grok-{3,3-mini,4,4-fast,4.1-fast}",
    "amazon/nova-{micro,lite,pro,premier}-v1",
    "perplexity/sonar{,-pro,-reasoning,-deep-research}",
    "mistralai/mistral-{medium,large}-{2407,2411,2508,2512}",
    "ai21/jamba-{mini,large}-1.7",
    "inception/mercury{,-coder}",
    "gryphe/{mythomax,mythalion}-{7b,13b}-v{1,2}",
    "anthracite-org/magnum-{9b,12b,27b,72b,123b}-v{1,2,3,4}",
    "neversleep/{lumimaid,noromaid}-{8b,12b,20b,70b}-v{1,2,3,4}",
    "sao10k/{euryale,fimbulvetr,hanami,lunaris,solstice,stheno}-{8b,11b,24b,70b}-v{1,2,3,4,5}",
    "thedrummer/{anubis,behemoth,cydonia,rocinante,skyfall,valkyrie}-{8b,12b,24b,70b,123b}-v{1,2,3,4,5,6,7}",
)
_SEES = re.compile(
    r"-vl|vision|gemma-3-|llama-4|4\.5v|multimodal|gpt-(?:4o|4\.1|5)|claude|gemini|nova-(?:lite|pro)|VL3"
)
_READS_FILES = re.compile(r"gpt-(?:4o|4\.1|5)|claude|gemini")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)b\b", re.IGNORECASE)


class Practice(NamedTuple):
    """A model of the catalogue: its id at OpenRouter, and at Hugging Face; None: it is not listed there."""

    model: str | None
    hub: str | None

    @property
    def name(self) -> str:
        """The id from which all else is made up."""
        return self.model or self.hub or ""


# --- the table --------------------------------------------------------------------------------------------------


def shipped_models(backend: str) -> dict[str, list[str]]:
    """Return the models of the shipped table, with the providers that serve them."""
    if backend == HUGGINGFACE:
        return {row.id_at_huggingface: _serving(row.providers) for row in SHIPPED}
    return {row.model: [] for row in SHIPPED}


def practice_models(config: Options, backend: str) -> dict[str, list[str]]:
    """Return the models of the user's table as a backend calls them, with the providers that serve them."""
    table = config.models
    listed = {}
    for model in tuple(table):
        try:
            row = [name for name in table.row(model) if name not in config.backends]
        except ConfigError:  # a row that is not a list; its user gets the error
            continue
        if backend == HUGGINGFACE or model not in table.off_openrouter:
            sent_name = table.names.get(model, {}).get(backend, model)
            listed[sent_name] = _serving(row) if backend == HUGGINGFACE else []
    return listed


def _serving(row: Sequence[str]) -> list[str]:
    """Return a row's providers that have not left, some to choose from where it names none, and the practice one."""
    named = [name for name in row if name not in LEFT and not is_chosen_there(name)]
    others = _TO_CHOOSE_FROM if any(map(is_chosen_there, row)) else ()
    return list(dict.fromkeys([*named, *others, ANY_MODEL_PROVIDER]))


# --- the catalogue ----------------------------------------------------------------------------------------------


@cache
def catalogue() -> tuple[Practice, ...]:
    """Return the models that are listed beside those of the user's table."""
    on_both = [Practice(model, _hub_id(org, model)) for org, ids in _ON_BOTH for model in _expanded(ids)]
    free = [Practice(f"{one.model}:free", one.hub) for one in on_both if _drawn(one.name, "free") % 2]
    return (
        *on_both,
        *free,
        *(Practice(None, hub) for ids in _ON_HUGGINGFACE for hub in _expanded(ids)),
        *(Practice(model, None) for ids in _ON_OPENROUTER for model in _expanded(ids)),
    )


def _expanded(ids: str) -> Iterator[str]:
    """Return the ids that a text with `{a,b}` stands for."""
    parts = re.split(r"\{([^}]*)\}", ids)
    choices = (part.split(",") if place % 2 else [part] for place, part in enumerate(parts))
    return map("".join, product(*choices))


def _hub_id(org: str, model: str) -> str:
    """Return an id as makers write it at Hugging Face: the same, in capitals, or with a name of its own."""
    maker, _, name = model.partition("/")
    if org == maker:
        return model
    name = name.replace("deepseek-chat-", "deepseek-")  # the join by OpenRouter's `hugging_face_id` alone
    return f"{org}/{'-'.join(part.upper() if _SIZE.fullmatch(part) else part.capitalize() for part in name.split('-'))}"


def _drawn(*words: str) -> int:
    return crc32(" ".join(words).encode())


def _dollars(name: str) -> float:
    """Return the price of a million prompt tokens: the larger the model, the dearer."""
    return round(0.02 + max((float(size) for size in _SIZE.findall(name)), default=100.0) / 250, 3)


def _modalities(name: str) -> list[str]:
    return ["text", *(["image"] if _SEES.search(name) else []), *(["file"] if _READS_FILES.search(name) else [])]


# --- OpenRouter -------------------------------------------------------------------------------------------------


def openrouter_rows(table: Iterable[str], end: str | None = None) -> list[Row]:
    """Return OpenRouter's list: the models of a table, at the price of a practice answer, and the catalogue.

    Args:
        table: the ids of the user's models there.
        end: the date on which all models end; None: some of the catalogue's end, the others do not.
    """
    own = [_openrouter_row(model, _practice_prices(model), ["text", "image"], _PARAMETERS, end) for model in table]
    return _filled_up(own, (_openrouter_offer(one, end) for one in catalogue()), OPENROUTER)


def _practice_prices(model: str) -> tuple[float, float]:
    usd = 0.0 if _is_free(model) else PRICE_USD
    return usd, usd


def _is_free(model: str) -> bool:
    return "free" in model.split(":")[1:]


def _filled_up(own: list[Row], more: Iterable[Row | None], backend: str) -> list[Row]:
    """Return the rows of a table, and so many others that the list has its size."""
    known = {row["id"].casefold() for row in own}
    others = (row for row in more if row is not None and row["id"].casefold() not in known)
    return [*own, *islice(others, max(0, SIZES[backend] - len(own)))]


def _openrouter_offer(one: Practice, end: str | None) -> Row | None:
    if one.model is None:
        return None
    drawn = _drawn(one.model)
    usd = 0.0 if _is_free(one.model) else _dollars(one.model) / PER_MILLION
    prices = (-1.0, -1.0) if one.model.startswith("openrouter/") else (usd, 3 * usd)  # -1: it depends on who answers
    parameters = [name for name in _PARAMETERS if name != "tools" or drawn % 4][: None if drawn % 3 else 3]
    end = end or ((clock.current().utc() + _ENDS_IN).date().isoformat() if drawn % 40 == 0 else None)
    row = _openrouter_row(one.model, prices, _modalities(one.model), parameters, end)
    return {**row, "context_length": _CONTEXTS[drawn % len(_CONTEXTS)], "hugging_face_id": one.hub or ""}


def _openrouter_row(
    model: str, prices: tuple[float, float], modalities: list[str], parameters: Sequence[str], end: str | None
) -> Row:
    return {
        "id": model,
        "canonical_slug": model,
        "hugging_face_id": "",
        "name": model,
        "context_length": _CONTEXT,
        "architecture": {"input_modalities": modalities, "output_modalities": ["text"]},
        "pricing": {"prompt": _text_of(prices[0]), "completion": _text_of(prices[1]), "request": "0", "image": "0"},
        "supported_parameters": list(parameters),
        "expiration_date": end,
    }


def _text_of(usd: float) -> str:
    return f"{usd:.10f}" if usd > 0 else f"{usd:g}"


def retention_rows(table: Iterable[str]) -> list[Row]:
    """Return the endpoints of OpenRouter that keep nothing: several of each model of a table, one of some others."""
    keeping_nothing = [one for one in UPSTREAMS if one.keeps_nothing]
    own = list(table)
    others = (row["id"] for row in openrouter_rows(own)[len(own) :])
    return [
        *(_endpoint(model, one) for model in own for one in keeping_nothing),
        *(_endpoint(model, keeping_nothing[0]) for model in others if _drawn(model, "zdr") % 2),
    ]


def _endpoint(model: str, upstream: Upstream) -> Row:
    return {
        "name": f"{upstream.name} | {model}",
        "model_id": model,
        "model_name": model,
        "provider_name": upstream.name,
        "tag": upstream.tag,
        "quantization": upstream.quantization,
        "context_length": _CONTEXT,
        "pricing": {
            "prompt": f"{upstream.input_usd / PER_MILLION:.10f}",
            "completion": f"{upstream.output_usd / PER_MILLION:.10f}",
        },
        "status": 0,
    }


# --- Hugging Face -----------------------------------------------------------------------------------------------


def huggingface_rows(
    table: Mapping[str, Sequence[str]],
    *,
    status_of: Callable[[str], str | None],
    speed_of: Callable[[str, int], dict[str, float]],
) -> list[Row]:
    """Return the router's list: the models of a table with the providers of their rows, and the catalogue.

    Args:
        table: the models, each with its providers.
        status_of: returns what the list says of a provider; None: it is missing there.
        speed_of: returns the latest figures of a provider, which has some place in the row.
    """

    def row(model: str, modalities: list[str], providers: Iterable[str], dollars: float) -> Row:
        listed = ((name, status) for name in dict.fromkeys(providers) if (status := status_of(name)) is not None)
        return _huggingface_row(
            model,
            modalities,
            [
                {**_provider(name, status, place * dollars), **speed_of(name, place)}
                for place, (name, status) in enumerate(listed, start=1)
            ],
        )

    own = [row(model, ["text", "image"], providers, PRICE_USD * PER_MILLION) for model, providers in table.items()]
    # a variant is of OpenRouter alone
    others = [one for one in catalogue() if one.hub and ":" not in one.name]
    return _filled_up(
        own,
        (
            _unpriced(row(one.hub or "", _modalities(one.name), _serving_at_hub(one), _dollars(one.name)))
            for one in others
        ),
        HUGGINGFACE,
    )


def _serving_at_hub(one: Practice) -> list[str]:
    first, count = _drawn(one.name) % len(_PROVIDERS), 1 + _drawn(one.name, "count") % 5
    return [_PROVIDERS[(first + 5 * step) % len(_PROVIDERS)] for step in range(count)]


def _unpriced(row: Row) -> Row:
    """Return a row as it is; in some of the catalogue's, the first provider tells no price."""
    if _drawn(row["id"], "unpriced") % 10 == 0 and row["providers"]:
        del row["providers"][0]["pricing"]
    return row


def _huggingface_row(model: str, modalities: list[str], providers: list[Row]) -> Row:
    return {
        "id": model,
        "object": "model",
        "created": 0,
        "owned_by": model.partition("/")[0],
        "architecture": {"input_modalities": modalities, "output_modalities": ["text"]},
        "providers": providers,
    }


def _provider(name: str, status: str, dollars: float) -> Row:
    """Return one provider of a row. Each is dearer than the one before it, so that there is a choice."""
    return {
        "provider": name,
        "status": status,
        "context_length": _CONTEXT,
        "pricing": {"input": round(dollars, 6), "output": round(2 * dollars, 6)},
        "is_free": False,
        "supports_tools": True,
        "supports_structured_output": True,
        "is_model_author": False,
    }
