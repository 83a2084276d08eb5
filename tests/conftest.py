"""What holds for every test: no network but this machine, no keys, a home and a working folder of its own."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS_AND_ADDRESSES = re.compile(
    r"OPENROUTER_(API_)?KEY.*|OPENROUTER_BASE_URL|OPENAI_.*|HF_.*|HUGGING_?FACE.*"
    r"|LANGSMITH_.*|LANGCHAIN_.*|LLM_EXECUTOR_.*|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)
HOMES = {
    "HOME": ".",
    "USERPROFILE": ".",
    "APPDATA": "appdata",
    "LOCALAPPDATA": "localappdata",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_RUNTIME_DIR": "run",
    "XDG_STATE_HOME": ".local/state",
    "HF_HOME": ".cache/huggingface",
    "IPYTHONDIR": ".ipython",
    "JUPYTER_CONFIG_DIR": ".jupyter",
    "MPLCONFIGDIR": ".config/matplotlib",
}
_import_home = pytest.StashKey[Path]()


class NetworkUsedError(RuntimeError):
    """A test reached for a machine other than this one."""


def pytest_configure(config: pytest.Config) -> None:
    """Take the user's keys and home away before a test module imports what reads them at import."""
    home = Path(tempfile.mkdtemp(prefix="llm_executor_nb_"))
    config.stash[_import_home] = home
    for name in filter(SECRETS_AND_ADDRESSES.fullmatch, list(os.environ)):
        del os.environ[name]
    os.environ["HF_HOME"] = str(home / "huggingface")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell has it so for what it starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the home that the imports had."""
    shutil.rmtree(config.stash[_import_home], ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home", numbered=True)
    for name, folder in HOMES.items():
        monkeypatch.setenv(name, str(home / folder))
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:  # it reads its variables once
        for name, file in (("HF_TOKEN_PATH", "token"), ("HF_STORED_TOKENS_PATH", "stored_tokens")):
            monkeypatch.setattr(constants, name, str(home / HOMES["HF_HOME"] / file))


@pytest.fixture(autouse=True)
def _own_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _patient_searches() -> Iterator[None]:
    """On a busy machine a practice server may send no byte for some seconds, and a search would give it up."""
    from rehearsing import BUSY, session, wait_for  # noqa: PLC0415 - loaded when the user's keys are gone

    before = session().options.patience
    wait_for(silence_s=BUSY.silence_s)
    yield
    wait_for(silence_s=before.silence_s)


@pytest.fixture(autouse=True)
def refused_hosts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """List the foreign hosts that a test reached for; one left there fails it, also when the error was caught."""
    refused: list[str] = []

    def check(host: object) -> None:
        if not _is_this_machine(host):
            refused.append(str(host))
            raise NetworkUsedError(f"A test reached for {host!r}. Tests talk to this machine only; start a rehearsal.")

    def guarded(method: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in {socket.AF_INET, socket.AF_INET6}:
                check(address[0])
            return method(self, address)

        return connect

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if _text(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        check(host)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield refused
    assert not refused, f"the test reached for {refused}"


def _is_this_machine(host: object) -> bool:
    name = _text(host)
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name in {"", "localhost"}


def _text(host: object) -> str:
    if host is None:
        return ""
    return host.decode() if isinstance(host, bytes) else str(host)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One JupyterLab and one Chromium for all tests marked `browser`."""
    from lab import FLAGS, Lab, chromium  # noqa: PLC0415 - only where there is a browser
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not in the extra `test`

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        running = Lab(tmp_path_factory.mktemp("lab"), browser)
        try:
            running.start({})
            yield running
        finally:
            running.stop()
            browser.close()
