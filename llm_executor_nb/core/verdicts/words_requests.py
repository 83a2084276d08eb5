"""Words about what one request holds or needs. A new wording is a new line of its kind."""

from __future__ import annotations

from typing import Final

from llm_executor_nb.core.verdicts.wording import Phrases, cannot
from llm_executor_nb.core.verdicts.words_access import WHO

UNUSABLE: Final = Phrases(
    "tool use failed",
    "tool call validation failed",
    "failed to call a function",
    "generated json does not match",
    "malformed function call",
    ("json", r"(failed|unable) to (generate|produce|validate|parse) (valid )?json"),
    ("model", r"(failed|unable) to (generate|produce|validate|parse) (the )?model('s)? (output|tool call|response)"),
    (
        "model",
        (
            r"model (has )?(generated|produced|returned|output|did not (output|return|produce))"
            r" ([\w-]+ ){0,4}(json|tool call|function call|output|content)"
        ),
    ),
)
FLAGGED: Final = Phrases(
    "requires moderation",
    "responsible ai",
    "data inspection",
    "inappropriate content",
    "prohibited content",
    "unsafe content",
    "harmful content",
    "jailbreak",
    "敏感",
    "违规",
    ("content", r"content[ _-]?(policy|policies|filter\w*|management|moderation|safety|risk|restriction)"),
    ("flagged", r"(was|were|been|input|prompt|content|request|message)s? flagged|flagged (as|by|for)"),
    ("moderation", r"moderation"),
    ("safety", r"safety (system|filter|setting|polic|check|guideline)"),
    ("sensitive", r"sensitive (words?|content|information|topic)"),
    ("usage polic", r"usage polic(y|ies)"),
    (
        "blocked",
        r"blocked by (a |an |the |your |our |openai's |azure )*([\w-]+ )?(guardrail|safety|content|moderation|filter)",
    ),
    ("guardrail", r"guardrail[\w ]{0,20} (blocked|intervened|triggered|violation|failed)"),
    ("violat", r"violat\w+ [^\n]{0,60}(polic|terms|guideline|safety)"),
)
NOT_FOR_ITS_CONTENT: Final = Phrases(
    "data polic", "privacy", ("ed", rf"{WHO}[\w ]{{0,30}} (suspended|banned|terminated|disabled)")
)
SIZE_OF_ONE: Final = Phrases(
    "reduce your message size",
    "single request",
    "request too large",
    "request is too large",
    "tokens must be reduced",
    ("per request", r"exceeds? the (maximum|max)[\w ]{0,20} per request"),
)
TOO_LONG: Final = Phrases(
    "n_ctx",
    "max_model_len",
    "input length",
    "larger than the model",
    ("context", r"context[ _-]?(length|window|size|limit)"),
    ("max", r"max(imum)? ((model|prompt|input|sequence|allowed|total|number of) ){1,3}(length|tokens?)\b"),
    (
        "too ",
        (r"(prompt|inputs?|messages?|request|conversation|text|sequence|payload|entity|body|content|document|history)"
        r"( \w+){0,2} (is |are |was |were )?too (long|large|big)"),
    ),
    ("limit", r"(size|length) limit"),
    ("too many", r"too many (input |prompt )?tokens"),
    ("tokens", r"must (have|be) (less|fewer|shorter) than \d+ tokens"),
    ("size", r"(payload|request|body) size exceeds"),
    *(
        (stem, (r"(prompt|inputs?|messages?|context)`?( tokens?| length| token count| size)+[^\n]{0,60}"
               r"(exceed|larger than|longer than|greater than|over the|must be|maximum|limit)"))
        for stem in ("prompt", "input", "message")
    ),
    *(
        (stem, (r"(reduce|shorten|trim|decrease|truncate) (the |your )?((length|size|number|amount) of (the |your )?)?"
               r"((input|prompt) )?(prompt|message|input|tokens|text|conversation|context|length)"))
        for stem in ("reduce", "shorten", "truncate", "trim ")
    ),
    (
        "exceed",
        r"exceed\w*[^\n]{0,50} (context|token limit|model'?s? (limit|maximum|window)|max[_ ]model[_ ]len|max[_ ]seq)",
    ),
    ("exceed", r"(max|prompt|model|token)[\w ]{0,20} tokens? (limit )?exceeded"),
    ("exceed", r"tokens? ?(count )?[^\n]{0,24}exceeds? (the |its )?(limit|maximum|model)"),
)  # fmt: skip
OF_MAX_TOKENS: Final = Phrases(
    *(
        ("max", rf"\A(?![\s\S]*(?:context|prompt|\binputs?\b|messages))[\s\S]*(?:{name})")
        for name in ("max_tokens", "max_completion_tokens", "maximum tokens you")
    )
)
"""A limit of the answer's length, which is a parameter, and nothing of the prompt's."""
OF_ONE_FILE: Final = Phrases(
    "mime",
    "base64",
    "resolution",
    "corrupt",
    "pixels",
    "could not",
    "cannot be read",
    ("format", r"formats?\b"),
    *(
        (stem, rf"{stem}[ _-]?(format|type|size|extension|codec|dimension)")
        for stem in ("image", "audio", "video", "file", "media", "picture")
    ),
    ("cannot", r"cannot (be )?(download|decod|open|pars)"),
    ("too ", r"too (large|big|many|small)"),
)
"""Words that speak of the one file that was sent, not of files as such."""
IMAGE: Final = Phrases(
    "not a multimodal model",
    "not a vision model",
    "at most 0 image",
    "missing data required for image",
    cannot("image", r"\bimages?\b|image[ _](?:url|input)"),
    cannot("vision", r"\bvision\b"),
    cannot("modal", r"multi-?modal"),
    cannot("picture", r"\bpictures?\b"),
)
AUDIO: Final = Phrases("at most 0 audio", cannot("audio", r"\baudio\b|input_audio"), cannot("speech", r"\bspeech\b"))
VIDEO: Final = Phrases("at most 0 video", cannot("video", r"\bvideos?\b|video_url"))
FILE: Final = Phrases(
    cannot("file", r"\bfiles?\b(?! path)"),
    cannot("pdf", r"\bpdfs?\b"),
    cannot("document", r"\bdocuments?\b"),
    cannot("attachment", r"\battachments?\b"),
)
TOOLS: Final = Phrases(
    "enable-auto-tool-choice",
    "tool-call-parser",
    "tools param requires",
    cannot("tool", r"\btools?\b|\btool[ _-](?:use|calls?|calling|choice)"),
    cannot("function", r"function[ _-]?call(?:ing|s)?|\bfunctions\b"),
)
OF_PARALLEL_CALLS: Final = Phrases("at once", "single tool", "parallel")
"""Words that speak of how many calls there may be in one message."""
SCHEMA: Final = Phrases(
    ("response", r"response[ _]format[\w ]{0,12} (is )?unavailable"),
    cannot("response", r"response[ _]format"),
    cannot("json", r"json[ _-]?(?:schema|mode|object)"),
    cannot("structured", r"structured[ _-]?outputs?"),
    cannot("guided", r"guided[ _-]\w+"),
)
_NAMES: Final = (
    r"[`'\"](?:temperature|top_p|top_k|seed|n|stop|logprobs|top_logprobs|logit_bias|frequency_penalty|presence_penalty"
    r"|max_tokens|max_completion_tokens|reasoning\w*|thinking|parallel_tool_calls|stream_options|service_tier|modalities"
    r"|verbosity|prediction|store|metadata|user)[`'\"]"
)
_BARE_NAMES: Final = (
    "logprobs",
    "logit_bias",
    "reasoning",
    "reasoning_effort",
    "cache control",
    r"\w+_penalty",
    "min_p",
    "top_a",
    "top_k",
    "top_p",
    "typical_p",
    "mirostat",
    "stream_options",
    "service_tier",
    "service tier",
    "parallel_tool_calls",
)
PARAM: Final = Phrases(
    *(cannot(stem, _NAMES) for stem in ("support", "allow", "permitted", "enabled", "accept")),
    cannot("parameter", r"(?:requested|these|following|some|the) parameters?|\bparameters?:? [`'\"]"),
    *(cannot(name.replace(r"\w+", ""), rf"\b{name}\b") for name in _BARE_NAMES),
    cannot("thinking", r"\bthinking\b"),
    cannot("modalities", r"output modalities"),
    cannot("stop sequences", r"stop sequences"),
)
OF_A_VALUE: Final = Phrases(
    "unsupported value", "only the default", "must be", "expected one of", ("support", r"does not support [\d.]+ with")
)
POLICY: Final = Phrases(
    "data polic",
    "data-retention",
    "data retention",
    "no allowed providers",
    "privacy restricted",
    "constraint filtered",
    "guardrail restrictions",
    "all providers have been ignored",
    ("privacy", r"privacy (setting|polic|restrict)"),
    ("zdr", r"zdr\b"),
    ("provider", r"provider (preferences|restrictions)"),
    (
        "routing",
        r"(meets?|match(es|ing)?|satisf\w+) (your |the )?routing",
    ),
    (
        "provider.",
        r"(meets?|match(es|ing)?|satisf\w+|with) (your |the )?[`'\"]?provider\.\w+",
    ),
    ("quantization", r"requested quantizations?\b"),
    ("data", r"data[ _]collection\b"),
    ("satisf", r"satisf\w+ (your |the )?[`'\"](only|order|ignore|max_price|quantizations)[`'\"]"),
    ("price", r"(meets?|match(es|ing)?|satisf\w+) (your |the )?max(imum)? price"),
)
OF_THE_ACCOUNT: Final = Phrases("your account's", "account setting", "account-wide")
