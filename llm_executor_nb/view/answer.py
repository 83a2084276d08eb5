"""What a `%%llm` cell shows: the answer while it arrives and as it stays, and the quiet lines below it."""

from __future__ import annotations

import json
import re
import sys
import threading
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.core.markup import untypeset
from llm_executor_nb.view.html import MOST_RENDERED, Bundle, block, line_part, pre, rest_of, stacked, table_part
from llm_executor_nb.view.live import LiveDisplay, StatusLine, Ticker, frontend
from llm_executor_nb.view.markdown import fenced, harmless, wrapped
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llm_executor_nb.core.attempt import Attempt

_REDRAW_S = 0.1
"""Seconds between two updates of a growing text, at least."""
_WAITING_S = 1.0
"""Seconds between two updates of what is shown before the first text, in a cell."""
_WAITING_LINE_S = 0.5
"""The same in a terminal."""
_FIRST_LINE_S = 0.3
"""Seconds without that line: a quick answer needs none."""
_ONE_LINE = {ord(sign): f"&#{ord(sign)};" for sign in "\n\r$\\`~*_[]@"}
"""Characters that begin something in Markdown or a formula, as HTML that begins nothing."""
_COSTLY = re.compile(r"\$|\\\\|\\begin|\\[()\[\]]")
"""What begins or ends a formula. A browser needs milliseconds for each."""
_MOST_COSTLY = 2_000
_PER_CHARACTER_S, _PER_FORMULA_S = 3e-5, 4e-3
"""Seconds between two updates for what is rendered: a browser is busy for a third of them."""
_UNDECIDED = re.compile(r"(?:\A|\n)[-=+*_#>|`~:.\d)\\$ \t]+\Z")
"""A last line of signs only. The next piece decides what it is: `-` below a text is a heading until the space comes."""
_IN_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
_ATTEMPT_COLUMNS = ("", "route", "outcome", "HTTP", "upstream", "waited s", "took s", "then", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What stands below an answer.

    Attributes:
        attempts: the requests of the run, in order.
        took_s: seconds of the whole run.
        filled: the names of the variables that were filled in.
        remarks: further parts of the line.
        notes: what the user should know, each a line of its own.
        has_attempts: whether the attempts are shown one by one.
    """

    attempts: Sequence[Attempt]
    took_s: float
    filled: Sequence[str] = ()
    remarks: Sequence[str] = ()
    notes: Sequence[str] = ()
    has_attempts: bool = False


def answer_bundle(text: str, form: str, *, cut: str = "") -> Bundle:
    """Return an answer's display.

    Args:
        text: the answer.
        form: md, text or json; an answer that is not JSON is shown as text.
        cut: why it breaks off, in words; empty: it is whole.
    """
    text = plain(text)
    mark = f"[cut: {cut}]" if cut else ""
    as_text = f"{text}\n{mark}" if mark else text
    # a text that was cut is not JSON any more, and falls through
    if form == "json" and (parsed := _json_of(text)) is not None:
        head, rest = _split(parsed)
        return {"text/markdown": fenced(head, "json") + rest, "text/plain": parsed}
    if form == "md":
        head, rest = _split(text)
        ending = f"\n\n**{mark}**" if mark else ""
        return {"text/markdown": wrapped(harmless(head)) + rest + ending, "text/plain": as_text}
    if len(as_text) > MOST_RENDERED:
        return {"text/html": block(pre(as_text)), "text/plain": as_text}
    return {"text/plain": as_text}


def draft_bundle(text: str, form: str) -> Bundle:
    """Return the display of an answer that still grows. Markdown looks as it will in the end, so that nothing jumps."""
    # of a text that is too long to be rendered the end is shown, where it grows
    draft = {"text/plain": plain(text[-MOST_RENDERED:])}
    if form != "md" or len(text) > MOST_RENDERED:
        return draft
    return answer_bundle(_UNDECIDED.sub("", text), form) | draft


def is_json(text: str) -> bool:
    """Whether an answer is JSON, perhaps in a fence."""
    return _json_of(text) is not None


def footer_bundle(footer: Footer) -> Bundle:
    """Return the quiet line: who answered, how long it took, what it cost, what was filled in."""
    return stacked(
        line_part(" · ".join(_footer_words(footer)), "dim small"),
        *(line_part(note, "wait small") for note in footer.notes),
        *([_attempts_part(footer.attempts)] if footer.has_attempts else []),
    )


def _footer_words(footer: Footer) -> list[str]:
    """Return the parts of the quiet line."""
    attempts = footer.attempts
    words = [attempts[-1].route] if attempts else []
    words += [f"{footer.took_s:.1f} s", *_tokens(attempts)]
    if cost := sum(attempt.cost_usd or 0 for attempt in attempts):
        words.append(dollars(cost))
    if len(attempts) > 1:
        words.append(f"{len(attempts)} attempts: " + ", ".join(attempt.outcome.value for attempt in attempts))
    if attempts and attempts[-1].finish_reason == "length":
        words.append("ends at max_tokens")
    if footer.filled:
        words.append("filled in: " + ", ".join(footer.filled))
    return [*words, *footer.remarks]


def _attempts_part(attempts: Sequence[Attempt]) -> Bundle:
    rows = [
        (
            *(a.attempt, a.route, a.outcome.value, a.http_status, a.upstream),
            *(a.wait_s, a.duration_s, a.decision.value, a.message),
        )
        for a in attempts
    ]
    return table_part(_ATTEMPT_COLUMNS, rows)


def _tokens(attempts: Sequence[Attempt]) -> list[str]:
    if not attempts or attempts[-1].input_tokens is None or attempts[-1].output_tokens is None:
        return []
    return [f"tokens {attempts[-1].input_tokens} in, {attempts[-1].output_tokens} out"]


def _split(text: str) -> tuple[str, str]:
    """Return what is rendered of a text, and the rest as one line of HTML, which all of Markdown leaves alone."""
    costly = islice(_COSTLY.finditer(text, 0, MOST_RENDERED), _MOST_COSTLY, None)
    most = next((one.start() for one in costly), MOST_RENDERED)
    if len(text) <= most:
        return text, ""
    end = text.rfind("\n", 0, most)
    end = end if end > most // 2 else most
    return text[:end], "\n\n" + untypeset(rest_of(text[end:]).translate(_ONE_LINE))


def _json_of(text: str) -> str | None:
    fenced_text = _IN_FENCE.fullmatch(text)
    try:
        value: Any = json.loads(fenced_text[1] if fenced_text else text)
    except ValueError:
        return None
    return json.dumps(value, indent=2, ensure_ascii=False)


class CellAnswer:
    """Draws in one display of a kernel: what has arrived while it grows, the whole bundle at the end.

    A ticker updates it, so that a fast stream costs no more than a slow one; a long text is drawn less often.

    Args:
        form: md, text or json.
    """

    def __init__(self, form: str = "text") -> None:
        self._form = form
        self._pause_s = _REDRAW_S
        self._display = LiveDisplay()
        self._text = ""
        self._drawn = 0
        self._waiting: Callable[[], str] = str
        self._lock = threading.Lock()
        self._ticker = Ticker(self._tick, every_s=_REDRAW_S / 4, first_s=_REDRAW_S / 4)

    def begin(self, waiting: Callable[[], str]) -> None:
        """Make the display; `waiting` returns what it shows until the first text arrives."""
        self._waiting = waiting
        self._display.show(_text_bundle(waiting()))
        self._ticker.start()

    def add(self, piece: str) -> None:
        """Keep a piece for the next update; draw the first one at once."""
        self._text += piece
        if not self._drawn and self._text.strip():  # the first text at once: the wait for it is what a user feels
            with self._lock:
                self._draw()

    def end(self, bundle: Bundle) -> None:
        """Replace the text by the whole answer."""
        self.close()
        self._display.update(bundle)

    def give_up(self) -> None:
        """Leave an empty display."""
        self.close()
        self._display.clear()

    def close(self) -> None:
        """Draw nothing more."""
        self._ticker.stop()

    def _tick(self) -> None:
        with self._lock:
            age_s = self._display.age_s
            if not self._text.strip():
                if age_s >= _WAITING_S:
                    self._display.update(_text_bundle(self._waiting()))
            elif age_s >= self._pause_s:
                self._draw()

    def _draw(self) -> None:
        if len(text := self._text) > self._drawn:
            self._drawn = len(text)
            bundle = draft_bundle(text, self._form)
            self._pause_s = max(_REDRAW_S, _rendering_s(bundle.get("text/markdown", "")))
            self._display.update(bundle)


class TerminalAnswer:
    """Writes the pieces as they arrive: a terminal would print every update below the last.

    Until the first piece a line says what is waited for. It goes to stderr, so a pipe from stdout holds answers alone.
    """

    def __init__(self) -> None:
        self._written = ""
        self._line = StatusLine(sys.stderr)
        self._waiting: Callable[[], str] = str
        self._ticker = Ticker(self._tick, every_s=_WAITING_LINE_S, first_s=_FIRST_LINE_S)

    def begin(self, waiting: Callable[[], str]) -> None:
        """Start the line, where it can be taken away again; `waiting` returns its words."""
        self._waiting = waiting
        if frontend() == "terminal":
            self._ticker.start()

    def add(self, piece: str) -> None:
        """Write a piece."""
        if piece:
            self._write(plain(piece))

    def end(self, bundle: Bundle) -> None:
        """Write what is not written yet, and a line break."""
        whole = bundle["text/plain"]
        self._write(whole.removeprefix(self._written) + "\n" if self._written else whole + "\n")

    def give_up(self) -> None:
        """Leave what was written of an answer, and nothing of the line."""
        self.close()

    def close(self) -> None:
        """Write nothing more of the wait, and leave nothing of it."""
        self._ticker.stop()
        self._line.clear()

    def _tick(self) -> None:
        self._line.write(self._waiting())

    def _write(self, text: str) -> None:
        self.close()
        self._written += text
        sys.stdout.write(text)
        sys.stdout.flush()


AnswerDisplay = CellAnswer | TerminalAnswer


def make_answer_display(form: str) -> AnswerDisplay:
    """Return the display that suits the front end, for an answer in a form: md, text or json."""
    return CellAnswer(form) if frontend() == "kernel" else TerminalAnswer()


def _rendering_s(markdown: str) -> float:
    return len(markdown) * _PER_CHARACTER_S + sum(1 for _ in _COSTLY.finditer(markdown)) * _PER_FORMULA_S


def _text_bundle(text: str) -> Bundle:
    return {"text/plain": plain(text)}
