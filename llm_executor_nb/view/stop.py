"""The Stop button in the browser. Importing this loads the widget libraries, so it is done when one is shown.

It is for a job that nobody waits for: it sends a message, which the kernel receives as soon as it is free.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent


class StopWidget(anywidget.AnyWidget):
    """One button.

    Args:
        stop: called when it is pressed.
    """

    _esm = (_HERE / "stop.js").read_text(encoding="utf-8")
    _css = (_HERE / "stop.css").read_text(encoding="utf-8")

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        super().__init__()
        self.on_msg(self._receive)

    def bundle(self) -> dict[str, Any]:
        """Return its MIME bundle. The text is empty, because the block above it says how to stop."""
        bundle: Any = self._repr_mimebundle_()  # a pair in anywidget, a dict in ipywidgets
        return {**(bundle[0] if isinstance(bundle, tuple) else bundle), "text/plain": ""}

    def _receive(self, _: object, message: Any, __: object) -> None:  # noqa: ANN401 - whatever the browser sends
        if message == {"do": "stop"}:
            self._stop()
