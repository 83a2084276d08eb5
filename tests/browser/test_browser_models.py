"""The panel's sign-in and its search of all models in a real JupyterLab, by mouse and by keyboard."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.browser
PRACTICE = "practice = llm.rehearse('openrouter: 401').start()"
PANEL = "llm.panel()"
ASK = "%%llm short\nWho answers?"
ANSWERED = "print(llm.attempts()['route'].iloc[-1], llm.models.row('short'))"


def panel_of(notebook):
    """Return the panel below the cell that shows it."""
    return notebook.output(2).get_by_role("region", name="Keys, models and health of llm_executor_nb")


def opened(notebook, tab="Keys"):
    """Run the first cells, and return the panel with a tab open."""
    notebook.run(1)
    notebook.run(2)
    panel = panel_of(notebook)
    panel.get_by_role("tab", name=tab).click()
    return panel


def done(panel, kind="good"):
    """Wait until the kernel has answered."""
    panel.locator(f"[role=status].{kind}").wait_for()


def providers_of(panel, model):
    """Return the providers of a model, as its card lists them."""
    return panel.get_by_role("region", name=model, exact=True).locator(".provider").all_inner_texts()
