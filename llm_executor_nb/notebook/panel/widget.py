"""The panel as one anywidget: what it shows, what it is told, and the one thread that does the work.

A message may come in the main thread or in a foreign one, whatever the kernel does; it is put in a queue, and a thread
of the panel's own does what it says, assigns what is shown, and answers. Between messages the same thread looks once a
second, from the moment a front end has drawn the panel. Shared with the browser, and so perhaps saved in a notebook:
labels, last characters, names and counts.
"""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import LLMExecutorError
from llm_executor_nb.core.secret import scrub
from llm_executor_nb.notebook.panel.health import HealthTab
from llm_executor_nb.notebook.panel.keys import KeysTab
from llm_executor_nb.notebook.panel.models import ModelsTab
from llm_executor_nb.notebook.panel.text import text_form
from llm_executor_nb.settings.key_list import KeyText

if TYPE_CHECKING:
    from collections.abc import Mapping

TICK_S = 1.0
_HERE = Path(__file__).parent
_log = logging.getLogger("llm_executor_nb")


class Panel(anywidget.AnyWidget):
    """Keys, models and health, to look at and to change.

    Attributes:
        key_rows, model_rows, route_rows: what the tabs show.
        model_counts: how many models are shown, and how many there are.
        place: the backends a key can be for, and whether a rehearsal is running.
    """

    _esm = (_HERE / "panel.js").read_text(encoding="utf-8")
    _css = (_HERE / "panel.css").read_text(encoding="utf-8")
    key_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    model_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    model_counts: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    route_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    place: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        super().__init__()
        self._keys, self._models, self._health = KeysTab(), ModelsTab(), HealthTab()
        self._tabs: dict[str, KeysTab | ModelsTab | HealthTab] = {
            "keys": self._keys,
            "models": self._models,
            "health": self._health,
        }
        self._worker: threading.Thread | None = None
        self._show()
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return "<llm_executor_nb panel>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - ipywidgets' own signature
        """Return the widget with its text form as the twin, for front ends without widgets and for later readers."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, *metadata = shown if isinstance(shown, tuple) else (shown,)
        return ({**data, "text/plain": text_form()}, *(metadata or [{}]))

    def close(self) -> None:
        """Take the panel away; its thread ends."""
        super().close()
        self._told.put({})

    def _receive(self, _: object, told: dict[str, Any], __: object) -> None:
        """Take a message in whatever thread it comes; of a key only the value goes on, and it is shown nowhere."""
        key = told.pop("key", None)
        self._told.put({**told, "key": KeyText(key) if isinstance(key, str) else key})
        if self._worker is None:
            self._worker = threading.Thread(target=self._serve, name="llm_executor_nb panel", daemon=True)
            self._worker.start()

    def _serve(self) -> None:
        while True:
            try:
                told = self._told.get(timeout=TICK_S)
            except queue.Empty:
                told = {}
            if self.comm is None:
                return
            answer = self._answer(told) if told.get("do") else None
            told = {}
            try:
                self._show()
                if answer is not None:
                    self.send(answer)
            except Exception as error:  # noqa: BLE001 - the next look may go well, and a thread has nobody to raise to
                _log.debug("the panel could not look: %s", type(error).__name__)

    def _answer(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a message says, and tell how that went."""
        try:
            text, is_done = self._tabs[str(told["tab"])].actions[str(told["do"])](told), True
        except LLMExecutorError as error:
            text, is_done = str(error), False
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to, and the panel must go on
            text, is_done = f"That did not work ({type(error).__name__}: {error}).", False
            _log.warning("the panel could not do %s", scrub(f"{told.get('do')}: {type(error).__name__}"))
        return {"id": told.get("id"), "ok": is_done, "text": scrub(text)}

    def _show(self) -> None:
        """Assign what is shown; what is the same is not sent."""
        config = session().options
        self.place = {"backends": list(config.keys.code), "is_practice": config.practice_url is not None}
        self.key_rows, self.model_rows = self._keys.rows(), self._models.rows()
        self.model_counts, self.route_rows = self._models.counts(), self._health.rows(self._models.shown())


_panels: list[Panel] = []


def the_panel() -> Panel:
    """Return the panel of this process, made when there is none or it was closed."""
    if not _panels or _panels[0].comm is None:
        _panels[:] = [Panel()]
    return _panels[0]
