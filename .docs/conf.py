"""What Sphinx needs to know. `build` beside it makes the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import llm_executor_nb as llm

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = llm.__name__
version = release = llm.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["README.md"]  # index.md includes it
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["static"]
html_css_files = ["frames.css"]
html_copy_source = False
html_show_copyright = False
default_role = "code"
highlight_language = "default"
maximum_signature_line_length = 100
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
myst_heading_anchors = 3

# A test executes the notebooks, and they are saved with their outputs. The pages of this folder run in each build.
nb_execution_excludepatterns = ["notebooks/*"]
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 60
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # the site fetches nothing from another host


def setup(app: Sphinx) -> None:
    """Connect the reader of docstrings; it runs before the one that reads their sections."""
    app.connect("autodoc-process-docstring", mark_code, priority=400)


def mark_code(_app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    """Mark the indented blocks of a docstring as code. It is Markdown there, and reStructuredText needs a `::`."""
    marked: list[str] = []
    in_code = False
    for line in lines:
        is_indented = line.startswith("    ")
        if is_indented and not in_code and marked and not marked[-1].strip():
            marked += ["::", ""]
        in_code = is_indented or (in_code and not line.strip())
        marked.append(line)
    lines[:] = marked
