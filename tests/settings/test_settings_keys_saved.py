"""Keys are saved on request only: in the system's keyring, or in a file that nobody else can read at any moment."""

import json
import os
import stat
import sys
import time
import traceback
from pathlib import Path

import pytest
from rehearsing import MODEL, fresh, seen_by

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings import saved_keys
from llm_executor_nb.settings.key_ring import KeyRing
from llm_executor_nb.settings.keys import Keys

keyring = pytest.importorskip("keyring")
from keyring.backend import KeyringBackend  # noqa: E402 - behind the skip
from keyring.backends.fail import Keyring as NoKeyring  # noqa: E402 - the same

ONE, TWO = "sk-or-v1-canarysaved-0001", "sk-or-v1-canarysaved-0002"
TOKEN = "hf_canarysaved0003"
CANARY = "canarysaved"
posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


class _Memory(KeyringBackend):
    """A keyring that keeps in memory what it is told, or fails as it is told."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept, self.asked, self.fails, self.takes_s = {}, 0, False, 0.0

    def get_password(self, service, username):
        self.asked += 1
        time.sleep(self.takes_s)
        if self.fails:
            raise keyring.errors.KeyringLocked(f"{CANARY} in a foreign text")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        if self.fails:
            raise keyring.errors.PasswordSetError(f"{CANARY} in a foreign text")
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), clock.use(clock.FrozenClock()):
        llm.keys.refresh()
        yield
    llm.keys.refresh()


@pytest.fixture
def service():
    """Put a keyring in the system's place."""
    before = keyring.get_keyring()
    mine = _Memory()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def _later_session():
    """Return the keys that a new process would have."""
    return Keys(KeyRing())


def _shown(ring):
    return [(line.shown, line.source, line.saved_in, line.rpm) for line in ring.lines()]


def _file():
    return saved_keys.file_path()


def test_nothing_is_written_and_no_keyring_is_asked_until_a_key_is_saved(service):
    llm.keys.add("openrouter", ONE)
    with pytest.raises(llm.ConfigError):
        llm.keys.save("openrouter", "nope")
    assert len(llm.keys) == 1
    assert not _file().parent.exists()
    assert (service.asked, service.kept) == (0, {})


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("place", ["keyring", "file"])
def test_a_saved_key_is_found_by_later_sessions_with_label_and_pace(place):
    llm.keys.add("openrouter", ONE, label="team", rpm=20)
    told = llm.keys.save("openrouter", "team", to=place)
    assert told == ("the system's keyring" if place == "keyring" else str(_file()))
    assert _shown(KeyRing()) == [("team ..0001", f"saved in the {place}", place, 20)]
    assert _shown(session().options.keys) == [("team ..0001", "session", place, 20)]
    assert KeyRing().of("openrouter")[0].secret.reveal() == ONE


def test_the_key_itself_is_in_the_place_it_was_saved_to_and_in_no_other(service):
    llm.keys.add("openrouter", ONE, label="team")
    llm.keys.save("openrouter", "team", to="keyring")
    assert list(service.kept.values()) == [ONE]
    assert CANARY not in _file().read_text()
    llm.keys.save("openrouter", "team", to="file")
    assert service.kept == {}
    assert ONE in _file().read_text()
    llm.keys.save("openrouter", "team", to="keyring")
    assert list(service.kept.values()) == [ONE]
    assert CANARY not in _file().read_text()


@pytest.mark.usefixtures("service")
def test_saved_keys_are_asked_last_those_of_the_keyring_first(monkeypatch):
    for key, place in ((ONE, "file"), (TWO, "keyring")):
        llm.keys.add("openrouter", key)
        llm.keys.save("openrouter", key, to=place)
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-canarysaved-0009")
    with RehearsalServer("*: 401") as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.openrouter_url)
        for one in (ONE, TWO):
            session().options.keys.added["openrouter"] = tuple(
                secret for secret in session().options.keys.added["openrouter"] if secret.reveal() != one
            )
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        assert [key for _, key, *_ in seen_by(server)] == ["..0009", "..0002", "..0001"]


def test_saving_again_keeps_the_new_label(service):
    llm.keys.add("huggingface", TOKEN, label="old")
    llm.keys.save("huggingface", "old")
    llm.keys.rename("huggingface", "old", "new")
    assert KeyRing().lines()[0].label == "old"
    llm.keys.save("huggingface", "new")
    assert KeyRing().lines()[0].label == "new"
    assert len(service.kept) == 1


@pytest.mark.parametrize("place", ["keyring", "file"])
def test_a_forgotten_key_is_gone_from_its_place_and_stays_for_the_session(service, place):
    llm.keys.add("openrouter", ONE, label="team")
    llm.keys.save("openrouter", "team", to=place)
    ring = KeyRing()
    later = Keys(ring)
    assert later.forget_saved("openrouter", "team")
    assert not later.forget_saved("openrouter", "team")
    assert _shown(ring) == [("team ..0001", "session", "", None)]
    assert len(_later_session()) == 0
    assert service.kept == {}
    assert not _file().exists()


@pytest.mark.parametrize("place", ["keyring", "file"])
def test_removing_a_saved_key_deletes_it_for_good(service, place):
    llm.keys.add("openrouter", ONE)
    llm.keys.add("openrouter", TWO)
    llm.keys.save("openrouter", "..0001", to=place)
    llm.keys.save("openrouter", "..0002", to="file")
    assert _later_session().remove("openrouter", "..0001")
    assert [line.secret.ending for line in KeyRing().lines()] == ["..0002"]
    assert service.kept == {}


# --- the file -----------------------------------------------------------------------------------------------------


@posix
def test_file_and_folder_are_their_owners_alone_whatever_the_umask(monkeypatch):
    modes = []
    real = os.open

    def spy(path, flags, mode=0o777, **more):
        modes.append((str(path), flags & os.O_EXCL, mode))
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", spy)
    before = os.umask(0)
    try:
        llm.keys.add("openrouter", ONE)
        llm.keys.save("openrouter", ONE, to="file")
    finally:
        os.umask(before)
    assert stat.S_IMODE(_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(_file().parent.stat().st_mode) == 0o700
    made = [(excl, mode) for path, excl, mode in modes if "keys.json" in path and excl]
    assert made == [(os.O_EXCL, 0o600)]
    assert [path.name for path in _file().parent.iterdir()] == ["keys.json"]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused_with_what_to_type(mode):
    llm.keys.add("openrouter", ONE)
    llm.keys.save("openrouter", ONE, to="file")
    _file().chmod(mode)
    later = _later_session()
    with pytest.warns(llm.LLMExecutorWarning, match=rf"mode {mode:04o}.*chmod 600 '{_file()}'"):
        assert len(later) == 0
    assert len(later) == 0
    later.add("openrouter", TWO)
    with pytest.raises(llm.ConfigError, match="chmod 600"):
        later.save("openrouter", TWO, to="file")
    assert later.remove("openrouter", TWO)
    _file().chmod(0o600)
    assert len(later) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"keys": 7}', '{"keys": [{}]}', '{"keys": [{"backend": "openrouter", "label": "x"}]}']
)
def test_a_file_that_is_broken_is_told_and_not_written_over(text):
    llm.keys.add("openrouter", ONE)
    llm.keys.save("openrouter", ONE, to="file")
    _file().write_text(text)
    later = _later_session()
    with pytest.warns(llm.LLMExecutorWarning, match="cannot be read"):
        assert len(later) == 0
    later.add("openrouter", TWO)
    with pytest.raises(llm.ConfigError, match="cannot be read") as raised:
        later.save("openrouter", TWO, to="file")
    assert _is_clean(raised.value)
    assert _file().read_text() == text


def test_a_folder_that_cannot_be_made_is_told_without_the_key():
    _file().parent.parent.mkdir(parents=True, exist_ok=True)
    _file().parent.write_text("a file in its place")
    llm.keys.add("openrouter", ONE)
    with pytest.raises(llm.ConfigError, match="nothing was saved") as raised:
        llm.keys.save("openrouter", ONE, to="file")
    assert _is_clean(raised.value)


def test_keys_of_two_processes_do_not_undo_each_other():
    llm.keys.add("openrouter", ONE)
    llm.keys.save("openrouter", ONE, to="file")
    other = _later_session()
    other.add("openrouter", TWO)
    assert len(other) == 2
    llm.keys.add("huggingface", TOKEN)
    llm.keys.save("huggingface", TOKEN, to="file")
    other.save("openrouter", "..0002", to="file")
    assert {entry["key"] for entry in json.loads(_file().read_text())["keys"]} == {ONE, TWO, TOKEN}


# --- the keyring --------------------------------------------------------------------------------------------------


def test_the_keyring_is_asked_once_for_each_key(service):
    llm.keys.add("openrouter", ONE)
    llm.keys.save("openrouter", ONE)
    later = _later_session()
    service.asked = 0
    for _ in range(3):
        assert len(later) == 1
    assert service.asked == 1
    service.kept.clear()
    later.refresh()
    assert len(later) == 0


def test_a_keyring_that_is_locked_is_told_once_and_the_other_keys_are_used(service):
    for key, place in ((ONE, "keyring"), (TWO, "file")):
        llm.keys.add("openrouter", key)
        llm.keys.save("openrouter", key, to=place)
    service.fails = True
    later = _later_session()
    with pytest.warns(llm.LLMExecutorWarning, match=r"failed \(KeyringLocked\)") as warned:
        assert [key.secret.ending for key in later] == ["..0002"]
    assert CANARY not in str(warned[0].message)
    assert len(later) == 1
    service.fails = False
    later.refresh()
    assert len(later) == 2


def test_a_keyring_that_waits_for_a_hand_is_given_up(service):
    llm.keys.add("openrouter", ONE)
    llm.keys.save("openrouter", ONE)
    service.takes_s = 0.5
    later = KeyRing()
    later.saved = saved_keys.SavedKeys(wait_s=0.05)
    with pytest.warns(llm.LLMExecutorWarning, match="did not answer"):
        assert len(Keys(later)) == 0


def test_a_keyring_that_refuses_shows_no_key_in_the_error(service):
    llm.keys.add("openrouter", ONE)
    service.fails = True
    with pytest.raises(llm.ConfigError, match=r"failed \(PasswordSetError\)") as raised:
        llm.keys.save("openrouter", ONE)
    assert _is_clean(raised.value)
    assert not _file().exists()


def test_a_machine_without_a_keyring_is_told_of_the_file():
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    try:
        llm.keys.add("openrouter", ONE)
        with pytest.raises(llm.ConfigError, match="to='file'"):
            llm.keys.save("openrouter", ONE)
    finally:
        keyring.set_keyring(before)


class _TextFile(_Memory):
    """What keyrings.alt calls a keyring: a file of plain text."""

    priority = 0.5


class _Chain(_Memory):
    """As keyring's own chain, which ranks itself above all others, whatever it writes to."""

    priority = 10

    def __init__(self, *backends):
        super().__init__()
        self.backends = backends

    def set_password(self, *entry):
        self.backends[0].set_password(*entry)


@pytest.mark.parametrize("weak", [_TextFile(), _Chain(_TextFile(), NoKeyring())], ids=["alone", "in a chain"])
def test_a_file_of_plain_text_is_not_the_systems_keyring(weak):
    before = keyring.get_keyring()
    keyring.set_keyring(weak)
    try:
        llm.keys.add("openrouter", ONE)
        with pytest.raises(llm.ConfigError, match=r"protects keys.*to='file'"):
            llm.keys.save("openrouter", ONE)
        assert weak.kept == {}
        assert not _file().exists()
        keyring.set_keyring(_Chain(_Memory(), weak))
        assert llm.keys.save("openrouter", ONE) == "the system's keyring"
    finally:
        keyring.set_keyring(before)


def test_a_key_that_was_saved_in_a_weak_keyring_can_still_be_deleted_there(service, monkeypatch):
    llm.keys.add("openrouter", ONE)
    llm.keys.save("openrouter", ONE)
    monkeypatch.setattr(_Memory, "priority", 0.5)
    assert len(_later_session()) == 1
    assert llm.keys.forget_saved("openrouter", ONE)
    assert service.kept == {}


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    llm.keys.add("openrouter", ONE)
    with pytest.raises(llm.MissingExtraError, match=r"pip install .*\[keyring\]"):
        llm.keys.save("openrouter", ONE)


# --- bounds -------------------------------------------------------------------------------------------------------


def test_a_rehearsal_neither_reads_nor_writes_saved_keys(service):
    for key, place in ((ONE, "keyring"), (TWO, "file")):
        llm.keys.add("openrouter", key)
        llm.keys.save("openrouter", key, to=place)
    kept, text = dict(service.kept), _file().read_text()
    llm.keys.refresh()
    service.asked = 0
    with llm.rehearse():
        llm.OPENROUTER_KEYS = [None]
        llm.keys.add("openrouter", ONE)
        lines = [line for line in session().options.keys.lines() if line.backend == "openrouter"]
        assert [(line.secret.ending, line.saved_in) for line in lines] == [("..0001", "")]
        for change in (
            lambda: llm.keys.save("openrouter", "..0001", to="file"),
            lambda: llm.keys.save("openrouter", "..0001"),
            lambda: llm.keys.forget_saved("openrouter", "..0001"),
        ):
            with pytest.raises(llm.ConfigError, match="rehearsal"):
                change()
        assert llm.keys.remove("openrouter", "..0001")
    assert (service.asked, service.kept, _file().read_text()) == (0, kept, text)
    assert len(_later_session()) == 2


@pytest.mark.parametrize(("backend", "to"), [("openrouter", "cloud"), ("mine", "file"), ("nope", "file")])
def test_a_place_or_backend_that_is_none_is_refused(backend, to):
    llm.add_backend("mine", base_url="http://127.0.0.1:9/v1", keys=[ONE])
    llm.keys.add("openrouter", ONE)
    with pytest.raises(llm.ConfigError):
        llm.keys.save(backend, "..0001", to=to)
    assert not _file().exists()


@pytest.mark.usefixtures("service")
def test_no_other_file_of_home_or_working_folder_holds_the_key(tmp_path):
    llm.keys.add("openrouter", ONE, label="team")
    llm.keys.add("huggingface", TOKEN)
    llm.keys.save("openrouter", "team", to="file")
    llm.keys.save("huggingface", TOKEN)
    repr(llm.keys)
    llm.keys._repr_html_()
    holding = [
        path
        for root in (tmp_path, Path.home())
        for path in root.rglob("*")
        if path.is_file() and CANARY in path.read_text(errors="replace")
    ]
    assert holding == [_file()]
    assert TOKEN not in _file().read_text()


def _is_clean(error):
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return CANARY not in told + repr(vars(error))
