"""Search OpenRouter's catalogue and Hugging Face's router list together: `llm.models.search`. Costs nothing.

A model of both lists is one row. It is the same model where the table's `names`, OpenRouter's `hugging_face_id` or the
ids themselves say so, in upper or lower case. A variant such as `:free` is OpenRouter's alone, and a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain import catalogues
from llm_executor_nb.chain.lookups import as_frame
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import did_you_mean, near_names, noted_as
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.policy import check_max_price
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import door
from llm_executor_nb.engine.loop import run_sync
from llm_executor_nb.providers.catalog import PER_MILLION
from llm_executor_nb.settings.models import aliases_by_model
from llm_executor_nb.settings.provider_names import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from llm_executor_nb.chain.catalogues import Catalogues
    from llm_executor_nb.providers.catalog import Offer, Price
    from llm_executor_nb.settings.models import ModelTable

    Row = dict[str, Any]
    Check = Callable[[Row], bool]

COLUMNS = {
    "model": "string",
    "input_usd_per_million": "Float64",
    "output_usd_per_million": "Float64",
    "context_length": "Int64",
    "modalities": "string",
    "tools": "boolean",
    "schema": "boolean",
    "providers": "object",
    "is_free": "boolean",
    "zdr": "boolean",
    "expires": "datetime64[us, UTC]",
}
"""`providers`: a list of dicts, one for each live Hugging Face provider: provider, latency_s, throughput, prices."""
_VARIANT = ":"
_PLACES = 6
"""Decimal places of a price: a price per token is a fraction without an exact form."""


@door
@noted_as("llm.models.search")
@stoppable
def search(
    text: str = "",
    *,
    images: bool | None = None,
    files: bool | None = None,
    tools: bool | None = None,
    schema: bool | None = None,
    free: bool | None = None,
    max_price: tuple[float, float] | None = None,
    providers: str | Iterable[str] | None = None,
    zdr: bool | None = None,
) -> pd.DataFrame:
    """Return the models that match, one row each, those whose name fits best first. Costs nothing.

    The lists are fetched once an hour, and kept in your cache folder. Offline the last ones are searched, and a warning
    says how old they are; `.attrs["age_s"]` has the age of each list in seconds (None: there is none).

    Args:
        text: parts of the name, in any case and order, such as `"qwen 32b"`; empty: all models.
        images: whether a prompt may hold pictures.
        files: whether it may hold files.
        tools: whether tools are supported.
        schema: whether structured output is supported.
        free: whether the model costs nothing.
        max_price: the highest price, `(input, output)` in dollars per million tokens.
        providers: a Hugging Face provider, or several of which one suffices.
        zdr: whether OpenRouter has a provider that keeps nothing of what it is sent.

    Returns:
        One row per model: model (the id for `llm.models.add`), input_usd_per_million and output_usd_per_million
        (OpenRouter's; else those of the cheapest provider), context_length (tokens), modalities, tools, schema,
        providers (Hugging Face's live ones, each a dict: provider, latency_s, throughput, prices), is_free, zdr,
        expires. What no list says is missing, and matches no condition: a missing price is neither low nor free.

    Raises:
        ConfigError: a condition is wrong, or no list has such a provider.
    """
    wanted = {"tools": tools, "schema": schema, "is_free": free, "zdr": zdr}
    parts = {"image": images, "file": files}
    _check_switches({"images": images, "files": files, "tools": tools, "schema": schema, "free": free, "zdr": zdr})
    if not isinstance(text, str):
        raise ConfigError(f"text={text!r} must be a part of a model's name, such as 'gemma'.")
    limit, current = check_max_price(max_price), session()
    lists = run_sync(lambda: catalogues.fetched(current))
    lists.tell_problems("The next search tries again after a minute.")
    checks: list[Check] = [
        *(_switch_check(name, value) for name, value in wanted.items() if value is not None),
        *(_part_check(name, value) for name, value in parts.items() if value is not None),
        *([] if limit is None else [_price_check(limit)]),
        *([] if providers is None else [_provider_check(providers, lists)]),
    ]
    rows = [_row(one, lists) for one in fitting(text, joined(lists, current.options.models), current.options.models)]
    frame = as_frame([row for row in rows if all(check(row) for check in checks)], COLUMNS)
    frame.attrs["age_s"] = lists.ages_s
    return frame


# --- the join ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model of the lists.

    Attributes:
        model: its id at OpenRouter, else at Hugging Face.
        huggingface_id: its id at Hugging Face; None: it is not listed there.
        openrouter: OpenRouter's offer; None: it is not listed there.
        providers: the offers of the live Hugging Face providers; None: there is no such list.
    """

    model: str
    huggingface_id: str | None
    openrouter: Offer | None
    providers: tuple[Offer, ...] | None

    @property
    def ids(self) -> tuple[str, ...]:
        """Its ids, in small letters."""
        return tuple(dict.fromkeys(id_.casefold() for id_ in (self.model, self.huggingface_id) if id_))


def joined(lists: Catalogues, table: ModelTable) -> list[Listed]:
    """Return each model of the lists once: OpenRouter's in their order, then what only Hugging Face has."""
    # a spoilt file may have a model without an offer
    openrouter = {model: offers[0] for model, offers in lists.openrouter.listed.offers.items() if offers}
    huggingface = lists.huggingface.listed
    there = {id_.casefold(): id_ for id_ in huggingface.offers}
    named = _named_in(table)
    found = {}
    for model, offer in openrouter.items():
        by_list = offer.huggingface_id or ""
        meant = () if _VARIANT in model else (named.get(model.casefold(), ""), by_list, model)
        found[model] = next((there[id_.casefold()] for id_ in meant if id_.casefold() in there), None)
    is_known = huggingface.outcome is Outcome.OK

    def listed(model: str, id_there: str | None, offer: Offer | None) -> Listed:
        offers = huggingface.offers.get(id_there or "", ())
        live = tuple(one for one in offers if one.is_live)
        return Listed(model=model, huggingface_id=id_there, openrouter=offer, providers=live if is_known else None)

    others = huggingface.offers.keys() - set(found.values())
    return [
        *(listed(model, id_there, openrouter[model]) for model, id_there in found.items()),
        *(listed(id_, id_, None) for id_ in huggingface.offers if id_ in others),
    ]


def _named_in(table: ModelTable) -> dict[str, str]:
    """Return what the table says: id at OpenRouter, in small letters -> id at Hugging Face."""
    return {
        names.get(OPENROUTER, model).casefold(): names.get(HUGGINGFACE, model) for model, names in table.names.items()
    }


def find(model: str, lists: Catalogues, table: ModelTable) -> Listed | None:
    """Return a model of the lists by one of its ids, in upper or lower case; None: no list has it."""
    return next((one for one in joined(lists, table) if model.casefold() in one.ids), None)


# --- the text ---------------------------------------------------------------------------------------------------


def fitting(text: str, models: Iterable[Listed], table: ModelTable) -> list[Listed]:
    """Return the models whose ids or aliases have all words of a text, the best first."""
    words = text.casefold().split()
    if not words:
        return list(models)
    aliases = _aliases(table)
    ranked = [(_rank(words, (*one.ids, *aliases.get(one.model.casefold(), ()))), one) for one in models]
    fit = [(rank, one) for rank, one in ranked if rank is not None]
    return [one for _, one in sorted(fit, key=lambda each: each[0])]


def _aliases(table: ModelTable) -> dict[str, list[str]]:
    return {
        table.names.get(model, {}).get(OPENROUTER, model).casefold(): [alias.casefold() for alias in aliases]
        for model, aliases in aliases_by_model(table).items()
    }


def _rank(words: list[str], names: tuple[str, ...]) -> tuple[int, int] | None:
    """Return how well names fit, the lower the better; None: a word is in none of them."""
    if not all(any(word in name for name in names) for word in words):
        return None
    text = "-".join(words)  # as makers write `gemma 3`
    tails = [name.rpartition("/")[2] for name in names]
    grades = ((*names, *tails), tails, names)
    tests: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: name.startswith(text),
        lambda name: text in name,
    )
    best = next((at for at, test in enumerate(tests) if any(map(test, grades[at]))), len(tests))
    return best, len(names[0])


# --- a row ------------------------------------------------------------------------------------------------------


def _row(one: Listed, lists: Catalogues) -> Row:
    modalities = _said(one, "input_modalities")
    prices = sorted(_said(one, "price"), key=lambda price: (price.output_usd, price.input_usd))
    return {
        "model": one.model,
        **_prices(prices[0] if prices else None),
        "context_length": max(_said(one, "context_length"), default=None),
        "modalities": ", ".join(modalities[0]) if modalities else None,
        "tools": _any(_said(one, "supports_tools")),
        "schema": _any(_said(one, "supports_structured_output")),
        "providers": None if one.providers is None else list(map(_as_dict, one.providers)),
        "is_free": _any(_said(one, "is_free")),
        "zdr": _keeps_nothing(one, lists),
        "expires": next(iter(_said(one, "expires")), None),
    }


def _said(one: Listed, what: str) -> list[Any]:
    """Return what is known of a model: OpenRouter's word, else that of each provider."""
    for offers in (() if one.openrouter is None else (one.openrouter,), one.providers or ()):
        if known := [value for offer in offers if (value := getattr(offer, what)) is not None]:
            return known
    return []


def _any(values: list[bool]) -> bool | None:
    return any(values) if values else None


def _prices(price: Price | None) -> Row:
    return {
        "input_usd_per_million": None if price is None else round(price.input_usd * PER_MILLION, _PLACES),
        "output_usd_per_million": None if price is None else round(price.output_usd * PER_MILLION, _PLACES),
    }


def _as_dict(offer: Offer) -> Row:
    return {
        "provider": offer.provider,
        "latency_s": offer.latency_s,
        "throughput": offer.throughput,
        **_prices(offer.price),
    }


def _keeps_nothing(one: Listed, lists: Catalogues) -> bool | None:
    """Whether OpenRouter can promise that nothing is kept; Hugging Face promises it for no model."""
    if one.openrouter is None:
        return False
    if lists.retention.listed.outcome is not Outcome.OK:
        return None
    return one.model.casefold() in lists.retention.listed.providers


# --- the conditions ---------------------------------------------------------------------------------------------


def _check_switches(switches: Mapping[str, object]) -> None:
    for name, value in switches.items():
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"{name}={value!r} must be True, False, or None for both.")


def _switch_check(name: str, wanted: bool) -> Check:
    return lambda row: row[name] is wanted


def _part_check(part: str, wanted: bool) -> Check:
    def check(row: Row) -> bool:
        return row["modalities"] is not None and (part in row["modalities"].split(", ")) is wanted

    return check


def _price_check(limit: tuple[float, float]) -> Check:
    def check(row: Row) -> bool:
        price = row["input_usd_per_million"], row["output_usd_per_million"]
        return None not in price and all(asked <= most for asked, most in zip(price, limit, strict=True))

    return check


def _provider_check(providers: str | Iterable[str], lists: Catalogues) -> Check:
    if not isinstance(providers, Iterable):
        raise ConfigError(f"providers={providers!r} must be a name such as 'scaleway', or a list of names.")
    names = [providers] if isinstance(providers, str) else list(providers)
    offered = (offer.provider for offers in lists.huggingface.listed.offers.values() for offer in offers)
    known = {canonical(name): name for name in offered if name}
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"providers has {name!r}; each must be a name such as 'scaleway'.")
        if known and canonical(name) not in known:
            hint = did_you_mean(near_names(name, known.values())) or f" There are {', '.join(sorted(known.values()))}."
            raise ConfigError(f"Hugging Face's list has no provider {name!r}.{hint}")
    wanted = set(map(canonical, names))
    return lambda row: any(canonical(one["provider"]) in wanted for one in row["providers"] or ())
