"""The one door of our HTML to the front ends, for every room that draws a table or a block."""

from __future__ import annotations


def untypeset(inside: str) -> str:
    """Return escaped HTML in which no front end typesets formulas.

    Names and messages are foreign text. MathJax would read the dollars in them, and its commands style and fetch.
    """
    return f'<div class="llm-nb mathjax_ignore tex2jax_ignore">{inside}</div>'
