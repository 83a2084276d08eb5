"""A session and a chain as other processes get them: a record without keys, and a session made of it there."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.session import Session
from llm_executor_nb.core.chain import Chain, LeftOut
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Route
from llm_executor_nb.settings.backends import OwnBackend, refuse_credentials
from llm_executor_nb.settings.key_references import KeyReference, missing, references, resolved, ring_of
from llm_executor_nb.settings.key_ring import KeyRing
from llm_executor_nb.settings.models import ModelTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TABLE = ("providers", "aliases", "names", "off_openrouter")
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
        other_keys: where it may find those of other models, for a user's function that asks one itself.
        base_urls: backend -> URL, of the two that are always there.
        backends: name -> URL and trust, of the user's own that are servers.
        models: the parts of the provider table, for a user's function that asks a model itself.
        options: the options that travel as they are.
        ledger: the file that all processes open.
    """

    chain: PortableChain
    keys: tuple[KeyReference, ...]
    other_keys: tuple[KeyReference, ...]
    base_urls: Mapping[str, str]
    backends: Mapping[str, tuple[str, bool]]
    models: Mapping[str, Any]
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
    used = {route.backend for route in chain.routes()}
    for name, url in chain.own_urls.items():
        if url is None and name in used:
            raise ConfigError(
                f"The backend {name!r} is a chat model object, which only this process has. Add it by its URL, "
                f"llm.add_backend({name!r}, base_url=...), or leave it out of the row. Nothing was sent."
            )
    servers = {name: own for name, own in options.backends.items() if own.base_url is not None}
    urls = {name: options.base_url(name) for name in (OPENROUTER, HUGGINGFACE)}
    for url in (*urls.values(), *(str(own.base_url) for own in servers.values())):
        refuse_credentials(url)  # a URL travels, so a password in it would
    keys = list(dict.fromkeys(route.key for route in chain.routes() if route.key is not None))
    found = references(keys, [key for key in options.keys if key not in keys], options.keys)
    return PortableSession(
        chain=PortableChain(
            model=chain.model,
            tiers=tuple(tuple(tuple(map(_carried, of_key)) for of_key in tier) for tier in chain.tiers),
            own_urls=dict(chain.own_urls),
            left_out=tuple((_carried(one.route), one.clause, one.why) for one in chain.left_out),
            preferences=chain.preferences,
        ),
        keys=tuple(found[key] for key in keys),
        other_keys=tuple(reference for key, reference in found.items() if key not in keys),
        base_urls=urls,
        backends={name: (str(own.base_url), own.is_trusted) for name, own in servers.items()},
        models={part: copy.deepcopy(getattr(options.models, part)) for part in _TABLE},
        options={name: getattr(options, name) for name in _CARRIED},
        ledger=ledger.absolute(),
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
    here = KeyRing()
    others = [one for one in told.other_keys if one not in missing(told.other_keys, here)]
    keys = resolved([*told.keys, *others], here, worker)
    by_backend: dict[str, list[Key]] = {name: [] for name in (OPENROUTER, HUGGINGFACE, *told.backends)}
    for key in keys:
        by_backend.setdefault(key.backend, []).append(key)
    models = ModelTable()
    for part, value in told.models.items():
        setattr(models, part, copy.deepcopy(value))
    options = replace(
        below.options,
        keys=ring_of(by_backend, here, is_practice=told.options["practice_url"] is not None),
        models=models,
        backends={
            name: OwnBackend(name=name, base_url=url, is_trusted=is_trusted)
            for name, (url, is_trusted) in told.backends.items()
        },
        base_urls=told.base_urls,
        ledger=told.ledger,
        **told.options,
    )
    return Session(options, below=below, ledger=told.ledger)


def chain_of(told: PortableSession, current: Session, worker: str) -> Chain:
    """Return a chain like the one that was told, with the keys of this process.

    Args:
        told: what it is made of.
        current: the session that was made of it.
        worker: how this process is called, for a message.

    Raises:
        ConfigError: a key is not here.
    """
    here = resolved(told.keys, current.options.keys, worker)
    keys: dict[tuple[str, str | None], Key | None] = {
        (one.backend, one.label): key for one, key in zip(told.keys, here, strict=True)
    }
    chain = told.chain
    made = Chain(
        model=chain.model,
        tiers=tuple(tuple(tuple(_route(one, keys) for one in of_key) for of_key in tier) for tier in chain.tiers),
        own_urls=chain.own_urls,
        spec=chain,
        left_out=tuple(LeftOut(_route(replace(one, label=None), keys), *why) for one, *why in chain.left_out),
        preferences=chain.preferences,
    )
    for route in made.routes():
        current.health.traffic.apply_rpm(route)
    return made


def _carried(route: Route) -> PortableRoute:
    label = None if route.key is None else route.key.label
    return PortableRoute(route.backend, label, route.provider, route.model, route.request_model, route.tier)


def _route(told: PortableRoute, keys: Mapping[tuple[str, str | None], Key | None]) -> Route:
    return Route(
        backend=told.backend,
        key=None if told.label is None else keys[told.backend, told.label],
        provider=told.provider,
        model=told.model,
        request_model=told.request_model,
        tier=told.tier,
    )
