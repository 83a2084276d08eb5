"""The backends' lists of models for a search: fetched with little patience, then kept in the session and on disk.

Each list is fetched once an hour. Where it cannot be had, the last one that came is used, however old, and its age is
told. The lists of a rehearsal stay in its session.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from llm_executor_nb.chain.lookups import FAILURES_KEPT_S, LISTS_KEPT_S
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import warn
from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.providers import catalog
from llm_executor_nb.providers.catalog import ModelList, Offer, Price, RetentionList
from llm_executor_nb.providers.look_up import as_amount, as_count, as_names, as_text, as_time, as_truth
from llm_executor_nb.settings import saved_lists
from llm_executor_nb.settings.saved_lists import SavedList
from llm_executor_nb.view.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from llm_executor_nb.chain.session import Session

T = TypeVar("T", ModelList, RetentionList)

_FORBIDDEN: Final = "paid calls are forbidden here, and look-ups with them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Generic[T]):
    """A list as it last came.

    Attributes:
        listed: the list; its outcome is not `ok` where none ever came.
        fetched: when it came; None: never.
        problem: why there is no newer one; None: it is new enough.
    """

    listed: T
    fetched: datetime | None = None
    problem: str | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since it came; None: it never did."""
        if self.fetched is None:
            return None
        return max(0.0, (clock.current().utc() - self.fetched).total_seconds())

    @property
    def is_new(self) -> bool:
        """Whether it need not be fetched again."""
        # one from the future was saved while this machine's date was wrong
        return self.fetched is not None and 0 <= (clock.current().utc() - self.fetched).total_seconds() < LISTS_KEPT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogues:
    """All lists: OpenRouter's models, Hugging Face's, and OpenRouter's endpoints that keep nothing."""

    openrouter: Kept[ModelList]
    huggingface: Kept[ModelList]
    retention: Kept[RetentionList]

    @property
    def ages_s(self) -> dict[str, float | None]:
        """The age of each list in seconds; None: there is none."""
        return {name: kept.age_s for name, kept in self._named().items()}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the listed models, OpenRouter's first."""
        return tuple(dict.fromkeys([*self.openrouter.listed.offers, *self.huggingface.listed.offers]))

    @property
    def are_complete(self) -> bool:
        """Whether both lists of models are there and new, so that what they lack is not offered."""
        return self.openrouter.is_new and self.huggingface.is_new

    def tell_problems(self, then: str, *, about: Collection[str] = ("openrouter", "huggingface", "zdr")) -> None:
        """Warn once which lists are old or missing.

        Args:
            then: what to do about it.
            about: the lists that matter.
        """
        lacking = {name: kept for name, kept in self._named().items() if name in about and kept.problem is not None}
        if lacking:
            told: dict[str, list[str]] = {}
            for name, kept in lacking.items():  # mostly all for one reason, which is told once
                told.setdefault(_why(kept), []).append(_IN_WORDS[name])
            warn(" ".join([*(f"{_joined(names)} could not be fetched {why}" for why, names in told.items()), then]))

    def _named(self) -> dict[str, Kept[Any]]:
        return {"openrouter": self.openrouter, "huggingface": self.huggingface, "zdr": self.retention}


_IN_WORDS: Final = {
    "openrouter": "OpenRouter's list of models",
    "huggingface": "Hugging Face's list of models",
    "zdr": "OpenRouter's list of endpoints that keep nothing",
}


def _why(kept: Kept[Any]) -> str:
    how = "and none is kept" if kept.age_s is None else f"so what came {duration(kept.age_s)} ago is used"
    return f"({kept.problem}), {how}."


def _joined(names: Sequence[str]) -> str:
    """Return names as a text: `a`, `a and b`, `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


async def fetched(current: Session) -> Catalogues:
    """Return the lists, fetched where they are older than an hour."""
    openrouter, huggingface, retention = await asyncio.gather(
        _OPENROUTER.fetched(current), _HUGGINGFACE.fetched(current), _RETENTION.fetched(current)
    )
    return _noted(Catalogues(openrouter=openrouter, huggingface=huggingface, retention=retention), current)


def held(current: Session, problem: str) -> Catalogues:
    """Return the lists as they were kept, without a look-up.

    Args:
        current: the session.
        problem: why nothing is fetched.
    """
    lists = Catalogues(
        openrouter=_OPENROUTER.held(current, problem),
        huggingface=_HUGGINGFACE.held(current, problem),
        retention=_RETENTION.held(current, problem),
    )
    return _noted(lists, current)


def _noted(lists: Catalogues, current: Session) -> Catalogues:
    """Let the provider table know what is listed: its errors name near models."""
    if known := lists.ids:
        current.options.models.listed = known
    return lists


# --- one list ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source(Generic[T]):
    """Where a list comes from, and its form in a file."""

    name: str
    backend: str
    fetch: Callable[..., Coroutine[Any, Any, T]]
    pack: Callable[[T], dict[str, Any]]
    unpack: Callable[[dict[str, Any]], T]
    nothing: T

    async def fetched(self, current: Session) -> Kept[T]:
        url = current.options.base_url(self.backend)
        last = self._last(url, current)
        if last is not None and last.is_new:
            return last
        if not current.may_look_up:
            return self.held(current, _FORBIDDEN)

        async def look_up() -> T:
            return await self.fetch(current.transport(), url, silence_s=current.options.patience.silence_s)

        # under a key of its own: prices and policies wait longer for the same list
        listed = await current.lookups.get(("search", self.name, url), look_up, keep_s=_failure_kept_s)
        if listed.outcome is not Outcome.OK:
            return self.held(current, f"{listed.outcome.value}: {listed.message or 'without a word'}")
        return self._keep(Kept(listed=listed, fetched=clock.current().utc()), url, current)

    def held(self, current: Session, problem: str) -> Kept[T]:
        last = self._last(current.options.base_url(self.backend), current) or Kept(listed=self.nothing)
        return last if last.is_new else replace(last, problem=problem)

    def _last(self, url: str, current: Session) -> Kept[T] | None:
        """Return the list that came last: in this session, or in another one of the same user."""
        last: Kept[T] | None = current.lists.get((self.name, url))
        if (last is None or not last.is_new) and not current.is_rehearsal:
            saved = self._saved(url)
            if saved is not None and (last is None or _time_of(last) < _time_of(saved)):
                last = current.lists[self.name, url] = saved
        return last

    def _saved(self, url: str) -> Kept[T] | None:
        saved = saved_lists.read(self.name, url)
        try:
            return None if saved is None else Kept(listed=self.unpack(saved.rows), fetched=saved.fetched)
        except (TypeError, ValueError, AttributeError, KeyError):  # somebody changed the file
            return None

    def _keep(self, kept: Kept[T], url: str, current: Session) -> Kept[T]:
        current.lists[self.name, url] = kept
        if not current.is_rehearsal and kept.fetched is not None:
            saved_lists.write(self.name, url, SavedList(fetched=kept.fetched, rows=self.pack(kept.listed)))
        return kept


def _time_of(kept: Kept[Any]) -> datetime:
    return kept.fetched or datetime.min.replace(tzinfo=UTC)


def _failure_kept_s(listed: ModelList | RetentionList) -> float:
    return 0.0 if listed.outcome is Outcome.OK else FAILURES_KEPT_S


def _pack(listed: ModelList) -> dict[str, Any]:
    return {model: list(map(_as_row, offers)) for model, offers in listed.offers.items()}


def _as_row(offer: Offer) -> dict[str, Any]:
    row = {name: value for name, value in asdict(offer).items() if value is not None}
    return row if offer.expires is None else {**row, "expires": offer.expires.isoformat()}


def _unpack(rows: dict[str, Any]) -> ModelList:
    return ModelList(outcome=Outcome.OK, offers={model: tuple(map(_as_offer, each)) for model, each in rows.items()})


def _as_offer(row: dict[str, Any]) -> Offer:
    """Read an offer as if it came from the network.

    Raises:
        ValueError, KeyError: it was not packed here.
    """
    parts = {name: _READ_BY[name](value) for name, value in row.items()}
    if None in parts.values():  # what is not known is left out
        raise ValueError("a part of an offer makes no sense")
    return Offer(**parts)


def _as_price(value: object) -> Price | None:
    return catalog.as_price(*(get_in(value, name) for name in ("input_usd", "output_usd", "request_usd")))


_READ_BY: Final[dict[str, Callable[[Any], Any]]] = {
    "provider": catalog.as_provider,
    "status": as_text,
    "context_length": as_count,
    "huggingface_id": as_text,
    "price": _as_price,
    "supports_tools": as_truth,
    "supports_structured_output": as_truth,
    "input_modalities": as_names,
    "is_free": as_truth,
    "latency_s": as_amount,
    "throughput": as_amount,
    "expires": as_time,
}


def _pack_retention(listed: RetentionList) -> dict[str, Any]:
    return {model: sorted(providers) for model, providers in listed.providers.items()}


def _unpack_retention(rows: dict[str, Any]) -> RetentionList:
    return RetentionList(outcome=Outcome.OK, providers={model: frozenset(names) for model, names in rows.items()})


_NO_MODELS: Final = ModelList(outcome=Outcome.CONNECTION)
_OPENROUTER: Final = _Source(
    name=OPENROUTER,
    backend=OPENROUTER,
    fetch=catalog.openrouter_models,
    pack=_pack,
    unpack=_unpack,
    nothing=_NO_MODELS,
)
_HUGGINGFACE: Final = replace(_OPENROUTER, name=HUGGINGFACE, backend=HUGGINGFACE, fetch=catalog.huggingface_models)
_RETENTION: Final = _Source(
    name="zdr",
    backend=OPENROUTER,
    fetch=catalog.openrouter_retention,
    pack=_pack_retention,
    unpack=_unpack_retention,
    nothing=RetentionList(outcome=Outcome.CONNECTION),
)
