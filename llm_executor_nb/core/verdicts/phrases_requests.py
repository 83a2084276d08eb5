"""What errors say about one request: its parts, its content, its length, and the features it needs.

A new wording is a new line of its group; `wordings` says what each group means. A line is a phrase, or one or more
stems and the regular expression to search for where one of them occurs.
"""

# A wording is a line.
# fmt: off
from __future__ import annotations

from typing import Final

from llm_executor_nb.core.verdicts.phrases import Phrases, cannot
from llm_executor_nb.core.verdicts.phrases_accounts import ACCOUNT

# --- parts --------------------------------------------------------------------------------------------------------

_FILES: Final = (
    r"(images?|pictures?|audio|videos?|files?|pdfs?|documents?|attachments?|media|image_url|file_url|input_\w+)"
)
_SOME_WORDS: Final = r"( (?!models?\b)[\w'\"`-]+){0,4}"
REQUEST_PARTS: Final = Phrases(
    "cachedcontent", "cached content", "tool_choice", "image_url", "max_price", "max price",
    *(
        (stem, (r"(fail\w*|unable|errors?|could ?n[o']t|could not|cannot|can't|problem|timed out|timeout)[ :,]+"
                rf"([\w']+ ){{0,2}}{stem}\w*{_SOME_WORDS} ({_FILES}|urls?)\b"))
        for stem in ("download", "fetch", "retriev", "load", "read", "open", "decod", "pars", "process", "access",
                     "get")
    ),
    ("",
     (rf"{_FILES}\b[^\n.;]{{0,60}} (not (be )?(found|exist)|n't exist|could(n't| not)|cannot be|can't be"
      r"|has expired|is (invalid|corrupt\w*|missing|empty|unreadable)|was deleted)")),
    ("no such", rf"no such {_FILES}\b"),
    ("permission", rf"permissions?[\w ]{{0,20}} (to|for|on) (\w+ )?(the |this |that )?{_FILES}\b"),
    ("access", rf"access (to |the |this |that )*{_FILES}\b"),
    ("schema", r"(invalid|bad|malformed) ([\w-]+ )?schema|(in|of|for) (the |your )?([\w-]+ )?schema\b"),
    ("propert", r"propert(y|ies)\b"),
    ("enum", r"enum\b"),
    ("tool", r"tool (name|function|description|schema)|(in|of) (the |your )?tools\b|tools?[\[.]\d"),
    ("messages", r"messages[\[.]\d"),
    ("blocked", r"(prompt|input|content|message)s? (was |were |is |are |has been |have been )?blocked"),
    ("invalid",
     (r"invalid (?![^\n]{0,16}(model|key|token|auth\b|credential))([\w'\"`.-]+ ){1,2}(field|property|part)\b"
      r"|invalid (value|parameter|argument) (for|of|in) (?![^\n]{0,8}(model|key|token))")),
    ("must be", r"must be (between|one of|less than|greater than|at (most|least)|a (valid )?(string|number|boolean))"),
)
"""Parts that only this request has, so that what happened to them says nothing of a key, an account or a model.

An example is the status that the address of an image answered with (design 3.1, blame).
"""
NO_ENDPOINT: Final = Phrases(
    ("no ",
     (r"no (endpoints?|providers?) (were |are )?(found |available )*"
      r"((that|which|matching|with)\b|(to|for) (the requested|plugin|your|this request))")),
)
"""OpenRouter says this when a condition of the request leaves no endpoint."""
FEATURE_NOT_SUPPORTED: Final = Phrases(
    ("support",
     r"(not|n't|un-?) ?supported (by|with|for|on|in) (this|the) ([\w-]+ )?(model|backend|provider|engine|endpoint)"),
)
"""Some feature of the request is not supported; the words do not say which."""

# --- output, content and length -----------------------------------------------------------------------------------

UNUSABLE_OUTPUT: Final = Phrases(
    "tool use failed", "tool call validation failed", "failed to call a function", "generated json does not match",
    "malformed function call",
    ("json", r"(failed|unable) to (generate|produce|validate|parse) (valid )?json"),
    ("model", r"(failed|unable) to (generate|produce|validate|parse) (the )?model('s)? (output|tool call|response)"),
    ("model",
     (r"model (has )?(generated|produced|returned|output|did not (output|return|produce))"
      r" ([\w-]+ ){0,4}(json|tool call|function call|output|content)")),
)
FLAGGED: Final = Phrases(
    "responsible ai", "data inspection", "inappropriate content", "prohibited content",
    "unsafe content", "harmful content", "jailbreak",
    "敏感", "违规",  # sensitive, against the rules
    ("content", r"content[ _-]?(policy|policies|filter\w*|management|moderation|safety|risk|restriction)"),
    ("flagged", r"(was|were|been|input|prompt|content|request|message)s? flagged|flagged (as|by|for)"),
    ("moderation", r"moderation"),
    ("safety", r"safety (system|filter|setting|polic|check|guideline)"),
    ("sensitive", r"sensitive (words?|content|information|topic)"),
    ("usage polic", r"usage polic(y|ies)"),
    ("blocked",
     r"blocked by (a |an |the |your |our |openai's |azure )*([\w-]+ )?(guardrail|safety|content|moderation|filter)"),
    ("guardrail", r"guardrail[\w ]{0,20} (blocked|intervened|triggered|violation|failed)"),
    ("violat", r"violat\w+ [^\n]{0,60}(polic|terms|guideline|safety)"),
)
# A policy on data, or a banned account, is not about what this request says.
NOT_ABOUT_CONTENT: Final = Phrases(
    "data polic", "privacy",
    ("ed", rf"{ACCOUNT}[\w ]{{0,30}} (suspended|banned|terminated|disabled)"),
)
# OpenAI sends these with a 429, yet no wait makes the request smaller.
REQUEST_TOO_LARGE: Final = Phrases(
    "reduce your message size", "single request", "request too large", "request is too large",
    "tokens must be reduced",
    ("per request", r"exceeds? the (maximum|max)[\w ]{0,20} per request"),
)
TOO_LONG: Final = Phrases(
    "n_ctx", "max_model_len", "input length", "larger than the model",
    ("context", r"context[ _-]?(length|window|size|limit)"),
    ("max", r"max(imum)? ((model|prompt|input|sequence|allowed|total|number of) ){1,3}(length|tokens?)\b"),
    ("too ",
     (r"(prompt|inputs?|messages?|request|conversation|text|sequence|payload|entity|body|content|document|history)"
      r"( \w+){0,2} (is |are |was |were )?too (long|large|big)")),
    ("limit", r"(size|length) limit"),
    ("too many", r"too many (input |prompt )?tokens"),
    ("tokens", r"must (have|be) (less|fewer|shorter) than \d+ tokens"),
    ("size", r"(payload|request|body) size exceeds"),
    ("prompt", "input", "message",
     (r"(prompt|inputs?|messages?|context)`?( tokens?| length| token count| size)+[^\n]{0,60}"
      r"(exceed|larger than|longer than|greater than|over the|must be|maximum|limit)")),
    ("reduce", "shorten", "truncate", "trim ",
     (r"(reduce|shorten|trim|decrease|truncate) (the |your )?((length|size|number|amount) of (the |your )?)?"
      r"((input|prompt) )?(prompt|message|input|tokens|text|conversation|context|length)")),
    ("exceed",
     r"exceed\w*[^\n]{0,50} (context|token limit|model'?s? (limit|maximum|window)|max[_ ]model[_ ]len|max[_ ]seq)"),
    ("exceed", r"(max|prompt|model|token)[\w ]{0,20} tokens? (limit )?exceeded"),
    ("exceed", r"tokens? ?(count )?[^\n]{0,24}exceeds? (the |its )?(limit|maximum|model)"),
)
ABOUT_MAX_TOKENS: Final = Phrases(
    ("max", (r"\A(?![\s\S]*(?:context|prompt|\binputs?\b|messages))[\s\S]*"
             r"(?:max_tokens|max_completion_tokens|maximum tokens you)")),
)
"""A limit on the answer's length, which is a parameter; the prompt may be short enough."""
ABOUT_ONE_FILE: Final = Phrases(
    "mime", "base64", "resolution", "corrupt", "pixels", "could not", "cannot be read",
    ("format", r"formats?\b"),
    ("image", "audio", "video", "file", "media", "picture",
     r"(image|audio|video|file|media|picture)[ _-]?(format|type|size|extension|codec|dimension)"),
    ("cannot", r"cannot (be )?(download|decod|open|pars)"),
    ("too ", r"too (large|big|many|small)"),
)
"""This one file is at fault; the route may well take files."""

# --- needs --------------------------------------------------------------------------------------------------------

IMAGE: Final = Phrases(
    "not a multimodal model", "not a vision model", "at most 0 image", "missing data required for image",
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
    "enable-auto-tool-choice", "tool-call-parser", "tools param requires",
    cannot("tool", r"\btools?\b|\btool[ _-](?:use|calls?|calling|choice)"),
    cannot("function", r"function[ _-]?call(?:ing|s)?|\bfunctions\b"),
)
ABOUT_PARALLEL_CALLS: Final = Phrases("at once", "single tool", "parallel")
"""A limit on how many calls one message may have; the route takes tools."""
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
    "logprobs", "logit_bias", "reasoning", "reasoning_effort", "cache control", r"\w+_penalty", "min_p", "top_a",
    "top_k", "top_p", "typical_p", "mirostat", "stream_options", "service_tier", "service tier", "parallel_tool_calls",
)
# A route that does not take one parameter serves all requests without it (design 3.2, need).
PARAM: Final = Phrases(
    *(cannot(stem, _NAMES) for stem in ("support", "allow", "permitted", "enabled", "accept")),
    cannot("parameter", r"(?:requested|these|following|some|the) parameters?|\bparameters?:? [`'\"]"),
    *(cannot(name.replace(r"\w+", ""), rf"\b{name}\b") for name in _BARE_NAMES),
    cannot("thinking", r"\bthinking\b"),
    cannot("modalities", r"output modalities"),
    cannot("stop sequences", r"stop sequences"),
)
ABOUT_A_VALUE: Final = Phrases(
    "unsupported value", "only the default", "must be", "expected one of",
    ("support", r"does not support [\d.]+ with"),
)
# design 3.5: a policy fails closed; such a refusal holds only requests with the same policy
POLICY: Final = Phrases(
    "data polic", "data-retention", "data retention", "no allowed providers",
    "constraint filtered", "guardrail restrictions", "all providers have been ignored",
    ("privacy", r"privacy (setting|polic|restrict)"),
    ("zdr", r"zdr\b"),
    ("provider", r"provider (preferences|restrictions)"),
    ("routing", r"(meets?|match(es|ing)?|satisf\w+) (your |the )?routing"),
    ("provider.", r"(meets?|match(es|ing)?|satisf\w+|with) (your |the )?[`'\"]?provider\.\w+"),
    ("quantization", r"requested quantizations?\b"),
    ("data", r"data[ _]collection\b"),
    ("satisf", r"satisf\w+ (your |the )?[`'\"](only|order|ignore|max_price|quantizations)[`'\"]"),
    ("price", r"(meets?|match(es|ing)?|satisf\w+) (your |the )?max(imum)? price"),
    ("no ", (r"no (endpoints?|providers?)[^\n]{0,80}(\b(price|pricing|quantiz\w+|retention|training)\b"
             r"|[`'\"](only|ignore|order|zdr|data_collection|max_price|quantizations)[`'\"])")),
    ("filter by", r"filter by (allowed|ignored) provider|filter by (max )?pric|filter by (quantiz|guardrail|data )"),
    ("provider.", r"provider\.\w+[`'\"]? preference"),
)
# The user's own settings exclude the provider, so it is the model on this key that is held, and no provider.
ACCOUNT_SETTINGS: Final = Phrases("your account's", "account setting", "account-wide")
