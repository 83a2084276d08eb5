"""What the parts of a job have done, added up: the counts of one snapshot after the other, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.view.snapshot import Failure, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_COUNTS = (
    "done",
    "failed",
    "skipped",
    "cached",
    "fallbacks",
    "waiting",
    "asked",
    "spent_usd",
    "saved_usd",
    "in_flight",
)
_WORDS = ("held", "trouble", "note", "wait")


def report_of(snapshot: Snapshot, in_flight: int) -> dict[str, Any]:
    """Return how a part stands, as JSON."""
    failures = {one.cause: [one.rows, one.words, one.step] for one in snapshot.failures}
    counts = {name: getattr(snapshot, name) or 0 for name in _COUNTS[:-1]}
    words = {name: getattr(snapshot, name) for name in _WORDS}
    return {**counts, **words, "held": list(snapshot.held), "in_flight": in_flight, "failures": failures}


def answers_of(report: Mapping[str, Any]) -> int:
    """Return how many rows of a part have an answer."""
    return int(report.get("done", 0) - report.get("failed", 0) - report.get("skipped", 0))


def added(total: Mapping[str, Any] | None, part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of ended parts with those of one more; what it waited for is over."""
    before = total or {}
    counts = {name: before.get(name, 0) + part.get(name, 0) for name in _COUNTS}
    return {**counts, "in_flight": 0, "failures": _failures([before, part]), "note": before.get("note") or part["note"]}


def whole_snapshot(
    reports: Sequence[Mapping[str, Any]], *, rows: int, elapsed_s: float, is_over: bool, note: str
) -> Snapshot:
    """Return how a whole job stands.

    Args:
        reports: of its ended parts together, and of each part that runs.
        rows: of the whole frame.
        elapsed_s: seconds since its start.
        is_over: whether it has ended.
        note: why it ended early; "": its parts may say it.
    """
    counts: dict[str, Any] = {name: sum(report.get(name, 0) for report in reports) for name in _COUNTS}
    in_flight = counts.pop("in_flight")
    asked = counts.pop("asked")
    spent_usd, saved_usd = (counts.pop(name) or None for name in ("spent_usd", "saved_usd"))
    failures = [Failure(rows, cause, words, step) for cause, (rows, words, step) in _failures(reports).items()]
    running = [report for report in reports if "wait" in report]
    return Snapshot(
        **{**counts, "done": min(counts["done"], rows)},
        spent_usd=spent_usd,
        saved_usd=saved_usd,
        total=rows,
        asked=asked or None,
        failures=tuple(sorted(failures, key=lambda failure: -failure.rows)),
        held=tuple(dict.fromkeys(text for report in running for text in report["held"])),
        trouble=_first(running, "trouble"),
        in_flight=f"{in_flight} in flight" if in_flight and not is_over else "",
        elapsed_s=elapsed_s,
        is_over=is_over,
        note=note or _first(reports, "note"),
        wait=_first(running, "wait") if running and all(report["wait"] for report in running) else "",
    )


def _failures(reports: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    together: dict[str, Any] = {}
    for report in reports:
        for cause, (rows, words, step) in report.get("failures", {}).items():
            before = together.get(cause, (0, words, step))
            together[cause] = [before[0] + rows, before[1], before[2]]
    return together


def _first(reports: Iterable[Mapping[str, Any]], name: str) -> str:
    return next((str(report[name]) for report in reports if report.get(name)), "")
