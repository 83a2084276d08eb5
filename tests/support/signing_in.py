"""What a person does to sign in at the practice providers: finds the link, opens it, copies the code."""

from __future__ import annotations

import html
import re
import urllib.request

_LINK = re.compile(r"http://127\.0\.0\.1:\d+/[^\s\"'<>\\]+\?[^\s\"'<>\\]+")
_CODE = re.compile(r"<code>(.*?)</code>")


def link_in(shown: str) -> str | None:
    """Return the link that is shown; None: there is none yet."""
    found = _LINK.search(html.unescape(shown))
    return found[0] if found else None


def code_at(link: str) -> str:
    """Open a link, as a person does who agrees, and return the code on the page."""
    with urllib.request.urlopen(link, timeout=10) as page:  # noqa: S310 - a practice provider's
        return html.unescape(_CODE.search(page.read().decode())[1])
