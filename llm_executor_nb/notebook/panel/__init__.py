"""`llm.panel()`: keys, the provider table and the health of every route, to look at and to change.

One widget with three tabs, one file a tab. Every button calls a public function, which the text form names; no rule
lives here. A key arrives by a one-way message and is never part of what the widget shares with the browser.
Importing this loads no widget library; calling `panel()` in a kernel does.
"""

from __future__ import annotations

from typing import Any

from llm_executor_nb.notebook.panel.text import text_form
from llm_executor_nb.view.live import has_widgets


def panel() -> Any:  # noqa: ANN401 - a widget, or nothing
    """Show keys, models and health, with a button for every change. Only the buttons that say so send a request.

    Where no one can press a button, as in a terminal or a notebook that is run by a program, the same is printed, with
    the function to call for each change. A notebook has one panel for all cells: calling this again shows the same one.

    Returns:
        The widget, which shows itself at the end of a cell; None where the text was printed.
    """
    if not has_widgets():
        print(text_form())  # noqa: T201 - the text form is printed
        return None
    from llm_executor_nb.notebook.panel.widget import the_panel  # noqa: PLC0415 - loads the widget libraries

    return the_panel()
