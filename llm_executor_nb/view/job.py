"""A job under way, or over, as one block: a bar, and the same in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.view.html import Bundle, block, escaped, line, plain, span

if TYPE_CHECKING:
    from llm_executor_nb.view.snapshot import Snapshot


def job_bundle(snapshot: Snapshot, *, hint: str = "") -> Bundle:
    """Return the block of a job.

    Args:
        snapshot: how it stands.
        hint: how it can be stopped; left out when it is over.
    """
    hint = "" if snapshot.is_over else hint
    text = "\n".join(filter(None, [" · ".join(filter(None, [snapshot.line(), hint])), snapshot.wait]))
    html = _bar(snapshot) + _counts(snapshot)
    html += line(" · ".join(filter(None, [*snapshot.bounds(), hint])), "dim small")
    html += "".join(line(words, f"{kind} small") for kind, words in snapshot.news())
    html += line(snapshot.wait, "wait small") if snapshot.wait else ""
    return {"text/plain": plain(text), "text/html": block(html)}


def _bar(snapshot: Snapshot) -> str:
    """Return a native bar: it is drawn where style and script are taken out, too."""
    total = max(1, snapshot.total)
    done = snapshot.done if snapshot.total else total
    return (
        f'<progress class="bar" style="width:100%" role="progressbar" value="{done}" max="{total}" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}" aria-label="{escaped(snapshot.rows())}"></progress>'
    )


def _counts(snapshot: Snapshot) -> str:
    words = [f"<strong>{escaped(snapshot.rows())}</strong>"]
    words += [span(counted, "bad" if counted.endswith(" failed") else "") for counted in snapshot.counts()]
    return f"<div>{' · '.join(words)}</div>"
