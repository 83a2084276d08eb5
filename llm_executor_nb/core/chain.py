"""A model's routes in the order in which they are asked. `chain.compile` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_executor_nb.core.policy import KeyRoutes
    from llm_executor_nb.core.records import Route


@dataclass(frozen=True, slots=True)
class Chain:
    """A model's routes: per tier the keys in listed order, per key its routes.

    A run may enter a tier at any key, so each own backend stands in a group of its own behind tier 2's tokens.

    Attributes:
        model: as the user's table calls it.
        tiers: per tier, per key, the routes.
        own_urls: the user's own backends among them, with their base URLs; None: it is an object.
        recipe: what it was made of; chains of equal recipes are equal.
    """

    model: str
    tiers: tuple[tuple[KeyRoutes, ...], ...]
    own_urls: Mapping[str, str | None] = field(hash=False)
    recipe: Any

    def routes(self) -> Iterator[Route]:
        """Yield every route in listed order."""
        for tier in self.tiers:
            for key_routes in tier:
                yield from key_routes
