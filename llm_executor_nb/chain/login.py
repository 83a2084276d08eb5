"""Sign in to OpenRouter or Hugging Face: `llm.login()`. No key is copied by hand, and none is shown.

OpenRouter's sign-in has two steps: a link that the user opens, and a code that the page shows and the user pastes.
Hugging Face's is `huggingface_hub`'s own.
Source of the wires: OpenRouter's OAuth PKCE guide and `huggingface_hub`.
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A sign-in to OpenRouter that has begun: the link is there, the code is awaited.

    Attributes:
        url: the page to open; it shows a code after the user has agreed.
    """

    url: str

    def finish(self, pasted: str, *, save: bool = False) -> LoginStatus:
        """Trade the code for a key, and put the key into the key ring.

        Args:
            pasted: the code, or the whole address of the page; blanks and line breaks do not matter.
            save: also save the key for later sessions, as `keys.save` does.

        Raises:
            ConfigError: the code is wrong, used or expired, or OpenRouter cannot be reached. Nothing was changed.
        """
        raise NotImplementedError


def begin_sign_in() -> SignIn:
    """Begin a sign-in to OpenRouter; nothing is sent. The panel's button and `login` both begin so."""
    raise NotImplementedError


def login(backend: str = "openrouter", *, save: bool = False) -> LoginStatus:
    """Sign in, and use the key at once. The question for the code is a hidden prompt.

    Args:
        backend: `openrouter` or `huggingface`.
        save: also save the key for later sessions, as `keys.save` does.

    Raises:
        ConfigError: there is nobody to ask (papermill, nbconvert), the code was refused, or the backend cannot be
            reached. The message says what to do; nothing was changed.
    """
    raise NotImplementedError
