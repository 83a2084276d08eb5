"""`%%llm` and `%llm` on a real InteractiveShell: the whole grammar."""

from __future__ import annotations

import getpass
import json
import re

import pytest
from IPython.core.error import StdinNotImplementedError, UsageError
from langchain_core.messages import AIMessage
from pydantic import BaseModel
from recording import MODEL, recorded, said, streamed
from rehearsing import fresh
from shells import extended_shell

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.view.answer import Footer, footer_bundle

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


class Review(BaseModel):
    """A review."""

    stars: int
    words: str


@pytest.fixture
def shell():
    with extended_shell(city="Lyon", tone="Be short", Review=Review) as made:
        yield made


@pytest.fixture
def sent():
    """The bodies of the requests that cells send to MODEL."""

    def answer(body):
        return streamed({"content": "fine"}) if body.get("stream") else said()

    with fresh(), recorded(answer) as bodies:
        yield bodies


def cell(shell, line, body="What is {city}?\n"):
    shell.run_cell_magic("llm", line, body)


# --- the cell ---------------------------------------------------------------------------------------------------


def test_a_cell_is_a_prompt_and_its_answer_is_shown_with_a_quiet_line_below(shell, capsys):
    with llm.rehearse():
        cell(shell, "gemma")
    answer, footer = capsys.readouterr().out.splitlines()
    assert "'What is Lyon?'" in answer
    assert footer.startswith("openrouter ..0001 · ")
    assert re.search(r" · tokens \d+ in, \d+ out · \$0\.00000", footer)
    assert footer.endswith("filled in: city · rehearsal: practice answers")


def test_without_a_model_the_default_is_asked_and_named(shell, capsys):
    with llm.rehearse():
        cell(shell, "")
    assert "gemma, the default model" in capsys.readouterr().out


def test_use_makes_a_model_the_default(shell, capsys):
    llm.models.add("my/other", providers=["a"], alias="other")
    try:
        shell.run_line_magic("llm", "use other")
        with llm.rehearse():
            cell(shell, "-t 0")
        assert "other, the default model" in capsys.readouterr().out
        with pytest.raises(llm.ModelNotSupportedError, match="nobody"):
            shell.run_line_magic("llm", "use nobody")
        shell.run_line_magic("llm", "use")
        assert capsys.readouterr().out.startswith("other is asked")
    finally:
        llm.models.remove("my/other")


def test_all_call_options_are_sent_and_o_keeps_the_message(shell, sent):
    cell(shell, f"{MODEL} -o kept -s 'Be very short' -t 0.5 --max-tokens 20 --timeout 9 --deadline 30")
    assert type(shell.user_ns["kept"]) is AIMessage
    assert shell.user_ns["kept"].content == "fine"
    assert sent[-1]["messages"][0] == {"role": "system", "content": "Be very short"}
    assert sent[-1]["temperature"] == 0.5
    assert 20 in sent[-1].values()


def test_a_streamed_message_is_the_one_that_run_llm_returns(shell):
    with llm.rehearse():
        cell(shell, "gemma -o streamed")
        cell(shell, "gemma -o whole --no-stream")
        streamed, whole = shell.user_ns["streamed"], shell.user_ns["whole"]
        assert streamed.content == whole.content
        assert streamed.usage_metadata == whole.usage_metadata
        assert streamed.usage_metadata["output_tokens"] > 0
        assert llm.attempts(streamed)["outcome"].tolist() == ["ok"]


def test_a_streaming_cell_asks_for_a_stream_and_no_stream_for_the_whole(shell):
    with llm.rehearse() as practice:
        cell(shell, "gemma")
        cell(shell, "gemma --no-stream")
        assert [line.is_stream for line in practice.lines] == [True, False]


@pytest.mark.parametrize("system", ["@tone", '"Be short"', "'{tone}'"])
def test_a_system_message_is_text_or_a_variable(shell, sent, system):
    cell(shell, f"{MODEL} -s {system}")
    assert sent[-1]["messages"][0]["content"] == "Be short"


@pytest.mark.parametrize(("line", "words"), [("-s @nobody", "no text variable nobody"), ("-s @Review", "no text")])
def test_a_system_variable_has_to_be_a_text(shell, line, words):
    with llm.rehearse() as practice, pytest.raises(llm.ConfigError, match=words):
        cell(shell, f"gemma {line}")
    assert not practice.lines


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gemma -o 1x", "name of a variable"),
        ("gemma -o class", "name of a variable"),
        ("gemma -t warm", "invalid float"),
        ("gemma -f html", "invalid choice"),
        ("gemma --bad 1", "unrecognized arguments: --bad"),
        ("gemma --temprature 1", r"Did you mean --temperature\?"),
        ("gemma --no-steam", r"Did you mean --no-stream\?"),
        ("gemma --max_tokens 5", r"Did you mean --max-tokens\?"),
        ("gemma -s be short", "Quote text"),
        ("gemma --schema Review", "write @"),
        (f"gemma -s {KEY}", "revoke it"),
    ],
)
def test_a_line_that_cannot_be_right_is_refused_before_anything_is_sent(shell, line, words):
    with llm.rehearse() as practice, pytest.raises(UsageError, match=words) as raised:
        cell(shell, line)
    assert not practice.lines
    assert KEY not in str(raised.value)


def test_raw_sends_the_cell_as_typed(shell, sent):
    cell(shell, f"{MODEL} --raw", "What is {city}? {{city}}\n")
    assert sent[-1]["messages"][-1]["content"] == "What is {city}? {{city}}"


def test_the_line_is_not_expanded_by_ipython(shell, sent):
    shell.run_cell(f"%%llm {MODEL} -s '{{1+1}} $city {{city}}'\nHi")
    assert sent[-1]["messages"][0]["content"] == "{1+1} $city Lyon"


def test_a_schema_gives_the_parsed_object_and_shows_json(shell, capsys):
    with llm.rehearse():
        cell(shell, "gemma --schema @Review -o kept")
    assert isinstance(shell.user_ns["kept"].additional_kwargs["parsed"], Review)
    shown = capsys.readouterr().out
    assert json.loads(shown[: shown.rindex("}") + 1])["words"]


def test_a_schema_that_is_not_there_is_refused(shell):
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="no variable Nobody"):
        cell(shell, "gemma --schema @Nobody")


def test_an_answer_that_is_no_json_is_shown_as_text_and_said(shell, capsys):
    with llm.rehearse():
        cell(shell, "gemma -f json")
    assert "the answer is not JSON" in capsys.readouterr().out


def test_v_shows_the_attempts(shell, capsys):
    with llm.rehearse("openrouter[1]: 401"):
        cell(shell, "gemma -v")
    shown = capsys.readouterr().out
    assert "2 attempts: auth, ok" in shown
    assert "1  openrouter ..0001  auth     401" in shown


def test_v_shows_the_attempts_of_a_cell_that_failed(shell, capsys):
    with llm.rehearse("*: 400"), pytest.raises(llm.RequestError):
        cell(shell, "gemma -v")
    assert "bad_request" in capsys.readouterr().out


def test_n_shows_the_filled_prompt_and_the_routes_and_sends_nothing(shell, capsys):
    with llm.rehearse("openrouter[1]: 401") as practice:
        llm.run_llm("gemma", "Hello")
        practice.clear()
        cell(shell, "gemma -n -t 0 -s @tone --timeout 5")
        assert not practice.lines
    shown = capsys.readouterr().out
    for words in ("nothing was sent", "google/gemma-3-27b-it", "temperature=0", "timeout=5 s", "What is Lyon?"):
        assert words in shown
    for words in ("Be short", "filled in: city, tone", "on hold for auth", "huggingface/scaleway ..0001"):
        assert words in shown


def test_n_works_without_a_key_and_says_that_there_is_none(shell, capsys):
    cell(shell, "gemma -n")
    shown = capsys.readouterr().out
    assert "What is Lyon?" in shown
    assert "No key for google/gemma-3-27b-it" in shown


def test_n_never_shows_a_key(shell, capsys):
    cell(shell, "gemma -n --raw", f"my key is {KEY}\n")
    assert KEY not in capsys.readouterr().out


def test_an_error_is_raised_in_short(shell, capsys):
    with llm.rehearse("*: 400"), pytest.raises(llm.RequestError) as raised:
        cell(shell, "gemma", "Hello\n")
    assert not capsys.readouterr().out
    assert raised.value._render_traceback_() == [f"RequestError: {raised.value}"]


BODIES = [
    'Answer as JSON: {"a": {"b": [1, {}]}, "c": "{city_}"}',
    r"Prove that $\frac{a}{b} \ge {x^2}$ and $$\begin{aligned}{y}\end{aligned}$$",
    "def f(x):\n    return f'{x + 1} {x!r} {x:>10}' + '%s' % x\n\n\n# done;",
    "!ls $HOME\n%timeit x\n?help\nx?\n/abs path\n,auto call",
    "tab\there, trailing blanks   \n\n  indented\n\ttabbed\n日本語 é 🎉 \u00a0 end",
    "<script>alert(1)</script> & \\ \"quotes\" 'and' `ticks` ;",
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_cell_arrives_byte_for_byte(shell, sent, body):
    shell.run_cell(f"%%llm {MODEL}\n{body}")
    shell.run_cell(f"%%llm {MODEL}\n{body}\n{{city}}")
    assert [request["messages"][-1]["content"] for request in sent] == [body, f"{body}\nLyon"]


def test_a_cell_of_blanks_is_refused(shell):
    with llm.rehearse() as practice, pytest.raises(UsageError, match="no prompt"):
        cell(shell, "gemma", "  \n\n")
    assert not practice.lines


def test_what_is_not_filled_in_goes_out_as_typed_and_the_foot_line_says_so(shell, sent, capsys):
    prompt = "What is {citty} to {undefined}?"
    shell.run_cell(f"%%llm {MODEL} -s 'Be {{mood}}.'\n{prompt}")
    assert sent[0]["messages"][-1]["content"] == prompt
    note = "not filled in: {citty} (did you mean {city}?), {undefined}, {mood}"
    assert note in capsys.readouterr().out


def test_the_note_on_what_is_not_filled_in_is_orange():
    shown = footer_bundle(Footer(attempts=(), took_s=1.0, notes=["not filled in: {undefined}"]))
    assert '<div class="wait small">not filled in: {undefined}</div>' in shown["text/html"]
    assert shown["text/plain"].splitlines()[-1] == "not filled in: {undefined}"


def test_the_help_is_good_reading(shell):
    text = shell.find_line_magic("llm").__doc__
    for words in ("-o answer", "%llm doctor", "--dry-run", "never a key", "%llm rehearse off"):
        assert words in text


# --- the commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "panel, keys, models, use, health, log, login, rehearse, doctor"),
        ("helth", "Did you mean %llm health"),
        ("gemma", "begins with %%llm gemma"),
        ("health all", "takes no arguments"),
        ("log never", "last 50"),
        ("keys take", "keys add"),
        ("keys add", "Name the backend"),
        ("keys add nobody", "no such backend"),
    ],
)
def test_a_command_that_is_none_says_what_there_is(shell, line, words):
    with pytest.raises(UsageError, match=words):
        shell.run_line_magic("llm", line)


def test_alone_it_says_what_there_is(shell, capsys):
    shell.run_line_magic("llm", "")
    assert "panel|keys|models|use|health|log|login|rehearse|doctor" in capsys.readouterr().out


def test_models_keys_health_and_log_are_shown(shell, capsys):
    with llm.rehearse("openrouter[1]: 401"):
        for command in ("health", "log"):
            shell.run_line_magic("llm", command)
        assert capsys.readouterr().out == "Nothing is on hold.\nNothing has been asked yet.\n"
        llm.run_llm("gemma", "Hello")
        for command in ("models", "keys", "health", "log", "log 1"):
            shell.run_line_magic("llm", command)
    shown = capsys.readouterr().out
    assert "google/gemma-3-27b-it (gemma)" in shown
    assert "gemma is asked when" in shown
    assert "openrouter   key 1 ..0001" in shown
    assert "key ..0001 of openrouter  auth  10 min" in shown
    assert shown.count("fall_back") == 1
    assert shown.count("accept") == 2


def test_panel_without_widgets_is_text(shell, capsys):
    with llm.rehearse():
        shell.run_line_magic("llm", "panel")
    assert "..0001" in capsys.readouterr().out


def test_a_rehearsal_is_begun_changed_and_ended_by_a_line(shell, capsys):
    shell.run_line_magic("llm", "rehearse openrouter[1]: 401; huggingface: down")
    try:
        assert session().is_rehearsal
        llm.run_llm("gemma", "Hello")
        assert llm.attempts()["outcome"].tolist() == ["auth", "ok"]
        with pytest.raises(llm.ConfigError, match="not a backend"):
            shell.run_line_magic("llm", "rehearse nobody: 401")
        assert session().is_rehearsal
        shell.run_line_magic("llm", "rehearse '*: 400'")
        with pytest.raises(llm.RequestError):
            llm.run_llm("gemma", "Hello")
    finally:
        shell.run_line_magic("llm", "rehearse off")
    assert not session().is_rehearsal
    shell.run_line_magic("llm", "rehearse off")
    assert capsys.readouterr().out.endswith("No rehearsal is running.\n")


def test_a_rehearsal_of_the_users_code_is_not_ended_by_a_line(shell):
    with llm.rehearse(), pytest.raises(UsageError, match="begun in code"):
        shell.run_line_magic("llm", "rehearse off")


def test_unloading_ends_a_rehearsal_that_a_line_began(shell, capsys):
    shell.run_line_magic("llm", "rehearse")
    shell.run_line_magic("reload_ext", "llm_executor_nb")
    assert not session().is_rehearsal
    assert "The rehearsal has ended" in capsys.readouterr().out
    with llm.rehearse():
        shell.run_line_magic("reload_ext", "llm_executor_nb")
        assert session().is_rehearsal


@pytest.mark.parametrize("name", ["my work key", "'my work key'", "my work key ..cdef", "..cdef"])
def test_a_key_is_removed_by_the_name_it_is_shown_with(shell, monkeypatch, capsys, name):
    monkeypatch.setattr(getpass, "getpass", lambda _: KEY)
    shell.run_line_magic("llm", "keys add openrouter 'my work key'")
    shell.run_line_magic("llm", f"keys remove openrouter {name}")
    assert capsys.readouterr().out.endswith("Removed for this session.\n")
    assert not list(llm.keys)


def test_removing_a_saved_key_says_that_it_is_deleted(shell, monkeypatch, capsys):
    monkeypatch.setattr(getpass, "getpass", lambda _: KEY)
    shell.run_line_magic("llm", "keys add openrouter")
    llm.keys.save("openrouter", "key 1", to="file")
    shell.run_line_magic("llm", "keys remove openrouter key 1")
    assert capsys.readouterr().out.endswith("Removed, and deleted from the file.\n")
    assert not list(llm.keys)


def test_a_key_is_asked_for_unseen(shell, monkeypatch, capsys):
    monkeypatch.setattr(getpass, "getpass", lambda _: KEY)
    shell.run_line_magic("llm", "keys add openrouter my work key")
    try:
        shell.run_line_magic("llm", "keys")
        shown = capsys.readouterr().out
        assert "Added for this session: openrouter my work key ..cdef." in shown
        assert "my work key ..cdef" in shown.splitlines()[-1]
        assert KEY not in shown
    finally:
        shell.run_line_magic("llm", "keys remove openrouter ..cdef")
    assert "Removed" in capsys.readouterr().out
    assert not list(llm.keys)


def test_where_nobody_can_be_asked_it_says_so(shell, monkeypatch):
    def refuse(_):
        raise StdinNotImplementedError

    monkeypatch.setattr(getpass, "getpass", refuse)
    with pytest.raises(UsageError, match="in the environment"):
        shell.run_line_magic("llm", "keys add openrouter")


@pytest.mark.parametrize(
    "line", [f"keys add openrouter {KEY}", f"keys add {KEY}", f"use {KEY}", "keys add 0123456789abcdef01"]
)
def test_a_key_typed_in_a_line_is_refused_and_not_shown(shell, line):
    with pytest.raises(UsageError, match="revoke it") as raised:
        shell.run_line_magic("llm", line)
    assert line.split()[-1] not in str(raised.value)
    assert not list(llm.keys)


# --- loading ----------------------------------------------------------------------------------------------------


def test_unloading_takes_everything_away(shell):
    before = len(shell.Completer.custom_matchers)
    shell.run_line_magic("unload_ext", "llm_executor_nb")
    assert "llm" not in shell.magics_manager.magics["cell"]
    assert len(shell.Completer.custom_matchers) == before - 1
    shell.run_line_magic("load_ext", "llm_executor_nb")
    shell.run_line_magic("reload_ext", "llm_executor_nb")
    assert len(shell.Completer.custom_matchers) == before


def test_keys_and_models_are_tables_where_a_notebook_echoes_them(shell):
    with llm.rehearse():
        for shown in (llm.keys, llm.models):
            data, _ = shell.display_formatter.format(shown)
            assert "<table>" in data["text/html"]
            assert data["text/plain"] == repr(shown)


def test_frames_of_the_package_escape_what_providers_say(shell):
    hostile = "<img src=x onerror=alert(1)>"
    llm.models.add(hostile, providers=["a"])
    try:
        with llm.rehearse("openrouter[1]: 401"):
            llm.run_llm(hostile, "x")
            shown = [shell.display_formatter.format(one)[0]["text/html"] for one in (llm.models, llm.attempts())]
        assert not any("<img" in html for html in shown)
        assert "&lt;img" in shown[0]  # the log's display leaves the model out
    finally:
        llm.models.remove(hostile)
