"""What a job sends: each request's payload, and the digest that makes two of them equal.

A digest is of what is sent: messages, parameters that were set, schema. Never of keys, bounds, order or row numbers.
An answer is stored under a request key: the digest together with who answered (backend, provider, model).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.request import check_alone, split_request
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.messages import tidy
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.providers.returned import RETURNED
from llm_executor_nb.store.records import Lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.jobs.options import JobOptions

_FORMAT = b"llm-request-1"
"""Names the form of the digests; a change of what goes into them needs another."""
_SIZE = 16
_STAND_IN = "\u2042 the text of a row \u2042"


@dataclass(slots=True)
class Request:
    """One request of a job.

    Attributes:
        position: the first row that asks it.
        payload: the body without `model`; None: it is no request.
        wanted: what is looked for in the ledger, and claimed.
        error: why it is no request; None: it is one.
    """

    position: int
    payload: Mapping[str, Any] | None
    wanted: Lookup
    error: ConfigError | None = None


class RequestMaker:
    """Makes the requests of one job.

    Args:
        order: what all rows share.
        taken: runs whose answers other rows have already, where answers are drawn.
    """

    def __init__(self, order: JobOptions, taken: Iterable[str] = ()) -> None:
        self._params, self._system = order.params, order.system
        self._schema = "" if order.schema is None else order.schema.digest_text
        self._extra_body = order.extra_body
        self._entries = list(dict.fromkeys(_entry(route, order.extra_body) for route in order.chain.routes()))
        self._plain = make_payload(_STAND_IN, order.params, system=order.system)
        self._around = self._canonical(self._plain).split(json.dumps(_STAND_IN))
        self._copies: dict[bytes, int] = {}
        self._taken = set(taken)

    def make(self, position: int, content: object) -> Request:
        """Return the request of a row.

        Args:
            position: the row.
            content: its cell or its filled template; an error: it cannot be asked.
        """
        try:
            if isinstance(content, ConfigError):
                raise content
            payload, digest = self._payload_and_digest(content)
        except ConfigError as error:  # this cell is no request; the other rows are not to blame
            return Request(position, None, Lookup(digest=_hashed(f"row {position}"), keys=(), copy=None), error)
        keys = tuple(_hashed(digest, entry) for entry in self._entries)
        if not payload.get("temperature"):
            return Request(position, payload, Lookup(digest=digest, keys=keys, copy=None))
        copy = self._copies.get(digest, -1) + 1
        self._copies[digest] = copy
        return Request(position, payload, self._draw(digest, keys, copy))

    def take(self, request: Request, run_id: str) -> None:
        """Note that a request has this run's answer: no other copy of it takes it."""
        if request.wanted.copy is not None:
            self._taken.add(run_id)

    def key_of(self, request: Request, route: Route) -> bytes:
        """Return the request key under which a route's answer is stored."""
        return request.wanted.keys[self._entries.index(_entry(route, self._extra_body))]

    def _draw(self, digest: bytes, keys: tuple[bytes, ...], copy: int) -> Lookup:
        return Lookup(digest=_hashed(digest, f"copy {copy}"), keys=keys, copy=copy, taken=self._taken)

    def _payload_and_digest(self, content: object) -> tuple[Mapping[str, Any], bytes]:
        if isinstance(content, str) and content.strip() and len(self._around) == 2:
            return self._filled(content), _hashed(json.dumps(content).join(self._around))
        messages, params = split_request(content, self._params)
        if self._schema:
            check_alone(params, None)
        payload = make_payload(messages, params, system=self._system)
        return payload, _hashed(self._canonical({**payload, "messages": [*map(_as_stored, payload["messages"])]}))

    def _filled(self, text: str) -> dict[str, Any]:
        """Return the payload of a text: the one LangChain built for another text, with this one in its place."""
        *before, asked = self._plain["messages"]
        return {**self._plain, "messages": [*before, {**asked, "content": text}]}

    def _canonical(self, payload: Mapping[str, Any]) -> str:
        return json.dumps([payload, self._schema], sort_keys=True, default=repr, separators=(",", ":"))


def _as_stored(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message without the nulls in what goes back to its provider: a file does not tell them from nothing."""
    kept = {name: tidy(message[name], is_stored=True) for name in RETURNED if name in message}
    return {**message, **kept} if kept else message


def _entry(route: Route, extra_body: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Return who answers when a route does: backend, provider and model, with what only that backend is told."""
    extra = (extra_body or {}).get(route.backend)
    told = [route.backend, route.provider, route.request_model, extra]
    return json.dumps(told, sort_keys=True, default=repr, separators=(",", ":"))


def _hashed(*parts: str | bytes) -> bytes:
    found = blake2b(digest_size=_SIZE, person=_FORMAT)
    for part in parts:
        found.update(part if isinstance(part, bytes) else part.encode())
    return found.digest()
