"""The Stop button in the browser. Importing this loads the widget libraries, so it is done when one is to be shown.

A press interrupts the kernel from the browser, like ■ in the toolbar, while a cell waits for the job; for a job that
nobody waits for it sends a message, which the kernel takes as soon as it is free. It draws nothing where the browser
has no way to the kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent


class StopWidget(anywidget.AnyWidget):
    """One button.

    Args:
        stop: called when it is pressed; None: the browser interrupts the kernel.
    """

    _esm = (_HERE / "stop.js").read_text(encoding="utf-8")
    _css = (_HERE / "stop.css").read_text(encoding="utf-8")
    is_interrupt = traitlets.Bool().tag(sync=True)

    def __init__(self, stop: Callable[[], object] | None) -> None:
        self._stop = stop
        super().__init__(is_interrupt=stop is None)
        self.on_msg(self._receive)

    def bundle(self) -> dict[str, Any]:
        """Return what a display of it takes; its text is empty, since the block above says how to stop."""
        shown: Any = self._repr_mimebundle_()  # a pair in anywidget, a dict in ipywidgets
        return {**(shown[0] if isinstance(shown, tuple) else shown), "text/plain": ""}

    def _receive(self, _: object, told: Any, __: object) -> None:  # noqa: ANN401 - whatever the browser sends
        if self._stop is not None and told == {"do": "stop"}:
            self._stop()
