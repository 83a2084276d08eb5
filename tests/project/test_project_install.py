"""What pip installs: two names, both typed, one module, and nothing else."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def built(version, folder):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=[version])
    return Path(wheel)


def unpacked(version, folder):
    wheel = built(version, folder)
    site = folder / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return what `pip install llm_executor_nb` adds to site-packages."""
    return unpacked("standard", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    """Return what `pip install -e .` adds to site-packages."""
    return unpacked("editable", tmp_path_factory.mktemp("editable"))


@pytest.fixture(params=["wheel", "editable"])
def site(request):
    return request.getfixturevalue(request.param)


def python(site, *arguments):
    """Run this Python with `site` before its own packages, and return what it printed."""
    folders = [str(site), *(line for pth in site.glob("*.pth") for line in pth.read_text().splitlines())]
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Fresh:
    """An environment of its own that has what we depend on, and neither this package nor its repository."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder, with_pip=False)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        # a folder that a .pth names gives its packages; the .pth files in it, such as that of a clone, are not read
        paths = sysconfig.get_paths()
        (site / "dependencies.pth").write_text(f"{paths['purelib']}\n{paths['platlib']}\n")

    def run(self, *arguments):
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.python, *arguments], cwd=self.folder, env=alone, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pip_install(self, *what):
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        offline = ["--no-index", "--no-deps", "--no-build-isolation"]
        done = subprocess.run([*pip, *offline, *what], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def install_line(self):
        show = "from llm_executor_nb.core.install_line import install_line; print(install_line('plots'))"
        return self.run("-c", show).strip()


@pytest.fixture
def fresh(tmp_path):
    return Fresh(tmp_path / "venv")


def test_the_wheel_holds_the_package_under_both_names_and_nothing_else(wheel):
    assert {path.name for path in wheel.iterdir()} == {
        "llm_executor",
        "llm_executor_nb",
        f"llm_executor_nb-{PROJECT['version']}.dist-info",
    }
    assert {path.name for path in (wheel / "llm_executor").iterdir()} == {"__init__.py", "py.typed"}
    assert not (wheel / "llm_executor_nb" / "_first_name").exists()


def test_the_wheel_holds_every_source_file_and_the_license(wheel):
    source = ROOT / "llm_executor_nb"
    shipped = {path.relative_to(wheel / source.name) for path in (wheel / source.name).rglob("*") if path.is_file()}
    written = {path.relative_to(source) for path in source.rglob("*.py") if path.parent.name != "_first_name"}
    assert written | {Path("py.typed")} <= shipped
    assert [*wheel.glob("*.dist-info/licenses/LICENSE")]


def test_both_names_are_typed_and_have_the_same_first_name_file(site):
    first = site / "llm_executor"
    assert (first / "py.typed").exists()
    assert (first / "__init__.py").read_text() == (ROOT / "llm_executor_nb/_first_name/__init__.py").read_text()


def test_the_import_comes_from_what_was_installed(wheel, editable):
    show = "import llm_executor as e; print(e.__file__)"
    assert python(wheel, "-c", show).strip() == str(wheel / "llm_executor_nb" / "__init__.py")
    assert python(editable, "-c", show).strip() == str(ROOT / "llm_executor_nb" / "__init__.py")


@pytest.mark.parametrize("names", ["llm_executor, llm_executor_nb", "llm_executor_nb, llm_executor"])
def test_both_names_are_one_module_in_either_order(site, names):
    python(site, "-c", f"import {names}; assert llm_executor is llm_executor_nb")


def test_modules_and_what_is_pickled_are_one_under_both_names_and_a_missing_one_is_told_as_it_was_typed(site):
    python(
        site,
        "-c",
        "import cloudpickle, copy, pickle, llm_executor as first, llm_executor_nb as real\n"
        "assert pickle.loads(pickle.dumps(first)) is copy.deepcopy(first) is real\n"
        "assert cloudpickle.loads(cloudpickle.dumps(lambda: first))() is real\n"
        "assert cloudpickle.loads(cloudpickle.dumps(lambda: first.core.secret))().Secret is real.core.secret.Secret\n"
        "try: import llm_executor.nowhere\n"
        "except ModuleNotFoundError as error: assert error.name == 'llm_executor.nowhere'\n"
        "else: raise SystemExit('found it')\n"
        "import llm_executor.core.errors as first, llm_executor_nb.core.errors as real; assert first is real\n"
        "from llm_executor.core.errors import ConfigError; assert ConfigError is real.ConfigError\n"
        "import importlib; importlib.reload(real)",
    )


def test_the_floors_that_ci_tests_are_the_lower_bounds_that_pip_is_told():
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "tests" / "floors.txt").read_text(), re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    tried = extras.keys() - {"docs", "lab", "test"}
    needs = [*PROJECT["dependencies"], *(need for name in tried for need in extras[name])]
    told = {
        need.name: min(bound.version for bound in need.specifier if bound.operator == ">=")
        for need in map(Requirement, needs)
    }
    assert {name: Version(pin) for name, pin in pins.items()} == {name: Version(bound) for name, bound in told.items()}


# --- a fresh environment --------------------------------------------------------------------------------------------


def test_the_wheel_alone_runs_the_main_job_and_its_pip_line_can_be_typed(fresh, tmp_path):
    wheel = built("standard", tmp_path)
    assert wheel.stat().st_size < 800_000  # no data came along: this is what the sources take
    fresh.pip_install(wheel)
    where = fresh.run("-c", "import llm_executor, llm_executor_nb; print(llm_executor_nb.__file__)").strip()
    assert Path(where).is_relative_to(fresh.folder)
    assert "OPENROUTER_API_KEY" in fresh.run("-m", "llm_executor_nb")
    line = fresh.install_line()
    assert line == f'pip install "llm_executor_nb[plots] @ {wheel.as_uri()}"'
    fresh.pip_install(*shlex.split(line)[2:])


def test_the_pip_line_of_a_clone_can_be_typed(fresh):
    fresh.pip_install("-e", str(ROOT))
    line = fresh.install_line()
    assert line == f'pip install -e "{ROOT}[plots]"'
    fresh.pip_install(*shlex.split(line)[2:])


def test_the_metadata_name_every_python_that_is_tried_and_the_extras_that_messages_name(wheel):
    (found,) = wheel.glob("*.dist-info/METADATA")
    metadata = found.read_text()
    for minor in range(11, 15):
        assert f"Classifier: Programming Language :: Python :: 3.{minor}" in metadata
    sources = "".join(path.read_text() for path in (wheel / "llm_executor_nb").rglob("*.py"))
    named = set(re.findall(r"install_line\(['\"](\w+)['\"]\)", sources))
    assert named
    assert named <= set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE))
