"""OpenRouter's sign-in without a callback: the address of its page, and the trade of the page's code for a key.

Only the holder of the verifier can trade the code, so a code is of no use to others (PKCE, RFC 7636).
Source: OpenRouter's OAuth PKCE guide.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import get_in, read_json
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import OPENROUTER, Fault, Reply, Verdict
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.core.verdicts.error_body import tells_error

if TYPE_CHECKING:
    from llm_executor_nb.providers.transport import Transport

_METHOD: Final = "S256"
_KEY_LABEL: Final = "llm_executor_nb"
"""What OpenRouter's list of keys calls the key."""
_VERIFIER_BYTES: Final = 48
"""64 characters; RFC 7636 asks for 43 to 128."""


def make_verifier() -> Secret:
    """Return a new verifier, which never leaves this process until the code is traded."""
    return Secret(secrets.token_urlsafe(_VERIFIER_BYTES))


def page_for(verifier: Secret, site: str) -> str:
    """Return the address of the page that shows a code to a person who has agreed."""
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    asked = {"code_challenge": challenge, "code_challenge_method": _METHOD, "key_label": _KEY_LABEL}
    return f"{site}/auth?{urlencode(asked)}"


async def trade(transport: Transport, base_url: str, code: str, verifier: Secret) -> Secret | Verdict:
    """Trade a code for a key (`POST /auth/keys`); return the key, or what came instead."""
    asked = {"code": code, "code_verifier": verifier.reveal(), "code_challenge_method": _METHOD}
    reply = await _post(transport, f"{base_url}/auth/keys", json.dumps(asked).encode())
    if isinstance(reply, Reply) and 200 <= reply.status < 300:
        body = await read_json(reply.body)
        if isinstance(key := get_in(body, "key"), str) and key.strip():
            return Secret(key)
        if isinstance(body, dict) and not tells_error(body):
            return Verdict(outcome=Outcome.MALFORMED, http_status=reply.status, message="the reply holds no key")
    return classify(reply, backend=OPENROUTER, now_utc=clock.current().utc())


async def _post(transport: Transport, url: str, body: bytes) -> Reply | Fault:
    reply = await transport.post(url, body=body, secret=None, timeout_s=transport.look_up_s)
    if isinstance(reply, Fault) and reply.may_resend:  # a code is traded once: sent again only if it went unseen
        reply = await transport.post(url, body=body, secret=None, timeout_s=transport.look_up_s)
    return reply
