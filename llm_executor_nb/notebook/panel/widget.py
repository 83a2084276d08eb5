"""The panel as one anywidget: its state, its messages, and the one thread that does the work.

A message may arrive in the main thread or in another one. It goes into a queue; a thread of the panel's own carries it
out, updates the state, and replies. Between messages the same thread updates the state once a second, from the moment
a front end has drawn the panel. The state is shared with the browser and may be saved in a notebook, so it holds
labels, last characters, names and counts only.
"""

from __future__ import annotations

import logging
import queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import LLMExecutorError, collected_warnings
from llm_executor_nb.core.foreign_text import scrub, shorten
from llm_executor_nb.notebook.panel.fields import FieldRefusedError
from llm_executor_nb.notebook.panel.health import ACTIONS, route_rows
from llm_executor_nb.notebook.panel.keys import KeysTab
from llm_executor_nb.notebook.panel.models import ModelsTab
from llm_executor_nb.notebook.panel.text import text_form
from llm_executor_nb.settings.key_list import KeyText
from llm_executor_nb.view.live import widget_thread

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

_HERE = Path(__file__).parent
SCRIPTS = ("elements.js", "keys.js", "models.js", "panel.js")
"""The parts of the one script that the browser gets."""
_log = logging.getLogger("llm_executor_nb")


class Panel(anywidget.AnyWidget):
    """Keys, models and health, to look at and to change.

    Attributes:
        key_rows, model_rows, route_rows: what the tabs show.
        model_counts: how many models are shown, and how many the table has.
        offers: the models that a search of the catalogue found.
        place: the backends that take keys, the page of a sign-in, and whether a rehearsal is running.

    Args:
        every_s: seconds between two updates while no message arrives.
    """

    _esm = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    _css = (_HERE / "panel.css").read_text(encoding="utf-8")
    key_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    model_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    model_counts: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    offers: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    route_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    place: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(self, *, every_s: float = 1.0) -> None:
        self._every_s = every_s
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        super().__init__()
        self._keys, self._models = KeysTab(), ModelsTab()
        self._actions = {"keys": self._keys.actions, "models": self._models.actions, "health": ACTIONS}
        self._worker: threading.Thread | None = None
        self._show()
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return "<llm_executor_nb panel>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - ipywidgets' own signature
        """Return the widget with its text form beside it, for front ends without widgets and for later readers."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, *metadata = shown if isinstance(shown, tuple) else (shown,)
        return ({**data, "text/plain": text_form()}, *(metadata or [{}]))

    def close(self) -> None:
        """Take the panel away; its thread ends."""
        super().close()
        self._messages.put({})

    def _receive(self, _: object, message: dict[str, Any], __: object) -> None:
        """Queue a message, in whatever thread it arrives. A key is taken out of it, so that no trace shows it."""
        # design 6: a key goes in one way; an error or a log may repeat the message
        key = message.pop("key", None)
        self._messages.put({**message, "key": KeyText(key) if isinstance(key, str) else key})
        if self._worker is None:
            self._worker = widget_thread(self._serve, "llm_executor_nb panel")
            self._worker.start()

    def _serve(self) -> None:
        while True:
            try:
                message = self._messages.get(timeout=self._every_s)
            except queue.Empty:
                message = {}
            if self.comm is None:  # closed
                return
            reply = self._carry_out(message) if message.get("do") else None
            message = {}  # it may hold a key, and this frame waits for a long time
            try:
                self._show()
                if reply is not None:
                    self.send(reply)
            except Exception as error:  # noqa: BLE001 - the next update may succeed, and a thread cannot raise to anyone
                _log.debug("the panel could not be updated: %s", type(error).__name__)

    def _carry_out(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a message; return the reply, which says how that went, and which field it is about."""
        with collected_warnings() as warned:  # a warning of this thread would stand below a cell that has no part in it
            text, is_done, field = self._outcome_of(message)
        words = " ".join(filter(None, (text, *warned)))
        return {"id": message.get("id"), "ok": is_done, "text": scrub(words), **({"field": field} if field else {})}

    def _outcome_of(self, message: Mapping[str, Any]) -> tuple[str, bool, str]:
        """Carry out a message; return what is said of it, whether it was done, and which field was refused."""
        try:
            return self._actions[str(message["tab"])][str(message["do"])](message), True, ""
        except FieldRefusedError as refused:
            return str(refused), False, refused.field
        except LLMExecutorError as error:
            return str(error), False, ""
        except Exception as error:  # noqa: BLE001 - a thread cannot raise to anyone, and the panel must go on
            _log.warning("the panel could not do %s", shorten(f"{message.get('do')}: {type(error).__name__}"))
            return f"That did not work ({shorten(f'{type(error).__name__}: {error}')}).", False, ""

    def _show(self) -> None:
        """Update the state; traitlets sends only what has changed."""
        config = session().options
        self.place = {
            "backends": list(config.keys.code),
            "sign_in": self._keys.sign_in_url(),
            "is_practice": config.practice_url is not None,
        }
        self.key_rows, self.model_rows = self._keys.rows(), self._models.rows()
        self.model_counts, self.route_rows = self._models.counts(), route_rows(self._models.shown())
        self.offers = self._models.offers()


_panels: list[Panel] = []


def the_panel() -> Panel:
    """Return the panel of this process; make it when there is none or it was closed."""
    if not _panels or _panels[0].comm is None:
        _panels[:] = [Panel()]
    return _panels[0]
