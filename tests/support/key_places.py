"""Places outside this program that hold keys, for tests: a login of Hugging Face, and fakes of notebook services."""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import llm_executor_nb as llm

Scope, Metadata = namedtuple("Scope", "name"), namedtuple("Metadata", "key")  # noqa: PYI024 - as Databricks has them


def login_file() -> Path:
    """Return where the login of this test's home is."""
    return Path(os.environ["HF_HOME"]) / "token"


def log_in(token: str) -> None:
    """Write a token as `hf auth login` does."""
    login_file().parent.mkdir(parents=True, exist_ok=True)
    login_file().write_text(f"{token}\n")


class Colab(ModuleType):
    """Colab's `userdata` as its source has it: `get`, and errors without a common base."""

    class SecretNotFoundError(Exception):
        """As in its source."""

    class NotebookAccessError(Exception):
        """As in its source."""

    def __init__(self, secrets, refused=()):
        super().__init__("google.colab.userdata")
        self.secrets, self.refused, self.asked = secrets, refused, []

    def get(self, name):
        self.asked.append(name)
        if name in self.refused:
            raise self.NotebookAccessError(name)
        if name not in self.secrets:
            raise self.SecretNotFoundError(name)
        return self.secrets[name]


class Kaggle(ModuleType):
    """Kaggle's `kaggle_secrets` as its source has it: a secret that is missing is an error of the backend."""

    class BackendError(Exception):
        """As in its source."""

    class CredentialError(Exception):
        """As in its source."""

    def __init__(self, secrets, failure=None):
        super().__init__("kaggle_secrets")
        self.secrets, self.failure, self.asked = secrets, failure, []
        self.UserSecretsClient = lambda: SimpleNamespace(get_secret=self._get)

    def _get(self, name):
        self.asked.append(name)
        if self.failure is not None:
            raise self.failure
        if name not in self.secrets:
            raise self.BackendError("Unexpected response from the service.")
        return self.secrets[name]


class Databricks:
    """Databricks' `dbutils.secrets`: scopes, of which some may not be listed or read."""

    def __init__(self, scopes, locked=(), failure=None):
        self.scopes, self.locked, self.failure, self.asked = scopes, locked, failure, []

    def listScopes(self):  # noqa: N802 - Databricks' own name
        if self.failure is not None:
            raise self.failure
        return [Scope(name) for name in self.scopes]

    def list(self, scope):
        if scope in self.locked:
            raise RuntimeError("PERMISSION_DENIED")
        return [Metadata(key) for key in self.scopes[scope]]

    def get(self, scope, key):
        self.asked.append(f"{scope}/{key}")
        return self.scopes[scope][key]


def be_in_colab(monkeypatch: Any, *args: Any) -> Colab:
    """Make this process a Colab kernel with some secrets."""
    userdata, package = Colab(*args), ModuleType("google.colab")
    package.userdata = userdata
    monkeypatch.setitem(sys.modules, "google", sys.modules.get("google") or ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)
    llm.keys.refresh()
    return userdata


def be_in_kaggle(monkeypatch: Any, *args: Any) -> Kaggle:
    """Make this process a Kaggle notebook with some secrets attached."""
    module = Kaggle(*args)
    monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
    return module


def be_in_databricks(monkeypatch: Any, *args: Any) -> Databricks:
    """Put `dbutils` with some scopes among the variables of IPython's shell."""
    secrets = Databricks(*args)
    shell = SimpleNamespace(user_ns={"dbutils": SimpleNamespace(secrets=secrets)})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    return secrets
