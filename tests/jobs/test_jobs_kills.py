"""A column killed ten times at random moments: every row gets its own answer, and nothing stored is bought again."""

from __future__ import annotations

import os

import pytest
from killing import FAULTS, Nursery, Place, kill_many

from llm_executor_nb.rehearsal.server import RehearsalServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and forks are POSIX")
ROWS = 2_000


def test_a_column_that_is_killed_ten_times_pays_twice_only_for_what_was_not_committed(tmp_path):
    with RehearsalServer(FAULTS, latency_s=0.05) as server, Nursery(tmp_path) as nursery:
        place = Place(server, tmp_path)
        found = kill_many(nursery, place, kills=10, rows=ROWS, concurrency=32, longest_s=0.5, seed=20261125)
    found.check(ROWS)
