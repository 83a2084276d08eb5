"""Sign in to OpenRouter or Hugging Face: `llm.login()`. No key is copied by hand, and none is shown.

OpenRouter's sign-in has two steps: a link that the user opens, and a code that the page shows and the user pastes.
Hugging Face's is `huggingface_hub`'s own, which also keeps the login and renews it.
Source of the wires: OpenRouter's OAuth PKCE guide and `huggingface_hub`.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from llm_executor_nb.chain.key_lookups import statuses_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core.advice import counted
from llm_executor_nb.core.errors import ConfigError, JobInterrupted
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Verdict
from llm_executor_nb.core.secret import Secret, forgetful, kinds_of_keys
from llm_executor_nb.engine.loop import run_sync
from llm_executor_nb.providers.sign_in import make_verifier, page_for, trade
from llm_executor_nb.settings.key_ring import free_label
from llm_executor_nb.settings.key_sources import HUB_VARIABLES, login_path
from llm_executor_nb.view.html import link_part, stacked
from llm_executor_nb.view.live import LiveDisplay, frontend, is_attended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_executor_nb.chain.session import Session

SIGNED_IN = "signed in"
"""The label of a key that came by a sign-in."""
_OPEN = "Open this page, agree, and copy the code that it shows:"
_CODE = re.compile(r"(?:^|[?&#])code=([^&#]*)")
_LONGEST_CODE = 512
_ASK_LATER = frozenset({405, 407, 408, 429})
"""Statuses of 4xx that do not speak of the code."""
_NOBODY = (
    "A hidden question cannot be asked here: nobody answers under papermill, nbconvert or in a script without a "
    "terminal. Set the key in the environment before Python starts, as OPENROUTER_API_KEY or HF_TOKEN, or sign in "
    "where you can type."
)
_STOPPED = "The sign-in was stopped, and this session has no new key. llm.login() begins again."


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginStatus:
    """How a sign-in ended. It never holds the key.

    Attributes:
        backend: `openrouter` or `huggingface`.
        key: how the key is shown from now on: its label and last four characters.
        saved_in: where it was saved, in words; None: it lives in this session.
        message: what happened, and the next step if there is one.
    """

    backend: str
    key: str
    saved_in: str | None = None
    message: str

    def __repr__(self) -> str:
        return self.message


@forgetful
@noted_as("llm.login")
@stoppable
def login(backend: str = OPENROUTER, *, save: bool = False) -> LoginStatus:
    """Sign in, and use the key at once. The question for the code is a hidden prompt. Costs nothing.

    At OpenRouter you open a link, agree, and paste the code that the page shows. In a rehearsal the link opens a
    practice page. At Hugging Face `huggingface_hub` asks, keeps the login for later sessions and renews it. Where a
    login works already, you are told so.

    Args:
        backend: `openrouter` or `huggingface`.
        save: also save OpenRouter's key for later sessions, as `keys.save` does. Without a keyring it stays in the
            session, and the message says how to save it in a file.

    Returns:
        How it ended, in words, and how the key is shown from now on: `signed in ..a1b2`.

    Raises:
        ConfigError: there is nobody to ask (papermill, nbconvert), the code was refused, or the backend cannot be
            reached. The message says what to do; nothing was changed.
        JobInterrupted: it was stopped; nothing was changed.
    """
    if backend not in (OPENROUTER, HUGGINGFACE):
        # the text is not repeated: it may be a key
        raise ConfigError(
            "Sign in to 'openrouter' or 'huggingface'. A server of your own takes a key: "
            "llm.add_backend(name, base_url=..., keys=[key])."
        )
    if not isinstance(save, bool):
        raise ConfigError("save= must be True or False.")
    _refuse_unattended()
    try:
        return _at_huggingface(session()) if backend == HUGGINGFACE else _at_openrouter(save=save)
    except KeyboardInterrupt:
        raise JobInterrupted(_STOPPED) from None


@forgetful
def hidden_answer(question: str) -> str:
    """Return what a person types; it is not shown.

    Raises:
        ConfigError: there is nobody to ask, or what is typed would be seen.
    """
    _refuse_unattended()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it goes on with a prompt that is seen
            return getpass.getpass(question)
    except (NotImplementedError, EOFError, OSError, getpass.GetPassWarning):
        raise ConfigError(_NOBODY) from None


def _refuse_unattended() -> None:
    if frontend() == "kernel" and not is_attended():
        raise ConfigError(_NOBODY)


def _keep(current: Session, backend: str, secret: Secret) -> Key:
    """Return a key of the ring; add it when the ring does not have it."""
    ring = current.options.keys
    with ring.lock:
        # the page may give a key that is here already: signing in twice adds none
        known = {key.secret: key for key in ring.all_of(backend)}
        if secret not in known:
            taken = {key.label for key in known.values()}
            label = free_label(2, taken, SIGNED_IN) if SIGNED_IN in taken else SIGNED_IN
            current.keys.add(backend, secret.reveal(), label=label)
        elif not known[secret].is_enabled:
            current.keys.enable(backend, known[secret].label)
        return next(key for key in ring.all_of(backend) if key.secret == secret)


def _in_use(current: Session, key: Key, noun: str) -> str:
    """Return in words that requests use a key, and which keys come before it."""
    before = [one.secret for one in current.options.keys.of(key.backend)].index(key.secret)
    if not before:
        return f"requests use the {noun} {key.shown} from now on."
    first = f"llm.keys.move({key.backend!r}, {key.label!r}, to=1) puts it first."
    return f"requests use the {noun} {key.shown} from now on, after {counted(before, f'other {noun}')}. {first}"


# --- OpenRouter --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A sign-in to OpenRouter that has begun: the link is there, the code is awaited.

    Attributes:
        url: the page to open; it shows a code after the user has agreed.
    """

    url: str
    _base_url: str = field(repr=False)
    _verifier: Secret = field(repr=False)
    _session: Session = field(repr=False)

    @forgetful
    def finish(self, pasted: str, *, save: bool = False) -> LoginStatus:
        """Trade the code for a key, and put the key into the key ring.

        Args:
            pasted: the code, or the whole address of the page; spaces and line breaks do not matter.
            save: also save the key for later sessions, as `keys.save` does.

        Raises:
            ConfigError: the code is wrong, used or expired, or OpenRouter cannot be reached. Nothing was changed.
        """
        current = self._session
        # a practice code buys no real key, and a real one belongs in no rehearsal
        if session() is not current:
            raise ConfigError("A rehearsal began or ended since this link was made. Sign in again: llm.login().")
        code = _code_in(pasted)
        del pasted  # it may be a key, by mistake
        traded = run_sync(lambda: trade(current.transport(), self._base_url, code, self._verifier))
        if isinstance(traded, Verdict):
            raise ConfigError(_refused(traded))
        return _status(current, _keep(current, OPENROUTER, traded), save=save)


def begin_sign_in() -> SignIn:
    """Begin a sign-in to OpenRouter; nothing is sent. The panel's button and `login` both begin so."""
    current, verifier = session(), make_verifier()
    options = current.options
    return SignIn(
        url=page_for(verifier, options.openrouter_site),
        _base_url=options.base_url(OPENROUTER),
        _verifier=verifier,
        _session=current,
    )


def _at_openrouter(*, save: bool) -> LoginStatus:
    begun = begin_sign_in()
    with _shown(begun.url):
        return begun.finish(hidden_answer("Paste the code (not shown): "), save=save)


@contextmanager
def _shown(url: str) -> Iterator[None]:
    """Show a link. A notebook loses it at the end: it works once, and is in the way of the next one."""
    if frontend() != "kernel":
        print(f"{_OPEN}\n  {url}")  # noqa: T201 - a terminal has nothing else
        yield
        return
    display = LiveDisplay()
    display.show(stacked(link_part(_OPEN, url)))
    try:
        yield
    finally:
        display.clear()


def _code_in(pasted: str) -> str:
    """Return the code in what a person pasted: the code alone, or an address with it."""
    signs = pasted if isinstance(pasted, str) else ""
    text = "".join(sign for sign in signs if sign.isprintable() and not sign.isspace()).strip("\"'`<>")
    if kinds_of_keys(text):
        Secret(text)  # no message shows it from now on
        raise ConfigError(
            "This is a key, not the code of the sign-in. A key is added with %llm keys add openrouter, which asks for "
            "it unseen, or in llm.panel()."
        )
    found = _CODE.search(text)
    code = unquote(found[1]) if found else text
    if not code:
        raise ConfigError("No code was pasted. Sign in again: llm.login().")
    if "://" in code or "code_challenge=" in code:
        raise ConfigError(
            "This address has no code in it. Sign in again with llm.login(), and paste the code that the page shows."
        )
    if len(code) > _LONGEST_CODE or not code.isascii():
        raise ConfigError("This cannot be the code. Sign in again with llm.login(), and paste the code of the page.")
    return code


def _refused(verdict: Verdict) -> str:
    status = verdict.http_status or 0
    message = str(verdict.message).rstrip(".")
    words = f"HTTP {status}: {message}" if status else message
    if 400 <= status < 500 and status not in _ASK_LATER:
        why = "it is wrong, was used before, or is older than 10 minutes"
        return f"OpenRouter does not take this code: {why} ({words}). Sign in again for a new one: llm.login()."
    return f"OpenRouter gave no key ({words}). Check the connection, then sign in again: llm.login()."


def _status(current: Session, key: Key, *, save: bool) -> LoginStatus:
    saved_in, more = None, f"To keep it: llm.keys.save({key.backend!r}, {key.label!r})."
    if current.is_rehearsal:
        more = "It is a practice key, which ends with this rehearsal."
    elif save:
        saved_in, more = _saved(current, key)
    message = f"Signed in to OpenRouter: {_in_use(current, key, 'key')} {more}"
    return LoginStatus(backend=key.backend, key=key.shown, saved_in=saved_in, message=message)


def _saved(current: Session, key: Key) -> tuple[str | None, str]:
    """Save a key in the keyring; return where it is, and that in words, with the other way if it cannot be saved."""
    try:
        place = current.keys.save(key.backend, key.label)
    except ConfigError as error:
        step = f"llm.keys.save({key.backend!r}, {key.label!r}, to='file')"
        why = str(error).partition("\n")[0]
        return None, f"It is not saved and lives in this session. {why} In a file that only you can read: {step}."
    return place, f"It is saved in {place}."


# --- Hugging Face ------------------------------------------------------------------------------------------------


def _at_huggingface(current: Session) -> LoginStatus:
    if current.is_rehearsal:
        raise ConfigError(
            "In a rehearsal your Hugging Face login is not touched: huggingface_hub would save a new one. End the "
            "rehearsal first; llm.login() practises the sign-in to OpenRouter."
        )
    former = _hub_token()
    if former is not None and (there := _working(current, former)) is not None:
        return there
    _ask_hub()
    token = _hub_token()
    if token is None or token == former:
        raise ConfigError(
            "Hugging Face's login did not end with a new token; what it says is shown above. Sign in again: "
            "llm.login('huggingface')."
        )
    key, place = _keep(current, HUGGINGFACE, token), str(login_path())
    message = (
        f"Signed in to Hugging Face: {_in_use(current, key, 'token')} huggingface_hub keeps the login in {place}; "
        "hf auth logout in a terminal ends it."
    )
    return LoginStatus(backend=HUGGINGFACE, key=key.shown, saved_in=place, message=message)


def _working(current: Session, token: Secret) -> LoginStatus | None:
    """Return that a login is there; None: Hugging Face does not accept it.

    Raises:
        ConfigError: it is not accepted, and comes from a variable that a new login could not replace.
    """
    found = Key(backend=HUGGINGFACE, secret=token, label="")
    (status,) = statuses_of([found], current, fresh=True)
    if status.is_alive is not False:
        key = _keep(current, HUGGINGFACE, token)
        known = "works" if status.is_alive else "could not be looked up now"
        words = f" ({status.message})" if status.message else ""
        message = f"A Hugging Face login is there: {key.shown}, from {key.source}. It {known}{words}. Requests use it."
        return LoginStatus(backend=HUGGINGFACE, key=key.shown, saved_in=key.source, message=message)
    for name in HUB_VARIABLES:
        if os.environ.get(name, "").strip() == token.reveal():
            raise ConfigError(
                f"Hugging Face does not accept the token {token.ending} of {name} ({status.message}), and this "
                f"variable comes before every login. Type del os.environ[{name!r}], then llm.login('huggingface')."
            )
    return None


@forgetful
def _hub_token() -> Secret | None:
    """Return the token that huggingface_hub uses now."""
    from huggingface_hub import get_token  # noqa: PLC0415 - loads on first use

    try:
        token = get_token()
    except Exception as error:  # noqa: BLE001 - each of its ways to a token has errors of its own
        raise ConfigError(f"huggingface_hub cannot read its login ({_words_of(error)}). Correct that first.") from None
    return None if token is None else Secret(token)


@forgetful
def _ask_hub() -> None:
    """Let huggingface_hub sign a person in: by its device login, or by a token where it is too old for that."""
    import huggingface_hub as hub  # noqa: PLC0415 - loads on first use

    has_device_login = hasattr(hub.errors, "DeviceCodeError")
    if has_device_login and frontend() != "kernel" and not (sys.stdin and sys.stdin.isatty()):
        raise ConfigError(_NOBODY)  # it would wait for 15 minutes
    try:
        if has_device_login:
            hub.login(skip_if_logged_in=False)
        else:
            hub.login(token=hidden_answer("Token of huggingface.co/settings/tokens (not shown): "))
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - of httpx, of requests or its own; some hold the request with its token
        raise ConfigError(
            f"Hugging Face's login failed ({_words_of(error)}). Check the connection, then sign in again: "
            "llm.login('huggingface')."
        ) from None


def _words_of(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}")
