"""Characters that turn the direction of what follows are seen, and turn nothing; the message keeps them."""

from __future__ import annotations

import pandas as pd
import pytest
from rehearsing import MODEL, fresh
from shells import extended_shell

import llm_executor_nb as llm
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.view.answer import answer_bundle
from llm_executor_nb.view.html import line, marked, pairs, pre, span, table, text_table

TURNS = [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]
HOSTILE = "pay \u202eevil\u202c \u2067x"


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: f"{ord(turn):X}")
def test_each_is_shown_by_its_name_in_every_form(turn):
    text = f"a{turn}b"
    forms = [span(text, ""), line(text), pre(text), table([text], [[text]]), pairs([(text, text)])]
    forms += [marked([(text, "good", text, text)]), plain(text), text_table([text], [[text]])]
    forms += [str(answer_bundle(text, form)) for form in ("md", "text")]
    forms += [str(answer_bundle(f'["{text}"]', "json"))]
    for shown in forms:
        assert turn not in shown
        assert f"⟨U+{ord(turn):X}⟩" in shown


def test_text_that_runs_from_right_to_left_is_left_as_it_is():
    hebrew = "שלום\u200f, עולם\u200e"
    assert plain(hebrew) == hebrew
    assert hebrew in line(hebrew)


def test_a_cell_shows_it_and_its_message_keeps_it(capsys):
    with fresh(), llm.rehearse(), extended_shell() as shell:
        shell.run_cell(f"%%llm {MODEL} -o kept\n{HOSTILE}")
        assert HOSTILE in shell.user_ns["kept"].content
        preview = pd.DataFrame({"q": [HOSTILE]}).llm.preview(MODEL, "q", progress=False)
        assert HOSTILE in preview.frame["answer"].iloc[0]
        html = preview._repr_html_()
    for shown in (capsys.readouterr().out, html):
        assert "pay ⟨U+202E⟩evil⟨U+202C⟩ ⟨U+2067⟩x" in shown
        assert not any(turn in shown for turn in TURNS)
