"""Words about one request's own parts: its files, its schema, its messages. A new wording is a new line of its kind.

What stands beside them, such as what the address of an image answered, says nothing of a key, an account
or a model.
"""

from __future__ import annotations

import re
from typing import Final

from llm_executor_nb.core.verdicts.wording import Phrases

_FILES: Final = (
    r"(images?|pictures?|audio|videos?|files?|pdfs?|documents?|attachments?|media|image_url|file_url|input_\w+)"
)
_UP_TO_FILE: Final = r"( (?!models?\b)[\w'\"`-]+){0,4}"
OWN_PARTS: Final = Phrases(
    "cachedcontent",
    "cached content",
    "tool_choice",
    "image_url",
    "max_price",
    "max price",
    *(
        (
            stem,
            (
                r"(fail\w*|unable|errors?|could ?n[o']t|could not|cannot|can't|problem|timed out|timeout)[ :,]+"
                rf"([\w']+ ){{0,2}}{stem}\w*{_UP_TO_FILE} ({_FILES}|urls?)\b"
            ),
        )
        for stem in (
            "download",
            "fetch",
            "retriev",
            "load",
            "read",
            "open",
            "decod",
            "pars",
            "process",
            "access",
            "get",
        )
    ),
    (
        "",
        (
            rf"{_FILES}\b[^\n.;]{{0,60}} (not (be )?(found|exist)|n't exist|could(n't| not)|cannot be|can't be"
            r"|has expired|is (invalid|corrupt\w*|missing|empty|unreadable)|was deleted)"
        ),
    ),
    ("no such", rf"no such {_FILES}\b"),
    ("permission", rf"permissions?[\w ]{{0,20}} (to|for|on) (\w+ )?(the |this |that )?{_FILES}\b"),
    ("access", rf"access (to |the |this |that )*{_FILES}\b"),
    ("schema", r"(invalid|bad|malformed) ([\w-]+ )?schema|(in|of|for) (the |your )?([\w-]+ )?schema\b"),
    ("propert", r"propert(y|ies)\b"),
    ("enum", r"enum\b"),
    ("tool", r"tool (name|function|description|schema)|(in|of) (the |your )?tools\b|tools?[\[.]\d"),
    ("messages", r"messages[\[.]\d"),
    ("blocked", r"(prompt|input|content|message)s? (was |were |is |are |has been |have been )?blocked"),
    (
        "invalid",
        (
            r"invalid (?![^\n]{0,16}(model|key|token|auth\b|credential))([\w'\"`.-]+ ){1,2}(field|property|part)\b"
            r"|invalid (value|parameter|argument) (for|of|in) (?![^\n]{0,8}(model|key|token))"
        ),
    ),
    ("must be", r"must be (between|one of|less than|greater than|at (most|least)|a (valid )?(string|number|boolean))"),
)
"""Words of what only this request has."""
OF_NO_ENDPOINT: Final = Phrases(
    (
        "no ",
        (
            r"no (endpoints?|providers?) (were |are )?(found |available )*"
            r"((that|which|matching|with)\b|(to|for) (the requested|plugin|your|this request))"
        ),
    ),
)
"""What OpenRouter says when a condition of the request leaves no endpoint."""
NOT_WITH_THIS: Final = Phrases(
    (
        "support",
        r"(not|n't|un-?) ?supported (by|with|for|on|in) (this|the) ([\w-]+ )?(model|backend|provider|engine|endpoint)",
    ),
)
"""What says that a feature of the request is not supported, whatever it is."""

_QUOTED: Final = re.compile(r"(?<!\w)(?<!['\"]: )(['\"`])[^'\"`\n]{1,200}\1(?!\w)(?!:)")


def unquoted(words: str) -> str:
    """Return words without what stands in quotes: names and values of the request's, which say nothing of an account.

    The values of an object that stands in a text, as `{'message': 'no credit'}`, are words of the error itself.
    """
    return _QUOTED.sub("''", words)
