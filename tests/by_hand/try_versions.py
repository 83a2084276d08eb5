"""Try each Python with the lowest and the newest pandas, LangChain and kernel that are promised; takes minutes.

    pip install uv
    python tests/by_hand/try_versions.py [PYTHON ...]

CI tests two corners on one Python: everything newest, and every floor. This fills in the rest. A Python is a version,
which uv finds or downloads, or the path of one; without any, 3.11 to 3.14 are tried. Each try has an environment of its
own in a temporary folder, and runs the tests below, in which a version has a part. Prints a line for each try, and
exits with 1 when one failed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = (sys.executable, "-m", "uv")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
FLOORS = (ROOT / "tests" / "floors.txt").read_text()
TESTS = (
    "chain/test_chain_promise.py",
    "chain/test_chat_model_standard.py",
    "providers/test_providers_contract.py",
    "providers/test_providers_contract_stream.py",
    "frames/test_frames_run.py",
    "frames/test_frames_shapes.py",
    "frames/test_frames_typed.py",
    "store/test_store_tables.py",
    "notebook/test_notebook_magics.py",
    "notebook/test_notebook_job.py",
    "notebook/test_notebook_quickstart.py",
)
SHOWN = ("pandas", "langchain-core", "langchain-openai", "langchain-huggingface", "ipykernel", "ipython")


def floors_of(*names: str) -> list[str]:
    """Return the lines of floors.txt on some packages."""
    return [re.search(rf"^{name}[=<]\S+", FLOORS, re.MULTILINE)[0] for name in names]


LANGCHAIN = floors_of(
    "langchain-core", "langchain-openai", "langchain-huggingface", "langgraph-checkpoint", "langgraph-prebuilt"
)
KERNEL = floors_of("ipykernel", "ipython")
PANDAS = ["pandas<2.3; python_version < '3.14'", "pandas<3"]  # 3.14 has wheels from 2.3.3 on
KINDS = {
    "newest": [],
    "pandas 2": PANDAS,
    "lowest LangChain": LANGCHAIN,
    "kernel 6": KERNEL,
    "all three": [*PANDAS, *LANGCHAIN, *KERNEL],
}


def main(pythons: list[str]) -> int:
    """Try each Python with each kind; print what came of it, and return the exit status."""
    tries = [(python, kind) for python in pythons or PYTHONS for kind in KINDS]
    return max(try_one(python, kind) for python, kind in tries)


def try_one(python: str, kind: str) -> int:
    """Make an environment, run the tests in it, print a line, and return 0 if all passed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="try_versions_") as folder:
        here = Path(folder)
        (here / "constraints.txt").write_text("\n".join(KINDS[kind]))
        install = [*UV, "pip", "install", "--quiet", "--python", here / "venv"]
        test = [here / "venv" / "bin" / "python", "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "--tb=short"]
        steps = [
            [*UV, "venv", "--quiet", "--python", python, here / "venv"],
            [*install, "-c", here / "constraints.txt", "-e", f"{ROOT}[test,parquet,plots]"],
            [*test, *(ROOT / "tests" / name for name in TESTS)],
        ]
        for step in steps:
            done = subprocess.run(step, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                break
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        versions = versions_in(here)
    print(f"{python}, {kind}: {' '.join(last)} ({time.monotonic() - began:.0f} s; {versions})", flush=True)
    if done.returncode:
        print((done.stdout + done.stderr)[-4000:], flush=True)
    return int(done.returncode != 0)


def versions_in(here: Path) -> str:
    """Return what was installed of the packages that the tries differ in."""
    listed = subprocess.run(
        [*UV, "pip", "freeze", "--quiet", "--python", here / "venv"], capture_output=True, text=True, check=False
    )
    return " ".join(line for line in listed.stdout.splitlines() if line.partition("==")[0] in SHOWN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
