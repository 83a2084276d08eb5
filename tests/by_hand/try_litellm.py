"""A server we did not write as a backend: a litellm proxy with mock responses. A script; pytest does not collect it.

    python tests/by_hand/try_litellm.py

Makes an environment of its own in a temporary folder, installs litellm[proxy] and this package there, starts the proxy
on loopback, adds it with `add_backend`, and makes a call, a stream and a column; prints what came. Takes minutes, most
of them pip's; needs a package index. Exits with 1 when something is not as it should be.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MASTER_KEY = "sk-practice-litellm-0001"
START_S = 180.0
CONFIG = f"""
model_list:
  - model_name: answering
    litellm_params: {{model: openai/mock, api_key: none, mock_response: "Paris is the capital of France."}}
  - model_name: limited
    litellm_params: {{model: openai/mock, api_key: none, mock_response: "litellm.RateLimitError"}}
general_settings:
  master_key: {MASTER_KEY}
litellm_settings:
  telemetry: false
  num_retries: 0
"""


def main() -> int:
    """Run it all, or (with `--calls URL`, in the environment) only the calls."""
    if sys.argv[1:2] == ["--calls"]:
        return make_calls(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="try_litellm_") as folder:
        python = make_environment(Path(folder))
        return with_proxy(Path(folder), python)


def make_environment(folder: Path) -> Path:
    """Install litellm's proxy and this package; return the environment's Python."""
    home = folder / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    say("installing litellm[proxy] and this package")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "litellm[proxy]"], check=True)
    subprocess.run([*pip, str(ROOT)], check=True)
    subprocess.run([python, "-m", "pip", "list", "--format=freeze"], check=True, stdout=(folder / "list").open("w"))
    say(", ".join(line for line in (folder / "list").read_text().split() if line.startswith(("litellm==", "openai=="))))
    return python


def with_proxy(folder: Path, python: Path) -> int:
    """Start the proxy, make the calls in a process of their own, stop the proxy."""
    (folder / "config.yaml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python.parent / "litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    settings = {**os.environ, "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with (folder / "proxy.log").open("w") as log:
        proxy = subprocess.Popen(command, cwd=folder, env=settings, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/health/liveliness", proxy)
            calls = [python, __file__, "--calls", f"http://127.0.0.1:{port}/v1"]
            alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            return subprocess.run(calls, cwd=folder, env=alone, check=False).returncode
        except TimeoutError as error:
            say(f"{error}\n{(folder / 'proxy.log').read_text()[-3000:]}")
            return 1
        finally:
            proxy.terminate()
            proxy.wait(20)


def wait_for(url: str, proxy: subprocess.Popen[bytes]) -> None:
    """Wait until the proxy answers."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and proxy.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own http URL
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"the proxy did not start ({proxy.poll()})")


def make_calls(url: str) -> int:
    """Use the proxy as a backend, and say what came."""
    import pandas as pd  # noqa: PLC0415 - in the environment only

    import llm_executor_nb as llm  # noqa: PLC0415 - in the environment only

    llm.configure(openrouter_keys=[], huggingface_tokens=[], retries=1, retry_wait_strategy=lambda _: 0.1)
    llm.add_backend("litellm", base_url=url, keys=[MASTER_KEY])
    llm.add_backend("wrong", base_url=url, keys=["sk-practice-wrong-key"])
    for name, providers in {"answering": ["litellm"], "limited": ["litellm"], "both": ["wrong", "litellm"]}.items():
        names = {"wrong": "answering", "litellm": "answering"} if name == "both" else None
        llm.models.add(name, providers=providers, names=names, openrouter=False)
    are_right = [check(*case) for case in cases(llm, pd)]
    return 0 if all(are_right) else 1


def cases(llm: object, pd: object) -> Iterator[tuple[str, object, bool]]:
    """Yield what was tried, what came, and whether that is right."""
    message = llm.run_llm("answering", "What is the capital of France?")
    yield "run", (message.content, message.usage_metadata["total_tokens"]), "Paris" in message.content
    chunks = list(llm.stream_llm("answering", "What is the capital of France?"))
    text = "".join(chunk.content for chunk in chunks)
    yield "stream", (text, f"{len(chunks)} chunks", chunks[-1].usage_metadata), "Paris" in text
    frame = pd.DataFrame({"question": [f"question {number}" for number in range(20)]})
    out = frame.llm.run("answering", "question", progress=False)
    yield "column", out["question_llm_status"].value_counts().to_dict(), (out["question_llm_status"] == "ok").all()
    llm.run_llm("both", "x")
    outcomes = llm.attempts()["outcome"].tolist()[-2:]
    yield "a wrong key, then the right one", outcomes, outcomes == ["auth", "ok"]
    try:
        came: object = llm.run_llm("limited", "x").content
    except llm.LLMExecutorError as error:
        came = str(error).splitlines()[1]
    last = llm.attempts()["outcome"].tolist()[-1]
    yield "a rate limit", (last, came), last == "rate_limited"


def check(name: str, came: object, is_right: bool) -> bool:
    """Say what came of one case."""
    say(f"{'ok   ' if is_right else 'WRONG'} {name}: {came}")
    return is_right


def say(text: str) -> None:
    """Print at once: the proxy and pip print too."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
