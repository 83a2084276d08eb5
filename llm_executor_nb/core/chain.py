"""A model's routes in the order in which they are asked; `chain.compile` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_executor_nb.core.moves import KeyRoutes
    from llm_executor_nb.core.records import Route


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A route that cannot promise the policy of a request.

    Attributes:
        route: the route.
        clause: the clause of the policy, as `zdr=True`.
        why: why the route cannot promise it, and what the user may do.
    """

    route: Route
    clause: str
    why: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A model's routes: per tier the keys in listed order, per key its routes.

    A run may enter a tier at any key, so each backend of the user's own has a group of its own after tier 2.

    Attributes:
        model: its name in the user's table.
        tiers: the routes, by tier and by key.
        own_urls: the user's own backends in the chain, with their base URLs; None: a chat model object.
        spec: what the chain was made from; chains of equal specs are equal.
        left_out: the routes that cannot promise the policy of a request.
        preferences: what the policy is in OpenRouter's `provider` object; None: nothing.
    """

    model: str
    tiers: tuple[tuple[KeyRoutes, ...], ...]
    own_urls: Mapping[str, str | None] = field(hash=False)
    spec: Any
    left_out: tuple[LeftOut, ...] = ()
    preferences: Mapping[str, Any] | None = field(default=None, hash=False)

    def routes(self) -> Iterator[Route]:
        """Yield every route in listed order."""
        for tier in self.tiers:
            for key_routes in tier:
                yield from key_routes
