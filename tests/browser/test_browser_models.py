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


def test_a_model_is_searched_added_put_in_order_and_asked_by_mouse(lab):
    with lab.notebook("search", PRACTICE, PANEL, ASK, ANSWERED) as notebook:
        panel = opened(notebook, "Models")
        panel.get_by_role("searchbox", name="Search all models").fill("qwen3-32b")
        panel.get_by_role("button", name="Search OpenRouter's and Hugging Face's lists").click()
        panel.get_by_role("button", name="Add qwen/qwen3-32b", exact=True).click()
        done(panel)
        panel.get_by_role("button", name="Show qwen/qwen3-32b in the table").click()
        card = panel.get_by_role("region", name="qwen/qwen3-32b", exact=True)
        notebook.page.keyboard.insert_text("short")  # the button leads to the field for an alias
        notebook.page.keyboard.press("Enter")
        card.get_by_role("button", name="Remove alias short").wait_for()
        first, second, *rest = providers_of(panel, "qwen/qwen3-32b")
        items = card.get_by_role("listitem")
        items.nth(1).locator(".provider").drag_to(items.nth(0).locator(".provider"))
        done(panel)
        assert providers_of(panel, "qwen/qwen3-32b") == [second, first, *rest]
        notebook.run(3)
        notebook.run(4)
        assert notebook.text(4).startswith(f"huggingface/{second} ")
        assert f"('{second}', '{first}'" in notebook.text(4)


def test_a_model_is_searched_added_put_in_order_and_asked_by_keyboard(lab):
    with lab.notebook("keys", PRACTICE, PANEL, ASK, ANSWERED) as notebook:
        panel = opened(notebook, "Models")
        press, write = notebook.page.keyboard.press, notebook.page.keyboard.insert_text
        focused = "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"

        def tab_to(name, key="Tab"):
            for _ in range(60):
                if notebook.page.evaluate(focused) == name:
                    return
                press(key)
            raise AssertionError(f"{name!r} is not reached")

        panel.get_by_role("tab", name="Models").focus()
        press("Tab")
        write("qwen3-32b")
        press("Enter")
        panel.get_by_role("button", name="Add qwen/qwen3-32b", exact=True).wait_for()
        tab_to("Add qwen/qwen3-32b")
        press("Enter")
        panel.get_by_role("button", name="Show qwen/qwen3-32b in the table").wait_for()
        assert notebook.page.evaluate(focused) == "Show qwen/qwen3-32b in the table"
        press("Enter")
        write("short")
        press("Enter")
        panel.get_by_role("button", name="Remove alias short").wait_for()
        first, second, *rest = providers_of(panel, "qwen/qwen3-32b")
        tab_to(f"Move {second} up")
        press("Enter")
        done(panel)
        assert providers_of(panel, "qwen/qwen3-32b") == [second, first, *rest]
        press("Alt+ArrowDown")
        panel.get_by_role("region", name="qwen/qwen3-32b", exact=True).locator(".provider").nth(1).get_by_text(
            second, exact=True
        ).wait_for()
        before = notebook.path.stat().st_mtime_ns
        assert notebook.save()["cells"]
        assert notebook.path.stat().st_mtime_ns > before
        notebook.run(3)
        notebook.run(4)
        assert notebook.text(4).startswith(f"huggingface/{first} ")


def test_what_a_search_shows_can_be_read_in_light_and_dark_and_in_a_narrow_window(lab):
    with lab.notebook("looks", PRACTICE, PANEL) as notebook:
        panel = opened(notebook, "Models")
        panel.get_by_role("searchbox", name="Search all models").fill("gemma")
        panel.get_by_role("searchbox", name="Search all models").press("Enter")
        panel.get_by_role("button", name="Close the list of all models").wait_for()
        for look in notebook.looks((1280, 400, 320)):
            assert notebook.faults(panel) == [], look
            notebook.shoot(f"panel-search-{look}")


def test_a_person_signs_in_and_the_key_is_nowhere_to_be_found(lab):
    practice = "practice = llm.rehearse(openrouter_keys=0).start()"
    cells = (practice, PANEL, "print(llm.run_llm('gemma', 'x').content, llm.attempts()['key'].iloc[-1])")
    with lab.notebook("login", *cells) as notebook:
        panel = opened(notebook)
        panel.get_by_role("button", name="Sign in to OpenRouter").click()
        with notebook.page.context.expect_page() as opening:
            panel.get_by_role("link", name="Open OpenRouter's page").click()
        code = opening.value.locator("code").inner_text()
        opening.value.close()
        for look in notebook.looks((1280, 400, 320)):
            assert notebook.faults(panel) == [], look
            notebook.shoot(f"panel-login-{look}")
        notebook.page.set_viewport_size({"width": 1280, "height": 1200})
        field = panel.get_by_label("Code from that page")
        field.fill("wrong")
        field.press("Enter")
        done(panel, "bad")
        assert field.get_attribute("aria-invalid") == "true"
        notebook.shoot("panel-login-refused")
        field.fill(code)
        panel.get_by_role("button", name="Finish the sign-in").click()
        panel.get_by_role("button", name="Test signed in").wait_for()
        notebook.shoot("panel-login-done")
        saved = notebook.save()
        notebook.run(3)
        assert ".." in notebook.text(3)
        kept = json.dumps([saved, notebook.save()]) + notebook.page.evaluate("() => document.body.innerHTML")
    assert "sk-or-v1-practice" not in kept
    assert code not in kept
    for path in (one for one in lab.folder.rglob("*") if one.is_file()):
        assert not any(text in path.read_bytes() for text in (code.encode(), b"sk-or-v1-practice")), path
