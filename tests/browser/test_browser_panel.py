"""The panel in a real JupyterLab: a key goes in and is nowhere to be found; an edited table is used at once."""

from __future__ import annotations

import json
import sqlite3

import pytest

from llm_executor_nb.settings.shipped_models import SHIPPED

pytestmark = pytest.mark.browser
CANARY = "sk-or-v1-canary-typed-in-the-panel-7f3a"
PRACTICE = """
practice = llm.rehearse(openrouter_keys=0).start()
"""
PANEL = "llm.panel()"


def panel_of(notebook):
    """Return the panel below the cell that shows it."""
    return notebook.output(2).get_by_role("region", name="Keys, models and health of llm_executor_nb")


def files_below(folder):
    """Return the files of a folder that hold the canary."""
    return [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_a_key_typed_in_is_used_and_is_in_no_file_no_saved_state_and_no_history(lab):
    with lab.notebook("keys", PRACTICE, PANEL, "print([key.shown for key in llm.keys])") as notebook:
        frames: list[str] = []
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        panel.get_by_label("API key").fill(CANARY)
        panel.get_by_role("textbox", name="Label", exact=True).fill("mine")
        panel.get_by_role("button", name="Add key").click()
        panel.get_by_role("button", name="Test mine").wait_for()
        assert panel.get_by_label("API key").input_value() == ""
        panel.get_by_role("button", name="Test mine").click()
        notebook.page.wait_for_function(
            "() => !['', '…'].includes(document.querySelector('.llm-panel [role=status]').textContent)"
        )
        told = panel.get_by_role("status").inner_text()
        assert CANARY not in told
        notebook.run(3)
        assert "mine ..7f3a" in notebook.text(3)
        saved = notebook.save()
        frames.append(json.dumps(saved))
        state = notebook.page.evaluate("() => JSON.stringify(Object.values(localStorage)) + document.body.innerHTML")
    assert CANARY not in "".join(frames)
    assert CANARY not in state
    assert files_below(lab.folder) == []
    for history in (lab.folder / "ipython").rglob("history.sqlite"):
        with sqlite3.connect(history) as kept:
            assert not kept.execute("select 1 from history where source like ?", (f"%{CANARY}%",)).fetchall()


def test_an_edited_provider_table_is_used_by_the_next_cell(lab):
    cells = [
        "practice = llm.rehearse('openrouter: 401').start()",
        PANEL,
        "%%llm gemma\nWho answers?",
        "print(llm.attempts()['provider'].dropna().iloc[-1], dict(llm.MODEL_INFERENCE_PROVIDERS))",
    ]
    with lab.notebook("models", *cells) as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        panel.get_by_role("tab", name="Models").click()
        field = panel.get_by_role("textbox", name="Add provider to google/gemma-3-27b-it")
        field.fill("newprovider")
        field.press("Enter")
        moved = panel.get_by_role("button", name="Move newprovider up")
        for _ in range(3):
            moved.first.click()
            notebook.page.wait_for_timeout(400)
        notebook.run(3)
        notebook.run(4)
        assert notebook.text(4).startswith("newprovider")


def test_what_was_typed_stays_when_it_is_refused_but_never_the_key(lab):
    with lab.notebook("refused", PRACTICE, PANEL) as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        label, key = panel.get_by_role("textbox", name="Label", exact=True), panel.get_by_label("API key")
        for typed, is_kept in ((f"{CANARY} and more", True), (CANARY, False)):
            key.fill(typed)
            label.fill("mine")
            panel.get_by_role("button", name="Add key").click()
            panel.locator(f"[role=status].{'bad' if is_kept else 'good'}").wait_for()
            assert key.input_value() == ""
            assert label.input_value() == ("mine" if is_kept else "")
        panel.get_by_role("tab", name="Models").click()
        names = [panel.get_by_role("textbox", name=name, exact=True) for name in ("Model", "Providers", "Alias")]
        for field, text in zip(names, ("google/gemma-3-27b-it", "scaleway", "short"), strict=True):
            field.fill(text)
        panel.get_by_role("button", name="Add model").click()
        panel.locator("[role=status].bad").wait_for()
        assert [field.input_value() for field in names] == ["google/gemma-3-27b-it", "scaleway", "short"]
        names[0].fill("maker/other")
        panel.get_by_role("button", name="Add model").click()
        panel.locator("[role=status].good").wait_for()
        assert [field.input_value() for field in names] == ["", "", ""]
        alias = panel.get_by_role("textbox", name="Add alias to maker/other")
        for typed, left in (("google/gemma-3-27b-it", "google/gemma-3-27b-it"), ("other", "")):
            alias.fill(typed)
            alias.press("Enter")
            panel.locator(f"[role=status].{'bad' if left else 'good'}").wait_for()
            assert alias.input_value() == left


def test_in_a_large_table_models_are_found_by_a_part_of_their_name(lab):
    large = PRACTICE + "for number in range(10_000): llm.models.add(f'maker/model-{number}', providers=['a'])"
    with lab.notebook("large", large, PANEL) as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        panel.get_by_role("tab", name="Models").click()
        cards = panel.locator(".card")
        assert cards.count() == 25
        assert f"25 of {10_000 + len(SHIPPED):,} models" in panel.inner_text()
        notebook.shoot("panel-large")
        panel.get_by_role("searchbox", name="Find in the table").type("Model-777")
        panel.get_by_text("11 of 11 models").wait_for()
        assert cards.count() == 11
        notebook.shoot("panel-found")
        assert notebook.faults(panel) == []


def test_the_panel_is_worked_by_keyboard_alone(lab):
    with lab.notebook("keyboard", PRACTICE, PANEL, "print([key.shown for key in llm.keys])") as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        panel.get_by_role("tab", name="Keys").focus()
        press = notebook.page.keyboard.press
        press("ArrowRight")
        assert panel.get_by_role("tab", name="Models").get_attribute("aria-selected") == "true"
        press("End")
        assert panel.get_by_role("tab", name="Health").get_attribute("aria-selected") == "true"
        press("Home")
        panel.get_by_label("API key").focus()
        notebook.page.keyboard.insert_text(CANARY)
        press("Enter")
        panel.get_by_role("button", name="Remove", exact=False).first.wait_for()
        cells = notebook.page.locator(".jp-Notebook .jp-CodeCell").count()
        panel.get_by_role("button", name="Add key").focus()
        press("b")
        assert notebook.page.locator(".jp-Notebook .jp-CodeCell").count() == cells
        notebook.run(3)
        assert "..7f3a" in notebook.text(3)


def test_nothing_of_the_panel_is_cut_off_and_its_text_has_contrast(lab):
    with lab.notebook("looks", "practice = llm.rehearse().start()", PANEL) as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        for look in notebook.looks((1280, 800, 320)):
            for name in ("Keys", "Models", "Health"):
                panel.get_by_role("tab", name=name).click()
                assert notebook.faults(panel) == [], f"{name}, {look}"
                notebook.shoot(f"panel-{name}-{look}")


PLACES = """panel => [...panel.querySelectorAll('.keys button')].filter(one => one.offsetParent).map(one => {
  const box = one.getBoundingClientRect();
  return [one.getAttribute('aria-label') || one.textContent, box.left, box.top].join(' ');
})"""


@pytest.mark.parametrize("width", [1280, 800, 320])
def test_the_buttons_of_a_row_stay_where_they_are_whatever_is_said_of_its_key(lab, width):
    practice = "practice = llm.rehearse('openrouter[1]: 401; openrouter[2]: 402').start()"
    with lab.notebook("places", practice, PANEL, "llm.run_llm('gemma', 'x')") as notebook:
        notebook.run(1)
        notebook.run(2)
        notebook.page.set_viewport_size({"width": width, "height": 1200})
        panel = panel_of(notebook)
        panel.get_by_role("button", name="Test key 1").first.wait_for()
        before = panel.evaluate(PLACES)
        for name in ("Test key 1", "Test key 2", "Disable key 2", "Enable key 2"):
            panel.get_by_role("button", name=name, exact=True).first.click()
            panel.locator("[role=status]:not(.wait, :empty)").wait_for()
        panel.get_by_text("does not work").first.wait_for()
        assert panel.evaluate(PLACES) == before
        notebook.page.set_viewport_size(
            {"width": 1280, "height": 1200}
        )  # a narrow Lab hides what tells that a cell ran
        notebook.run(3)
        panel.get_by_text("on hold (auth)").first.wait_for()
        notebook.page.set_viewport_size({"width": width, "height": 1200})
        assert panel.evaluate(PLACES) == before


def test_what_removes_asks_first_and_escape_leaves_it(lab):
    with lab.notebook("asks", "practice = llm.rehearse(openrouter_keys=2).start()", PANEL) as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        remove = panel.get_by_role("button", name="Remove key 1").first
        sure = panel.get_by_role("button", name="Sure? Remove key 1")
        remove.click()
        sure.wait_for()
        assert "Remove key 1 ..0001?" in panel.locator(".known .spot.wait").inner_text()
        notebook.page.keyboard.press("Escape")
        sure.wait_for(state="detached")
        assert panel.locator(".keys code").all_inner_texts() == ["..0001", "..0002", "..0001"]
        for _ in range(2):
            notebook.page.keyboard.press("Enter")
        panel.get_by_text("Removed key 1 ..0001").wait_for()
        panel.locator(".keys code").nth(2).wait_for(state="detached")
        assert panel.get_by_role("button", name="Test key 2").count() == 1  # the other keys keep their labels
        panel.get_by_role("tab", name="Models").click()
        card = panel.get_by_role("region", name="google/gemma-3-27b-it")
        card.get_by_role("button", name="Remove scaleway from google/gemma-3-27b-it").click()
        card.get_by_role("button", name="Move scaleway up").click()
        panel.locator("[role=status].good").wait_for()
        assert card.get_by_text("scaleway", exact=True).count() == 1


def test_an_error_stands_beside_its_field(lab):
    with lab.notebook("fields", PRACTICE, PANEL) as notebook:
        notebook.run(1)
        notebook.run(2)
        panel = panel_of(notebook)
        panel.get_by_role("button", name="Add key").click()
        key = panel.get_by_label("API key")
        assert key.get_attribute("aria-invalid") == "true"
        told = panel.locator(f"[id='{key.get_attribute('aria-describedby')}']")
        assert told.inner_text() == "Paste a key first."
        key.fill(CANARY)
        panel.get_by_role("textbox", name="Label", exact=True).fill("x" * 60)
        panel.get_by_role("button", name="Add key").click()
        panel.get_by_text("A label is a text of 1 to 40 characters").first.wait_for()
        below = panel.locator(".field", has=notebook.page.get_by_role("textbox", name="Label", exact=True)).locator(
            ".spot"
        )
        assert below.inner_text().startswith("A label is a text")
        assert key.get_attribute("aria-invalid") == "false"
