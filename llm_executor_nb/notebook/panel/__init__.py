"""`llm.panel()`: keys, the provider table and the health of every route, to look at and to change.

One widget with three tabs, one file a tab. Every button calls a public function, whose name the text form tells; no
rule lives here. A key comes in by a one-way message and is never part of what the widget shares with the browser.
Importing this loads no widget library; calling `panel()` does.
"""

from __future__ import annotations

import sys
from typing import Any

from llm_executor_nb.notebook.panel.text import text_form


def panel() -> Any:  # noqa: ANN401 - a widget of an optional front end, or nothing
    """Show keys, models and health, with a button for every change. Nothing is sent but by the buttons that say so.

    Where no widgets are, as in a terminal, the same is printed, with the function to call for each change. In a
    notebook there is one panel for all cells: calling it again shows the same one.

    Returns:
        The widget, which shows itself at the end of a cell; None where the text was printed.
    """
    if not _has_widgets():
        print(text_form())  # noqa: T201 - the text form is printed
        return None
    from llm_executor_nb.notebook.panel.widget import the_panel  # noqa: PLC0415 - loads the widget libraries

    return the_panel()


def _has_widgets() -> bool:
    """Say whether a front end that draws widgets may be there: a kernel is, and the libraries are."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    try:
        import anywidget  # noqa: F401, PLC0415 - a front end's library
    except ImportError:
        return False
    return True
