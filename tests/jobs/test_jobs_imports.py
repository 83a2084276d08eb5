"""The room of many runs needs no pandas: a job is a queue of prompts, and a frame is one way to fill it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from llm_executor_nb import jobs

SOURCES = sorted(Path(jobs.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_jobs_name_no_pandas_not_even_for_types(source):
    nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not [module for module in modules if module.partition(".")[0] == "pandas"]
