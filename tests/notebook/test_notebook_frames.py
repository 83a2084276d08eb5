"""A frame of answers is not typeset in a notebook that has loaded the extension."""

from __future__ import annotations

import pandas as pd
from shells import extended_shell


def test_with_the_extension_pandas_keeps_front_ends_from_typesetting_frames_and_afterwards_its_option_is_back():
    frame = pd.DataFrame({"answer": ["$\\unicode[a;background:url(http://beacon)]{x41}$"]})
    for is_typeset in (True, False):
        with pd.option_context("display.html.use_mathjax", is_typeset):
            with extended_shell():
                assert "tex2jax_ignore" in frame._repr_html_()
            assert pd.get_option("display.html.use_mathjax") is is_typeset
