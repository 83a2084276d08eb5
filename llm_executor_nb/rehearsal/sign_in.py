"""The sign-ins of a rehearsal: OpenRouter's page and its trade of a code for a key, and Hugging Face's device login.

Opening a page agrees at once: nobody practises to press a button. The keys and tokens are practice ones.
Source of both wires: OpenRouter's OAuth PKCE guide, and `huggingface_hub` (RFC 8628).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import secrets
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import get_in, parse_json
from llm_executor_nb.rehearsal.response import HTML, Response, ResponseWriter, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

DEVICE_PAGE = "/huggingface/device"
_CODE_LASTS_S = 600.0
_DEVICE_LASTS_S = 900.0
_TOKEN_LASTS_S = 30 * 24 * 3600
_POLL_EVERY_S = 0.2
_METHODS = ("S256", "plain")
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
    "<body><h1>{title}</h1><p>{words}</p><p><code>{code}</code></p></body></html>"
)
_REFUSED = "sign-in refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """A code that the page showed: what it was asked with, and until when it can be traded."""

    challenge: str
    method: str
    until: float


@dataclass(slots=True, kw_only=True)
class _Device:
    """A device that waits to be let in, and the code by which a person does that."""

    user_code: str
    until: float
    is_let_in: bool = False


class OpenRouterSignIn:
    """OpenRouter's sign-in: `GET /auth` shows a code, `POST /auth/keys` trades it for a key.

    Args:
        first: the number of the first key that is given out.
        latency_s: seconds a trade takes.
        outage: returns the reply while the script has OpenRouter down; None: it is up.
    """

    def __init__(self, *, first: int, latency_s: float, outage: Callable[[], Response | None]) -> None:
        self._codes: dict[str, _Code] = {}
        self._numbers = count(first)
        self._latency_s = latency_s
        self._outage = outage

    async def show_code(self, http_request: web.Request) -> web.StreamResponse:
        """Show a new code, as the page does after a person has agreed."""
        challenge = http_request.query.get("code_challenge", "")
        method = http_request.query.get("code_challenge_method", "plain")
        if not challenge or method not in _METHODS:
            page = _page("Practice OpenRouter", "This address is not complete. It needs:", "code_challenge", status=400)
        else:
            code = secrets.token_urlsafe(24)
            until = clock.current().now() + _CODE_LASTS_S
            self._codes[code] = _Code(challenge=challenge, method=method, until=until)
            page = _page("Practice OpenRouter", "Paste this code where you began to sign in:", code)
        return await ResponseWriter(http_request, page).run()

    async def trade(self, http_request: web.Request) -> web.StreamResponse:
        """Trade a code for a key, once and within ten minutes."""
        asked = parse_json(await http_request.read())
        await asyncio.sleep(self._latency_s)
        return await ResponseWriter(http_request, self._outage() or self._traded(asked)).run()

    def _traded(self, asked: object) -> Response:
        code, method = str(get_in(asked, "code")), get_in(asked, "code_challenge_method")
        known = self._codes.get(code)
        if method not in _METHODS or (known is not None and method != known.method):
            return _refusal(400, "Invalid code_challenge_method")
        if known is None or known.until <= clock.current().now():
            return _refusal(403, "Invalid or expired code")
        if _challenge_of(str(get_in(asked, "code_verifier")), known.method) != known.challenge:
            return _refusal(403, "Invalid code_verifier")
        del self._codes[code]
        return json_response({"key": f"sk-or-v1-practice-{next(self._numbers):04d}", "user_id": "user_practice"}, None)


class HuggingFaceSignIn:
    """Hugging Face's device login: a device asks for a code, a person opens the page with it, the device gets a token.

    `huggingface_hub` comes here when `HF_ENDPOINT` is the server's address with `/huggingface`.
    """

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._renewable: set[str] = set()
        self._numbers = count(1)

    async def begin(self, http_request: web.Request) -> web.StreamResponse:
        """Give a device its code, and the page for the person."""
        device, user_code = secrets.token_urlsafe(24), secrets.token_hex(4).upper()
        self._devices[device] = _Device(user_code=user_code, until=clock.current().now() + _DEVICE_LASTS_S)
        page = str(http_request.url.with_path(DEVICE_PAGE))
        told = {
            "device_code": device,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={user_code}",
            "expires_in": int(_DEVICE_LASTS_S),
            "interval": _POLL_EVERY_S,
        }
        return await ResponseWriter(http_request, json_response(told, None)).run()

    async def let_in(self, http_request: web.Request) -> web.StreamResponse:
        """Let in the device whose code stands in the address, as the page does after a person has agreed."""
        user_code = http_request.query.get("user_code", "")
        waiting = [device for device in self._devices.values() if device.user_code == user_code]
        for device in waiting:
            device.is_let_in = True
        words = "The device with this code is let in:" if waiting else "No device waits with this code:"
        return await ResponseWriter(http_request, _page("Practice Hugging Face", words, user_code)).run()

    async def give_token(self, http_request: web.Request) -> web.StreamResponse:
        """Give a token to a device that was let in, or a new one for a refresh token."""
        asked = await http_request.post()
        if asked.get("grant_type") == _DEVICE:
            response = self._token_of(str(asked.get("device_code")))
        else:
            response = self._renewed(str(asked.get("refresh_token")))
        return await ResponseWriter(http_request, response).run()

    def _token_of(self, code: str) -> Response:
        device = self._devices.get(code)
        if device is None or device.until <= clock.current().now():
            return _oauth_error("expired_token")
        if not device.is_let_in:
            return _oauth_error("authorization_pending")
        del self._devices[code]
        return self._new_token()

    def _renewed(self, refresh: str) -> Response:
        if refresh not in self._renewable:
            return _oauth_error("invalid_grant")
        self._renewable.discard(refresh)  # another one comes with the new token
        return self._new_token()

    def _new_token(self) -> Response:
        number = next(self._numbers)
        refresh = f"hf_oauth__refresh_practice{number:04d}"
        self._renewable.add(refresh)
        token = {
            "access_token": f"hf_oauth_practicelogin{number:04d}",
            "refresh_token": refresh,
            "expires_in": _TOKEN_LASTS_S,
            "token_type": "bearer",
        }
        return json_response(token, None)


def _challenge_of(verifier: str, method: str) -> str:
    if method == "plain":
        return verifier
    digest = hashlib.sha256(verifier.encode(errors="replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _refusal(status: int, words: str) -> Response:
    return json_response({"error": {"code": status, "message": words}}, _REFUSED, status=status)


def _oauth_error(error: str) -> Response:
    return json_response({"error": error}, _REFUSED, status=400)


def _page(title: str, words: str, code: str, *, status: int = 200) -> Response:
    shown = _PAGE.format(title=title, words=words, code=html.escape(code))
    return Response(status=status, headers={"Content-Type": HTML}, pieces=(shown.encode(),))
