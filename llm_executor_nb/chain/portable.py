"""A session and a chain as other processes get them: a record without keys, and a session made of it there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.session import Session
from llm_executor_nb.core.chain import Chain, LeftOut
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Route
from llm_executor_nb.settings.backends import OwnBackend
from llm_executor_nb.settings.key_list import KeyList
from llm_executor_nb.settings.key_references import KeyReference, references, resolved
from llm_executor_nb.settings.key_ring import KeyRing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_executor_nb.settings.models import ModelTable

_CARRIED = (
    "retry_wait_strategy",
    "retries",
    "before_sleep",
    "timeout_s",
    "deadline_s",
    "retry_after_ceiling_s",
    "concurrency",
    "hedge",
    "policy",
    "practice_url",
)
"""The options that travel as they are."""


@dataclass(frozen=True, slots=True)
class PortableRoute:
    """A route with its key's label in place of the key; None: it needs no key."""

    backend: str
    label: str | None
    provider: str | None
    model: str
    request_model: str
    tier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableChain:
    """A chain with its routes in that form; the attributes are those of a `Chain`."""

    model: str
    tiers: tuple[tuple[tuple[PortableRoute, ...], ...], ...]
    own_urls: Mapping[str, str | None]
    left_out: tuple[tuple[PortableRoute, str, str], ...]
    preferences: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableSession:
    """What a process needs to send the requests of one chain.

    Attributes:
        chain: the routes.
        keys: where it finds their keys.
        base_urls: backend -> URL, of the two that are always there.
        backends: name -> URL and trust, of the user's own that the chain has.
        models: the provider table, for a user's function that asks a model itself.
        options: the options that travel as they are.
        ledger: the file that all processes open.
    """

    chain: PortableChain
    keys: tuple[KeyReference, ...]
    base_urls: Mapping[str, str]
    backends: Mapping[str, tuple[str, bool]]
    models: ModelTable
    options: Mapping[str, Any]
    ledger: Path


def portable(chain: Chain, current: Session, ledger: Path) -> PortableSession:
    """Return what other processes need to send down a chain.

    Args:
        chain: the routes, under the policy in force.
        current: the session in force.
        ledger: the file that all processes open.

    Raises:
        ConfigError: a key stands in code alone, or a backend is an object that only this process has.
    """
    options = current.options
    own = [options.backends[name] for name in chain.own_urls if name in options.backends]
    for backend in own:
        if backend.base_url is None:
            raise ConfigError(
                f"The backend {backend.name!r} is a chat model object, which only this process has. Add it by its URL, "
                f"llm.add_backend({backend.name!r}, base_url=...), or leave it out of the row. Nothing was sent."
            )
    routes = [*chain.routes(), *(one.route for one in chain.left_out)]
    keys = {(route.backend, route.key.label): route.key for route in routes if route.key is not None}
    return PortableSession(
        chain=PortableChain(
            model=chain.model,
            tiers=tuple(tuple(tuple(map(_carried, of_key)) for of_key in tier) for tier in chain.tiers),
            own_urls=dict(chain.own_urls),
            left_out=tuple((_carried(one.route), one.clause, one.why) for one in chain.left_out),
            preferences=chain.preferences,
        ),
        keys=references(keys.values(), is_practice=options.keys.is_practice),
        base_urls={name: options.base_url(name) for name in (OPENROUTER, HUGGINGFACE)},
        backends={backend.name: (str(backend.base_url), backend.is_trusted) for backend in own},
        models=options.models,
        options={name: getattr(options, name) for name in _CARRIED},
        ledger=ledger,
    )


def session_of(told: PortableSession, below: Session, worker: str) -> Session:
    """Return a session like the one that was told.

    Args:
        told: what it is made of.
        below: the session under it.
        worker: how this process is called, for a message.

    Raises:
        ConfigError: a key is not here.
    """
    keys = resolved(told.keys, worker)
    ring = KeyRing(practice={} if told.options["practice_url"] is not None else None)
    for backend in (OPENROUTER, HUGGINGFACE, *told.backends):
        ring.assign(backend, KeyList((key.secret.reveal() for key in keys if key.backend == backend), is_given=True))
    ring.notes.update({(key.backend, key.secret): key for key in keys})
    options = replace(
        below.options,
        keys=ring,
        models=told.models,
        backends={
            name: OwnBackend(name=name, base_url=url, is_trusted=is_trusted)
            for name, (url, is_trusted) in told.backends.items()
        },
        base_urls=told.base_urls,
        ledger=told.ledger,
        **told.options,
    )
    return Session(options, below=below, ledger=told.ledger)


def chain_of(told: PortableChain, current: Session) -> Chain:
    """Return a chain like the one that was told, with the keys of a session."""
    keys = {(key.backend, key.label): key for key in current.options.keys}
    return Chain(
        model=told.model,
        tiers=tuple(tuple(tuple(_route(one, keys) for one in of_key) for of_key in tier) for tier in told.tiers),
        own_urls=told.own_urls,
        spec=told,
        left_out=tuple(LeftOut(_route(one, keys), clause, why) for one, clause, why in told.left_out),
        preferences=told.preferences,
    )


def _carried(route: Route) -> PortableRoute:
    label = None if route.key is None else route.key.label
    return PortableRoute(route.backend, label, route.provider, route.model, route.request_model, route.tier)


def _route(told: PortableRoute, keys: Mapping[tuple[str, str], Key]) -> Route:
    return Route(
        backend=told.backend,
        key=None if told.label is None else keys[told.backend, told.label],
        provider=told.provider,
        model=told.model,
        request_model=told.request_model,
        tier=told.tier,
    )
