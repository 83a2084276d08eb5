"""A refusal of what only some requests need meets those alone, and is taken for that."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Need, Outcome
from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.rehearsal.catalogue import special_themes
from llm_executor_nb.rehearsal.server import RehearsalServer

NEED_FAULTS = special_themes()["requests with a need"]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
PARTS = {
    Need.IMAGE: {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    Need.FILE: {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
    Need.AUDIO: {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    Need.VIDEO: {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
}
FIELDS = {
    Need.TOOLS: {"tools": [TOOL]},
    Need.POLICY: {"provider": {"max_price": {"prompt": 1}}},
    Need.PARAM: {"temperature": 0.5},
}
CASES = [
    pytest.param(name, backend, id=f"{name}-{backend}")
    for name, entry in NEED_FAULTS.items()
    for backend in entry.backends
]


def _body(need=None):
    content = [{"type": "text", "text": "What is this?"}, PARTS[need]] if need in PARTS else "What is this?"
    return {"model": "my/model", "messages": [{"role": "user", "content": content}], **FIELDS.get(need, {})}


def _verdict(name, backend, body):
    with RehearsalServer(f"*: {name}") as server:
        request = urllib.request.Request(  # noqa: S310 - it is the practice server's address
            f"{getattr(server, f'{backend}_url')}/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": "Bearer sk-or-v1-fake-0001"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as came:  # noqa: S310
                reply = Reply(status=came.status, headers={}, body=came.read())
        except urllib.error.HTTPError as error:
            with error:
                reply = Reply(status=error.code, headers={}, body=error.read())
    return classify(reply, backend=backend, now_utc=clock.current().utc())


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_request_with_the_need_is_refused_for_it(name, backend):
    expected = NEED_FAULTS[name].expected(backend)
    verdict = _verdict(name, backend, _body(expected.need or Need.TOOLS))
    assert (verdict.outcome, verdict.reach, verdict.need) == (expected.outcome, expected.reach, expected.need)


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_request_without_the_need_passes_by(name, backend):
    assert _verdict(name, backend, _body()).outcome is Outcome.OK
