"""The requests of a job: their payloads, the digest that makes two of them equal, and the order they are drawn in.

A digest covers what is sent: messages, parameters that were set, schema. It never covers keys, bounds or row numbers.
An answer is stored under a request key: the digest together with who answered (backend, provider, model).
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from llm_executor_nb.chain.policies import check_texts_stay
from llm_executor_nb.chain.request import check_alone, split_request
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.messages import tidy
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.providers.returned import RETURNED
from llm_executor_nb.store.records import Lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.jobs.options import Copies, JobOptions

_FORMAT = b"llm-request-1"
"""The version of the digests; a change of what goes into them needs another one."""
_SIZE = 16
_PLACEHOLDER = "\u2042 the text of a row \u2042"
_BLOCK = 512
_BYTES_PER_TOKEN = 4
_TRIES = 32
"""Random draws of a row before the next in turn is taken."""


@dataclass  # without slots, for what is counted once
class Request:
    """One request of a job.

    Attributes:
        position: the first row that asks it.
        payload: the body without `model`; None: the cell is not a request.
        wanted: what is looked for in the ledger, and claimed.
        error: why the cell is not a request; None: it is one.
    """

    position: int
    payload: Mapping[str, Any] | None
    wanted: Lookup
    error: ConfigError | None = None

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that an answer may have; None: no bound was set."""
        return (self.payload or {}).get("max_tokens")

    @cached_property
    def tokens(self) -> int:
        """An estimate of the tokens of its messages."""
        return sum(estimated_tokens(str(message.get("content", ""))) for message in self._messages)

    @cached_property
    def size(self) -> int:
        """The bytes of its payload in UTF-8. A text has no more tokens than bytes."""
        return _size(json.dumps(self.payload, ensure_ascii=False, default=repr))

    @cached_property
    def is_text(self) -> bool:
        """Whether its messages hold nothing but text; the tokens of a picture are not known from its bytes."""
        contents = (message.get("content") for message in self._messages)
        parts = (part for content in contents if isinstance(content, list) for part in content)
        return all(isinstance(part, str) or part.get("type") == "text" for part in parts)

    @property
    def _messages(self) -> Sequence[Mapping[str, Any]]:
        messages: Sequence[Mapping[str, Any]] = (self.payload or {}).get("messages", ())
        return messages


def estimated_tokens(text: str) -> int:
    """Return an estimate of the tokens of a text: four bytes in UTF-8 count as one."""
    # Bytes, not characters: a Chinese character is about one token, and has three bytes.
    return -(-_size(text) // _BYTES_PER_TOKEN)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


class RequestMaker:
    """Makes the requests of one job.

    Args:
        options: what all rows share.
        taken: runs whose answers other rows have already; matters only above temperature 0.
        copies: how the copies of a request are numbered in a part of a job; None: the whole job is here.

    Attributes:
        last_copies: above temperature 0 the number of the last copy of a request, by its digest.
    """

    def __init__(self, options: JobOptions, taken: Iterable[str] = (), copies: Copies | None = None) -> None:
        self._params, self._system = options.params, options.system
        self._schema = "" if options.schema is None else options.schema.digest_text
        self._may_take, self._policy, self._chain = options.may_take, options.policy, options.chain
        entries = {_server(route): _entry(route, options.extra_body) for route in options.chain.routes()}
        self._entries = list(entries.values())
        self._places = {server: place for place, server in enumerate(entries)}
        # LangChain builds one payload per job; a row of plain text only puts its text into it.
        self._template = make_payload(_PLACEHOLDER, options.params, system=options.system)
        self._around_text = self._canonical(self._template).split(json.dumps(_PLACEHOLDER))
        self._copies = copies
        before = copies.before if copies is not None else {}
        self.last_copies: dict[bytes, int] = {digest: count - 1 for digest, count in before.items()}
        self._taken = set(taken)

    def make(self, position: int, content: object) -> Request:
        """Return the request of a row.

        Args:
            position: the row.
            content: its cell or its filled template; an error: the cell is not a request.
        """
        try:
            if isinstance(content, ConfigError):
                raise content
            payload, digest = self._payload_and_digest(content)
        except ConfigError as error:  # design 3.1: one row never takes another row down
            return Request(position, None, Lookup(digest=_hashed(f"row {position}"), keys=(), copy=None), error)
        keys = tuple(_hashed(digest, entry) for entry in self._entries)
        if not payload.get("temperature"):
            return Request(position, payload, Lookup(digest=digest, keys=keys, copy=None, may_take=self._may_take))
        # design 6: above temperature 0 each row gets a draw of its own, so equal requests are numbered copies
        copy = self.last_copies.get(digest, -1) + 1
        self.last_copies[digest] = copy
        numbered = _hashed(digest, f"copy {copy}")
        if self._copies is not None:  # no process knows what the others have taken: each copy is a request of its own
            numbered = _hashed(numbered, self._copies.draws)
            keys = tuple(_hashed(numbered, entry) for entry in self._entries)
            return Request(position, payload, Lookup(digest=numbered, keys=keys, copy=None, may_take=self._may_take))
        lookup = Lookup(digest=numbered, keys=keys, copy=copy, taken=self._taken, may_take=self._may_take)
        return Request(position, payload, lookup)

    def mark_taken(self, request: Request, run_id: str) -> None:
        """Note that a request has the answer of a run, so that no other copy of the request takes it."""
        if request.wanted.copy is not None:
            self._taken.add(run_id)

    def key_of(self, request: Request, answered: Attempt) -> bytes:
        """Return the request key under which the answer of an attempt is stored."""
        return request.wanted.keys[self._places[_server(answered)]]

    def _payload_and_digest(self, content: object) -> tuple[Mapping[str, Any], bytes]:
        if isinstance(content, str) and content.strip() and len(self._around_text) == 2:
            return self._filled(content), _hashed(json.dumps(content).join(self._around_text))
        messages, params = split_request(content, self._params)
        if self._schema:
            check_alone(params, None)
        payload = make_payload(messages, params, system=self._system)
        if "tools" in payload:  # a cell may bring its own
            check_texts_stay(self._policy, self._chain, payload)
        return payload, _hashed(self._canonical({**payload, "messages": [*map(_as_stored, payload["messages"])]}))

    def _filled(self, text: str) -> dict[str, Any]:
        """Return the job's payload with a text in place of the placeholder."""
        *before, last = self._template["messages"]
        return {**self._template, "messages": [*before, {**last, "content": text}]}

    def _canonical(self, payload: Mapping[str, Any]) -> str:
        return json.dumps([payload, self._schema], sort_keys=True, default=repr, separators=(",", ":"))


def _as_stored(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message without the nulls in the fields that go back to a provider.

    A Parquet file writes null for a field that was never there, and both must have the same digest.
    """
    returned = {name: tidy(message[name], is_stored=True) for name in RETURNED if name in message}
    return {**message, **returned} if returned else message


def _server(route: Route | Attempt) -> tuple[str, str | None, str]:
    """Return who answers on a route: backend, provider and model."""
    return route.backend, route.provider, route.request_model


def _entry(route: Route, extra_body: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Return who answers on a route as JSON, with its backend's part of `extra_body`."""
    parts = [*_server(route), (extra_body or {}).get(route.backend)]
    return json.dumps(parts, sort_keys=True, default=repr, separators=(",", ":"))


def _hashed(*parts: str | bytes) -> bytes:
    digest = blake2b(digest_size=_SIZE, person=_FORMAT)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
    return digest.digest()


# --- the order in which rows are drawn --------------------------------------------------------------------------


class PromptSource(Protocol):
    """The prompts of a job, by the number of their row from 0.

    Attributes:
        is_asked: per row, 1 where it is asked and 0 where it is skipped.
    """

    is_asked: bytearray

    def __len__(self) -> int: ...

    def window(self, start: int, stop: int) -> list[object | None]:
        """Return the contents of some rows; an error stands for a cell that is not a request."""

    def label(self, position: int) -> str:
        """Return the label of a row, as the attempt log shows it."""


class RequestQueue:
    """The distinct requests of a job's rows; a row with a request that was drawn before shares its result.

    The frame fills from its top, block by block. Within a block the rows are drawn at random. While a route is in
    doubt, rows are drawn from the whole frame. The reasons are beside the code.

    Args:
        prompts: the rows.
        maker: makes the requests.
        share: called with a row and the first row that has the same request.
        keeps_order: draw the rows of a block in their order. `take_at_random` draws from anywhere all the same.
    """

    def __init__(
        self, prompts: PromptSource, maker: RequestMaker, share: Callable[[int, int], None], *, keeps_order: bool
    ) -> None:
        self._prompts, self._maker, self._share = prompts, maker, share
        self._next = 0
        self._block: list[tuple[int, object]] = []
        self._out_of_turn: set[int] = set()
        self._put_back: deque[Request] = deque()
        self._firsts: dict[bytes, int] = {}
        self._random = random.Random(len(prompts))  # noqa: S311 - not a secret; an equal frame is drawn in equal order
        self.keeps_order = keeps_order

    @property
    def is_empty(self) -> bool:
        """Whether all rows were drawn."""
        return self._is_at_end and not self._block and not self._put_back

    def put_back(self, requests: Iterable[Request]) -> None:
        """Take back requests that were not begun."""
        self._put_back.extend(requests)

    def take(self, count: int) -> list[Request]:
        """Return the next distinct requests, at most `count`."""
        requests = [self._put_back.popleft() for _ in range(min(count, len(self._put_back)))]
        while len(requests) < count and (self._block or not self._is_at_end):
            if not self._block:
                self._open_block()
            while self._block and len(requests) < count:
                requests += self._drawn(*self._block.pop())
        self._forget_at_end()
        return requests

    def take_at_random(self) -> list[Request]:
        """Return one request of those that are left; none if its row shares the result of another row.

        design 3.2: the probe of a hold is drawn at random from the rows not begun. Rows that fail by their own fault
        often stand together, and a probe among them would keep a healthy route on hold.
        """
        not_read = len(self._prompts) - self._next
        number = self._random.randrange(len(self._put_back) + len(self._block) + not_read)
        if number < len(self._put_back):
            self._put_back.rotate(-number)
            return [self._put_back.popleft()]
        number -= len(self._put_back)
        if number >= len(self._block):
            return self._take_from_rest(not_read)
        requests = self._drawn(*self._block.pop(number))
        self._forget_at_end()
        return requests

    def _take_from_rest(self, not_read: int) -> list[Request]:
        """Return one request from below the open block; the next in turn if the random draws hit none."""
        for _ in range(_TRIES):
            position = self._next + self._random.randrange(not_read)
            if self._prompts.is_asked[position] and position not in self._out_of_turn:
                self._out_of_turn.add(position)
                return self._drawn(position, self._prompts.window(position, position + 1)[0])
        return self.take(1)

    @property
    def _is_at_end(self) -> bool:
        return self._next >= len(self._prompts)

    def _open_block(self) -> None:
        start, self._next = self._next, min(self._next + _BLOCK, len(self._prompts))
        rows = enumerate(self._prompts.window(start, self._next), start)
        self._block = [row for row in rows if row[1] is not None and row[0] not in self._out_of_turn]
        self._out_of_turn -= set(range(start, self._next))
        if self.keeps_order:
            # Copies above temperature 0 are numbered as they are drawn. Two processes at one frame buy the fewest
            # answers twice when both go through it in the same order.
            self._block.reverse()  # rows are taken from its end
        else:
            # design 3.2: a streak counts distinct rows. Where failing rows stand together, an answered row between
            # them shows in time that the route is healthy.
            self._random.shuffle(self._block)

    def _forget_at_end(self) -> None:
        if self._is_at_end and not self._block:
            self._firsts.clear()  # no row is left that could have the same request

    def _drawn(self, position: int, content: object) -> list[Request]:
        request = self._maker.make(position, content)
        first = self._firsts.setdefault(request.wanted.digest, request.position)
        if first == request.position:
            return [request]
        self._share(request.position, first)
        return []
