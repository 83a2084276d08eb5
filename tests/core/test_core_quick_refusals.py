"""Limits whose refusals come much sooner than answers: what a key takes at once is not mistaken for its rate."""

from __future__ import annotations

import pytest
from test_core_simulation import WAVE, Job, keys


class QuickJob(Job):
    """A job whose refusals come within a millisecond, as those of a gateway in front of the providers do."""

    def _arrive(self, row, move, probe, sent):
        wait_s = self.keys[move.route].wait_s(self.now)
        latency_s = (0.001 if wait_s else self.latency_s) * (0.95 + 0.1 * self.dice.random())
        self._at(self.now + latency_s, self._reply, row, move, probe, sent, (wait_s, None))


@pytest.mark.parametrize(("slots", "latency_s", "at_least"), [(None, 0.05, 0.7), (64, 0.2, 0.74)])
def test_a_burst_is_not_mistaken_for_a_rate(slots, latency_s, at_least):
    job = QuickJob(keys(50, 50, 50, burst=5)(), 3000, slots=slots, latency_s=latency_s).run()
    assert len(job.answers) == job.rows
    assert job.rate() >= at_least * 150
    assert job.refused <= WAVE + 30
