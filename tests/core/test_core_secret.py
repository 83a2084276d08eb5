"""A Secret shows its last characters and nothing else, and the scrubber knows every one of them."""

import copy
import pickle

import pytest

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.secret import Secret, ending

KEY = "sk-or-v1-canary-0123456789"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, lambda s: f"{s}", lambda s: f"{[s]}"])
def test_a_secret_shows_its_last_four_characters_only(show):
    shown = show(Secret(KEY))
    assert "..6789" in shown
    assert "canary" not in shown


def test_reveal_is_the_way_to_its_value():
    assert Secret(KEY).reveal() == KEY


@pytest.mark.parametrize("ruin", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_neither_pickled_nor_copied(ruin):
    with pytest.raises(TypeError, match="never pickled"):
        ruin(Secret(KEY))


def test_secrets_of_the_same_key_are_equal_and_no_text_is_equal_to_one():
    assert Secret(KEY) == Secret(f" '{KEY}'\n")
    assert len({Secret(KEY), Secret(KEY)}) == 1
    assert Secret(KEY) != KEY


@pytest.mark.parametrize(
    ("given", "told"),
    [("", "empty"), ("  \n", "empty"), ("''", "empty"), ("a b", "space"), ("ké", "ASCII"), (7, "int")],
)
def test_what_cannot_be_a_key_is_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        Secret(given)


def test_a_refused_key_is_not_shown():
    with pytest.raises(ConfigError) as raised:
        Secret("sk-canary canary")
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "shown"), [("a", "..a"), ("abc", "..c"), ("abcdef", "..ef"), ("abcdefghijkl", "..ijkl")]
)
def test_of_a_short_key_less_is_shown(key, shown):
    assert ending(key) == shown


def test_scrub_removes_every_secret_made_so_far_and_what_looks_like_a_key():
    Secret("plainlookingtoken42")
    text = scrub(f"a plainlookingtoken42, sk-abcdefghij, hf_ABCDEFGHIJ, Bearer xyz.123; {KEY} z")
    assert text.count("…hidden…") == 5
    assert text.startswith("a …")
    assert text.endswith(" z")


def test_scrub_leaves_no_rest_of_a_key_that_begins_as_another_does():
    Secret("tenant-canary")
    Secret("tenant-canary-longer-tail")
    assert scrub("x tenant-canary-longer-tail y") == "x …hidden… y"


def test_a_short_key_is_removed_as_a_word_only():
    Secret("abc")
    assert scrub("abc is no abcd") == "…hidden… is no abcd"
