"""Display bundles: what a front end draws, always with a text twin that reads well alone."""

from __future__ import annotations


def answer_bundle(text: str, *, is_markdown: bool) -> dict[str, str]:
    """Return an answer's display bundle: Markdown with its text twin, or the text alone."""
    return {"text/markdown": text, "text/plain": text} if is_markdown else {"text/plain": text}
