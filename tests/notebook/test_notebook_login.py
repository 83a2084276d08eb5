"""`llm.login()` in a real kernel: link, code, answer; and the key is in no output, history, state, log or file."""

import json

import nbclient
import nbformat
import pytest
from shells import kernel
from signing_in import code_at, link_in

from llm_executor_nb.rehearsal.server import RehearsalServer

KEYS = ("sk-or-v1-practice-0001", "hf_oauth_practicelogin0001")
ASK = "llm.MODEL_INFERENCE_PROVIDERS['my/model'] = ['a']\nprint(llm.run_llm('my/model', 'x').content)"
STATE = (
    "import json, ipywidgets\n"
    "print(json.dumps(ipywidgets.Widget.get_manager_state()), In, _ih, list(map(repr, Out.values())),"
    " {name: repr(value) for name, value in list(globals().items()) if name not in ('In', '_ih', 'Out', '_oh')})"
)
LOG = "import logging\nlogging.basicConfig(filename='all.log', level='DEBUG', force=True)"


@pytest.fixture(scope="module")
def server():
    with RehearsalServer() as running:
        yield running


@pytest.fixture(scope="module")
def signing_in(server, tmp_path_factory):
    """A kernel whose providers are the practice ones, as if they were the real ones, and its home."""
    home = tmp_path_factory.mktemp("signing_in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENROUTER_BASE_URL", server.openrouter_url)
        patch.setenv("HF_ROUTER_URL", server.huggingface_url)
        patch.setenv("HF_ENDPOINT", f"{server.root}/huggingface")
        with kernel(home) as running:
            running.run(LOG)
            yield running, home


def _pasted(ran):
    """Return the code of the page whose link the cell shows; None: it is not there yet."""
    link = link_in(json.dumps([bundle.get("text/html", "") for bundle in ran.shown]))
    return None if link is None else code_at(link)


def _assert_nowhere(home, *rans):
    told = json.dumps([[ran.messages, ran.reply] for ran in rans], default=str)
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file() and "huggingface" not in path.parts]
    for key in KEYS:
        assert key not in told
        assert not any(key.encode() in text for text in files)


def test_a_sign_in_in_a_kernel_answers_at_once_and_leaves_the_key_nowhere(server, signing_in):
    running, home = signing_in
    missing = running.run(ASK)
    assert missing.reply["evalue"].splitlines()[-1] == (
        "Sign in with llm.login(), paste a key into llm.panel() in a notebook, or rehearse without a key: "
        "with llm.rehearse(): ..."
    )
    wrong = running.run("llm.login()", person=lambda _: "no-code")
    assert wrong.reply["ename"] == "ConfigError"
    assert "does not take this code" in wrong.reply["evalue"]
    stopped = running.run("%llm login", stop_after_s=0.3)
    assert stopped.reply["traceback"] == [
        "JobInterrupted: The sign-in was stopped, and this session has no new key. llm.login() begins again."
    ]
    assert not server.lines
    signed = running.run("llm.login()", person=_pasted)
    assert signed.of("execute_result")[0]["data"]["text/plain"].startswith("Signed in to OpenRouter: requests use ")
    assert link_in(json.dumps(signed.shown)) is None  # it works once, and a saved notebook keeps what is shown
    answered = running.run(ASK)
    assert "practice answer" in answered.text
    assert [line.key for line in server.lines] == ["..0001"]
    listed = running.run("%llm keys")
    assert "signed in ..0001" in json.dumps(listed.messages, default=str)
    state = running.run(STATE)
    assert state.reply["status"] == "ok"
    _assert_nowhere(home, missing, wrong, stopped, signed, answered, listed, state)


def test_a_hugging_face_sign_in_is_huggingface_hubs_own_and_its_token_is_used_at_once(server, signing_in):
    pytest.importorskip("huggingface_hub.utils._oauth_device", reason="this huggingface_hub has no device login")
    running, home = signing_in
    signed = running.run("llm.login('huggingface')", person=_pasted)
    assert signed.reply["status"] == "ok", signed.reply
    assert "Signed in to Hugging Face: requests use the token key 1 ..0001 from now on." in json.dumps(
        signed.of("execute_result")
    )
    server.clear()
    answered = running.run(f"llm.models.off_openrouter.add('my/model')\n{ASK}")
    assert "practice answer" in answered.text
    assert [(line.backend, line.key) for line in server.lines] == [("huggingface", "..0001")]
    again = running.run("llm.login('huggingface')")
    assert "A Hugging Face login is there" in json.dumps(again.of("execute_result"))
    _assert_nowhere(home, signed, answered, again)


def test_a_notebook_that_a_program_runs_is_told_to_set_the_variables(tmp_path):
    cells = ["import llm_executor_nb as llm\n%load_ext llm_executor_nb", "llm.login()", "%llm login huggingface"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    options = {"timeout": 60, "allow_errors": True, "resources": {"metadata": {"path": str(tmp_path)}}}
    nbclient.NotebookClient(notebook, **options).execute()
    for cell in notebook.cells[1:]:
        [refused] = cell.outputs
        assert refused.ename == "ConfigError"
        assert "nobody answers under papermill" in refused.evalue
        assert "as OPENROUTER_API_KEY or HF_TOKEN" in refused.evalue
