"""Foreign text loses keys and control characters before anything is cut; our own errors and warnings do too."""

from __future__ import annotations

import base64
import html
import pickle
import urllib.parse
from datetime import UTC, datetime

import pytest

import llm_executor_nb as llm
from llm_executor_nb.core import foreign_text
from llm_executor_nb.core.errors import warn
from llm_executor_nb.core.foreign_text import MESSAGE_LENGTH, clean, plain, scrub, shorten
from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.verdicts.classify import classify

KEY = "CANARY/own+key=0123456789abcdefghijklmnop"
"""A key of a shape that no pattern knows."""
FORMS = {
    "plain": KEY,
    "in other case": KEY.swapcase(),
    "cut by the provider": KEY[:20],
    "two lines": f"{KEY[:20]}\n    {KEY[20:]}",
    "letter by letter": " ".join(KEY),
    "a line break of JSON": f"{KEY[:20]}\\n{KEY[20:]}",
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 behind a user's name": base64.b64encode(f"me:{KEY}".encode()).decode(),
    "base64 behind Bearer": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 of URLs": base64.urlsafe_b64encode(f"x{KEY}".encode()).decode(),
    "base64 of mail": base64.encodebytes(f"{'x' * 30}{KEY}".encode()).decode(),
    "hexadecimal": KEY.encode().hex().upper(),
    "URL-encoded": urllib.parse.quote(KEY, safe=""),
    "each letter URL-encoded": "".join(f"%{ord(letter):02x}" for letter in KEY),
    "JSON": KEY.replace("/", "\\/"),
    "each letter as JSON writes it": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "HTML": "".join(f"&#{ord(letter)};" for letter in KEY),
    "HTML in hexadecimal": "".join(f"&#x{ord(letter):X};" for letter in KEY),
    "with controls in it": "\x1b[0m".join(KEY),
    "with unseen characters in it": "\u200b".join(KEY),
}
COMMANDS = {
    "title": "\x1b]0;title\x07",
    "clipboard": "\x1b]52;c;Y3VybCBldmlsfHNo\x07",
    "link": "\x1b]8;;http://evil.invalid\x1b\\",
    "of one byte": "\x9d0;title\x9c",
    "colour": "\x1b[31m",
    "colour of one byte": "\x9b31m",
    "erase": "\x1b[2K",
    "device": "\x1bP1$r0m\x1b\\",
    "reset": "\x1bc",
    "character set": "\x1b(0",
}


@pytest.fixture(autouse=True)
def _known():
    Secret(KEY)


def _pieces(text: str) -> list[str]:
    """Return what of the key, in any of its forms, stands in a text."""
    whole = "".join(html.unescape(urllib.parse.unquote(text)).split()).lower()
    forms = [KEY, KEY.encode().hex(), *(base64.b64encode(b"x" * n + KEY.encode()).decode()[4:] for n in range(3))]
    return [form[at : at + 12] for form in forms for at in range(len(form) - 11) if form[at : at + 12].lower() in whole]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_known_key_is_hidden_in_every_form(form):
    for hide in (shorten, clean):
        shown = hide(f"Bad key: {form} end")
        assert shown.startswith("Bad key: ")
        assert shown.endswith(" end")
        assert "…hidden…" in shown
        assert _pieces(shown) == []


@pytest.mark.parametrize("before", range(MESSAGE_LENGTH - 60, MESSAGE_LENGTH + 20, 7))
@pytest.mark.parametrize("form", ["plain", "URL-encoded", "base64", "each letter as JSON writes it"])
def test_a_key_is_hidden_before_the_message_is_cut(form, before):
    shown = shorten(f"{'x' * before} {FORMS[form]} and more" * 3)
    assert len(shown) <= MESSAGE_LENGTH
    assert _pieces(shown) == []


@pytest.mark.parametrize("before", [1960, 1990, 19_970, 19_990])
def test_a_key_far_behind_white_space_is_not_cut_before_it_is_hidden(before):
    reply = Reply(status=400, headers={}, body=b" " * before + KEY.encode() + b" end")
    verdict = classify(reply, backend="openrouter", now_utc=datetime.now(UTC))
    assert _pieces(verdict.message or "") == []


def test_two_keys_in_one_message_are_both_hidden_and_the_words_between_stay():
    Secret("tenant-canary-long")
    Secret("tenant-canary-long-and-longer")
    shown = scrub(f"a {KEY} b tenant-canary-long-and-longer c {FORMS['HTML']} d")
    assert shown == "a …hidden… b …hidden… c …hidden… d"


@pytest.mark.parametrize(
    "key",
    [
        *(f"{kind}0123456789abcdefABCDEF" for kind in ("gsk_", "AIzaSy", "xai-", "sk-proj-")),
        "hf_oauth_eyJhbGciOiJFZERTQSJ9.eyJzY29wZSI6WyJ",
        "hf_oauth__refresh_eyJhbGciOiJFZERTQSJ9.eyJz-_x",
    ],
)
def test_keys_of_other_providers_are_hidden_unseen(key):
    for hide in (shorten, clean):
        assert hide(f"Bad key {key}.") == "Bad key …hidden…."


def test_names_in_our_own_messages_stay():
    Secret("ollama")
    for text in ("/home/me/sk-learn-project/a.csv", "hf_transformers", "add_backend('ollama')", "a bearer token"):
        assert clean(text) == text


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_to_a_terminal_leaves_as_a_whole(command):
    assert shorten(f"no {command}way") == "no way"
    assert plain(f"no {command}way") == "no way"
    assert clean(f"no\n{command}way") == "no\nway"


@pytest.mark.parametrize("begun", ["\x1b]0;", "\x9d", "\x1bP", "\x1b[", "\x9b12", "\x1b"])
def test_a_command_without_its_end_takes_no_text_with_it(begun):
    shown = plain(f"{begun}\nAll of this text stays.\u00e9")
    assert shown.isprintable() or "\n" in shown
    assert shown.endswith("\nAll of this text stays.\u00e9")


def test_a_carriage_return_writes_over_nothing():
    assert plain("bad\rgood\r\nnext") == "bad\ngood\nnext"
    assert shorten("bad\rgood") == "bad good"


def test_marks_of_direction_and_unseen_characters_leave_messages():
    shown = shorten("a\u202eb\u200f\u200e\u061c\ufeff\U000e0041c")
    assert shown == "a⟨U+202E⟩bc"
    assert clean("a\u2067b\u200bc") == "a⟨U+2067⟩bc"


def test_what_users_write_stays_in_messages():
    for text in ("naïve „x“ 日本語 👩‍💻 e\u0301", "עברית", "a\tb\nc", "C:\\new\\temp"):
        assert clean(text) == text


@pytest.mark.parametrize(
    "kind",
    [
        llm.LLMExecutorError,
        llm.ConfigError,
        llm.ModelNotSupportedError,
        llm.MissingKeyError,
        llm.RequestError,
        llm.AllRoutesFailedError,
        llm.DeadlineError,
        llm.BudgetError,
        llm.StreamInterruptedError,
        llm.JobInterrupted,
    ],
)
def test_every_error_of_ours_is_clean_wherever_it_is_shown(kind):
    error = kind(f"No {COMMANDS['clipboard']}{KEY}\n\u202eGo on.")
    for shown in (str(error), repr(error), "".join(error._render_traceback_()), str(error.args)):
        assert "\x1b" not in shown
        assert KEY not in shown
        assert "\u202e" not in shown
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "No …hidden…\n⟨U+202E⟩Go on."  # noqa: S301 - our own


def test_a_warning_is_clean_too():
    with pytest.warns(llm.LLMExecutorWarning) as warned:
        warn(f"\x1b[31m{KEY} is left out")
    assert str(warned[0].message) == "…hidden… is left out"


def test_nothing_shows_the_keys_that_are_known():
    assert KEY not in repr(vars(foreign_text))
