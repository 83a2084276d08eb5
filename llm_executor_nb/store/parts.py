"""Where the parts of a job meet that run in several processes: their rows in the ledger.

Each part writes how it stands, and reads what the others have written, in one transaction. So whatever is divided among
them (requests in flight, requests a second, dollars) is never given away twice. What a part that has ended leaves is
added to the row of the whole job: a thousand of them cost no more than one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_executor_nb.store import claims
from llm_executor_nb.store.rows import clean_text

if TYPE_CHECKING:
    from llm_executor_nb.store.sqlite import Database

Report = dict[str, Any]
_WHOLE = """
    SELECT host, pid, CAST(boot AS REAL), CAST(born AS REAL), heartbeat, report FROM job
    WHERE job_id = ? AND ended IS NULL AND typeof(host) = 'text' AND typeof(pid) = 'integer'
"""
_PARTS = """
    SELECT job_id, host, pid, CAST(boot AS REAL), CAST(born AS REAL), heartbeat, report FROM job
    WHERE part_of = ? AND ended IS NULL AND job_id <> ? AND typeof(host) = 'text' AND typeof(pid) = 'integer'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one side tells, or hears, at a meeting; each report is JSON.

    Attributes:
        whole: of the whole job.
        mine: of the part that meets the others; the whole job has none.
        others: of the other parts that run.
        lost: of the parts whose process has ended since.
    """

    whole: Report
    mine: Report = field(default_factory=dict)
    others: list[Report] = field(default_factory=list)
    lost: list[Report] = field(default_factory=list)


Decide = Callable[[Told], Told]


def meet(database: Database, *, job_id: str, decide: Decide, part_id: str | None, is_last: bool) -> bool:
    """Let `decide` answer what is told, and write its `whole` and `mine`; return whether the whole job goes on."""
    name, part = clean_text(job_id), clean_text(part_id or job_id)
    with database.transaction():
        row = database.connection.execute(_WHOLE, (name,)).fetchone()
        is_open = row is not None and claims.is_alive(database, name, _process(row[:4]), row[4])
        if row is None and part_id is None:
            return False
        heard = Told(whole=_read(None if row is None else row[5]), mine=_report_of(database, part))
        _hear_parts(database, name, part, heard)
        told = decide(heard)
        _write(database, name, told.whole)
        if part_id is not None:
            _write(database, part, told.mine)
            if is_last:
                claims.end_job(database, part_id, "done")
    return is_open


def _hear_parts(database: Database, name: str, part: str, heard: Told) -> None:
    """Add the reports of the other parts, and close those whose process has ended."""
    for other, *process, heartbeat, report in database.connection.execute(_PARTS, (name, part)).fetchall():
        described = _process(process)
        if claims.has_ended(described):
            heard.lost.append(_read(report))
            claims.end_job(database, other, claims.LOST)
        elif claims.is_alive(database, other, described, heartbeat):
            heard.others.append(_read(report))


def _process(values: Any) -> claims.Process:  # noqa: ANN401 - a row of SQLite
    host, pid, boot, born = values
    return claims.Process(host=host, pid=pid, boot=boot, born=born)


def _report_of(database: Database, part: str) -> Report:
    row = database.connection.execute("SELECT report FROM job WHERE job_id = ?", (part,)).fetchone()
    return _read(row and row[0])


def _read(text: Any) -> Report:  # noqa: ANN401 - a damaged row may hold anything
    try:
        report = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _write(database: Database, part: str, report: Report) -> None:
    text = json.dumps(report)
    query = "UPDATE job SET report = ? WHERE job_id = ? AND report IS NOT ?"  # what is unchanged writes nothing
    database.connection.execute(query, (text, part, text))
