"""What the words of an error say: patterns in the order they are tried, each with the statuses it is believed with.

The words are the texts of an error and its codes written as words, one a line, in lower case, without addresses of
pages (`see .../billing` says nothing of a bill). Specific words beat a status, so a pattern has to be one that says
what it means whatever stands around it: names of fields and functions come from the user. Where it is not clear how
far a refusal reaches, the narrower reach stands here: an unjust hold loses rows, a missing one costs one request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llm_executor_nb.core.outcomes import Finding, Need, Outcome, Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One kind of words.

    Attributes:
        says: what is looked for.
        statuses: where it is believed; None among them: an error inside a 200 that names no status.
        finding: what it means.
        unless: words beside it with which it means something else; None: there are none.
        is_untimed: it means this only where the reply names no time at which to ask again.
    """

    says: re.Pattern[str]
    statuses: frozenset[int | None]
    finding: Finding
    unless: re.Pattern[str] | None = None
    is_untimed: bool = False


def _any(*patterns: str) -> re.Pattern[str]:
    """Return the pattern of any of some words, which do not begin in the midst of a name like `check_budget_exceeded`."""
    return re.compile(rf"(?<![a-z_])(?:{'|'.join(patterns)})")


_REFUSED: Final = frozenset({None, *range(400, 500)})
_WHATEVER: Final = frozenset({None, *range(400, 600)})
_OF_REQUESTS: Final = frozenset({None, 400, 413, 422, 500, 502})
_OF_MODELS: Final = frozenset({None, 400, 401, 403, 404, 405, 410, 412, 415, 422, 500, 501})
_OF_ACCESS: Final = frozenset({None, 400, 401, 403, 404, 412, 422, 423, 498})
_OF_TRAFFIC: Final = frozenset({None, 400, 403, 404, 409, 412, 420, 423, 424, 498, 500, 502, 504})

# --- money and limits ---------------------------------------------------------------------------------------------

_AFFORDABLE: Final = _any(
    r"can only afford",
    r"\bfewer max_tokens",
    r"requested up to \d+ tokens",
    r"tokens? limit exceeded: \d+ ?> ?\d+",
    r"\bneed quota",
    r"pre-?consumed? quota",
    r"预扣费",
    r"(this|your) request (would )?(costs?|needs|requires?) (at least |about )?[$€\d]",
    r"(insufficient|not enough) (credits?|balance|funds) (for|to (process|complete)) this request[^\n]{0,40}max_tokens",
)
_IN_FLIGHT: Final = _any(r"in[- ]flight (budget|requests)", r"requests in flight")
FREE_REQUESTS_OF_THE_DAY: Final = _any(r"free[- ]models[- ]per[- ]day|openrouter free tier daily")
"""OpenRouter's limit that ends with the day of UTC."""
_PER_DAY_OF_KEY: Final = _any(
    FREE_REQUESTS_OF_THE_DAY.pattern,
    r"limited to [\d,]+ [\w ]{0,20}(/|per|a) ?(month|day)",
)
_NO_FREE_TIER: Final = _any(r"(does)?(n't| not) have a free (quota )?tier", r"\blimit: 0\b")
_MODELS_FREE_TIER: Final = _any(
    r"free (tier|quota|allocation|allowance) (of|for) (the|this) model",
    r"allocation quota free tier only",
)
_OF_ONE_PROVIDER: Final = _any(r"not enabled for provider", r"(billing|credits?|quota) [\w ]{0,20}for provider")
_MONEY: Final = _any(
    r"insufficient[ _-](\w+[ _-])?(balance|credits?|funds|quota)",
    r"(credit|account) balance",
    r"balance[\w ,]{0,20} (insufficient|too low|exhausted|negative|not enough|not sufficient|empty|depleted|zero)",
    r"credits?[\w ,]{0,20} (insufficient|exhausted|depleted|used up|expired|not enough|run out|ran out)",
    r"(out of|no( more)?|not enough|run out of|used( up)? all|any|exhausted|depleted|exceeded|purchase|buy|add|more"
    r"|lacks?) ([\w'-]+ ){0,3}credits?\b",
    r"credit limit (exceeded|reached)",
    r"billing[ _](hard[ _]limit|not[ _]active)",
    r"(spend(ing)?|budget|credit|billing|payment)[ _](limit|cap)s?\b[\w ]{0,20}(exceeded|reached|hit)",
    r"(reached|exceeded|over|hit) ([\w']+ ){0,3}(spend(ing)?|budget|credit|billing)[ _](limit|cap)",
    r"(?<!thinking )(?<!reasoning )(?<!token )\bbudget (has been |was |is )?(exceeded|exhausted|reached|used up)",
    r"(exceeded|over|exhausted) (your |its |the |their )?((monthly|daily|weekly|team|user|key|max) )?budget\b",
    r"key limit exceeded",
    r"payment (is )?(required|method|due|overdue|failed|needed)",
    r"failure to pay|past due|unpaid|overdue|arrearage|in arrears",
    r"pay-as-you-go|pre-?paid|top[- ]?up\b|recharge",
    r"trial (has )?(expired|ended)",
    r"(user|token|team|account|project) quota (is |was |has been )?(not enough|exhausted|used up|exceeded|insufficient)",
    r"余额不足|额度不足|额度已用尽|欠费|配额不足",
)
"""What only a lack of money, or of what was bought, is said with."""
_QUOTA: Final = _any(
    r"billing (is|details|account|address|info\w*|settings|has|problem|issue|support)|(enable|check your) billing",
    r"quota[\w ,'\"]{0,30} (exceeded|exhausted|used up|insufficient|not enough|reached|depleted)",
    r"(exceeded|exceeds|exhausted|reached|out of|used( up)?|hit) ([\w']+ ){0,4}quota",
    r"usage[ _]limit",
    r"monthly [\w ]{0,20}(limit|allowance|included|usage|credits)",
    r"daily [\w ]{0,12}(limit|quota|allowance)",
    r"free (tier|usage|trial|plan|quota)[\w ,]{0,30} (exhausted|exceeded|reached|used up|ended|expired)",
    r"(subscription|plan|licen[cs]e) (has |is )?(expired|inactive|ended|cancell?ed|lapsed)",
    r"no active subscription|you( must)? (need|have) an? ([\w-]+ )?subscription|\bor need an? ([\w-]+ )?subscription",
)
"""What a used-up account is said with, and now and then a limit that passes."""
_PER_TIME: Final = _any(
    r"per[- _]?(second|minute|hour)\b|per min\b|/ ?(s|sec|min|minute|hour)\b|\b[rt]p[ms]\b|\bqp[ms]\b",
    r"rate[ -]?limit(s|ed|ing)?\b|too many (concurrent )?(requests|tokens)|throttl|concurren(t|cy)",
    r"slow down|enhance your calm|requests? (were |was )?(made )?too (fast|quickly|often|frequent)|request frequency",
)
_UPSTREAM_POOL: Final = _any(r"rate[- ]limited upstream")
_ONE_MODELS_RATE: Final = _any(r"limit_rp[md]/", r"high demand for [\w./:-]+ on openrouter")
_BUSY: Final = _any(
    r"overload|over capacity|at (full |max\w* )?capacity|capacity (is )?(exceeded|exhausted|reached)|no capacity",
    r"(model|server|engine|service|system) (is |are )?(currently |too |very )*busy|too busy|queue (is )?full",
    r"loading model|(model|currently|still|being) load(ing|ed)\b|maximum pending|temporarily unavailable|cold start",
    r"model[\w ]{0,20} (is )?not ready|warming up|resource temporarily",
)

# --- who may ask --------------------------------------------------------------------------------------------------

_ACCOUNT: Final = _any(
    r"\b(account|organi[sz]ation|user|team|workspace|tenant|profile)\b( [\w'-]+){0,4} (is |been |was )?"
    r"(suspended|restricted|deactivated|disabled|banned|blocked|terminated|locked|inactive|not active|closed|frozen)",
    r"(suspended|deactivated|banned|blocked|disabled) (account|organi[sz]ation|user)\b|access terminated",
    r"(insufficient|missing|required|lacks?|no|not have( the| any| sufficient| required)*|without|sufficient)"
    r" ([\w-]+ )?(permissions?|scopes?|privileges)",
    r"permissions?[\w ,'\".-]{0,60} (denied|required|missing|insufficient|not granted)|on behalf of",
    r"(project|account|key|token|consumer|caller|user) ([\w-]+ )?(is |are |has )?"
    r"not (been )?(used|allowed|authorized|permitted|entitled|enabled) (in|to|for|before)",
    r"has not been used in project|service disabled|ip (address )?[\w. ]{0,30}not (allowed|authorized|whitelisted)",
    r"verify your (account|identity|phone|email)",
)
_OF_MODEL: Final = _any(r"models?\b")
_MAY_NOT_EXIST: Final = _any(r"it may not exist")
_MODEL_ACCESS: Final = _any(
    r"access to (the |this |requested )*(model|[\w.-]+/[\w.-]+ is restricted)|access (the|this) model",
    r"access[\w ]{0,20} to (the )?(specified |requested )?models?\b",
    r"\bgated\b|authorized list|(terms|licen[cs]e|agreement) (of use |of service )?(acceptance|agreement|required)",
    r"accept (the |its |their |our )?([\w']+ )?(terms|conditions|licen[cs]e|agreement)",
    r"(requir\w+|bring|add) (a |your |an )?(own )?(api )?key\b[\w ,]{0,40}\bmodel",
    r"not allowed to (access|use|call) (the |this )?model|(model|deployment)[\w ]{0,12} access denied",
    r"\bmodel\b[^\n.]{0,80} (is |are )?(blocked|restricted|gated|not enabled|not allowed|disabled (for|at|by))",
    r"must be verified to (use|stream|access)",
    r"model[\w ,'\"./:-]{0,60} requires? (an? )?(\w+ )?(subscription|plan|tier|licen[cs]e|verification)",
    r"(not|n't) (available|included|supported|offered) (in|on|for|with|under) (your|this|the) ([\w-]+ )?"
    r"(plan|tier|subscription|account)",
)
_REGION: Final = _any(
    r"(country|region|territory|location|geograph\w*)[\w ,'\"/()-]{0,60} (is |are )?(not|n't|un)[ -]?"
    r"(supported|available|allowed|permitted|served)",
    r"(not|un)[ -]?(available|supported|allowed|offered) (in|for|from) (your|this|the) ([\w-]+ )?"
    r"(country|region|location|territory)",
    r"unsupported (country|region|location)|region (is )?(restricted|blocked)|export control",
)
_WRONG_KEY: Final = _any(
    r"(invalid|incorrect|wrong|expired|revoked|missing|malformed|unknown|unrecognized|no|bad) ([\w-]+ )?"
    r"(api[ _-]?|access |bearer |subscription |secret |authentication |auth )(keys?|tokens?)\b",
    r"(api[ _-]?|access |bearer |auth\w* )(key|token)[\w ,'\":.*-]{0,40} (is |was |has |been )*(not valid|invalid|expired"
    r"|revoked|not found|missing|required|disabled|suspended|deleted|incorrect|inactive|malformed|wrong|not provided)",
    r"not a valid (api )?key|unauthenticated|authentication (failed|failure|required|error)|authorization failed",
    r"(missing|invalid|no|bad) ([\w-]+ )?(auth\w*|credentials)( header| credentials| token)?\b",
    r"invalid (username|proxy server token)|user not found|unauthorized|not logged in|令牌|无效的",
)

# --- what is asked ------------------------------------------------------------------------------------------------

_UNUSABLE: Final = _any(
    r"tool use failed|tool call validation failed|json validate failed|output parse failed|failed to call a function",
    r"(failed|unable) to (generate|produce|validate|parse) (valid )?(json|(the )?(model('s)? )?(output|tool call|response))",
    r"generated json does not match|model (has )?(generated|produced|returned|output|did not (output|return|produce))"
    r" ([\w-]+ ){0,4}(json|tool call|function call|output)|malformed function call",
)
_FLAGGED: Final = _any(
    r"content[ _-]?(policy|policies|filter\w*|management|moderation|safety|risk|restriction)",
    r"(was|were|been|input|prompt|content|request|message)s? flagged|flagged (as|by|for)|requires moderation",
    r"moderation|safety (system|filter|setting|polic|check|guideline)|responsible ai|data inspection|inappropriate content",
    r"sensitive (words?|content|information|topic)|usage polic(y|ies)|prohibited content|unsafe content|harmful content"
    r"|blocked by (a |an |the |your |our |openai's |azure )*([\w-]+ )?(guardrail|safety|content|moderation|filter)",
    r"guardrail[\w ]{0,20} (blocked|intervened|triggered|violation|failed)|violat\w+ [^\n]{0,60}(polic|terms|guideline|safety)",
    r"敏感|违规|jailbreak",
)
_FLAGGED_BUT_NOT_THIS: Final = _any(r"data polic|privacy|account[\w ]{0,30} (suspended|banned|terminated|disabled)")
_SIZE_OF_ONE: Final = _any(
    r"request (is )?too large|(input|output|message|messages|prompt)( or output)? tokens must be reduced"
    r"|reduce your message size|single request|exceeds? the (maximum|max)[\w ]{0,20} per request",
)
_TOO_LONG: Final = _any(
    r"context[ _-]?(length|window|size|limit)|max(imum)? ((model|prompt|input|sequence|allowed|total|number of) ){1,3}"
    r"(length|tokens?)\b",
    r"(prompt|input|inputs|message|messages|request|conversation|text|sequence|payload|body|content|document|history)"
    r"( \w+){0,2} (is |are |was |were )?(too|exceedingly) (long|large|big)",
    r"(payload|entity|body|request|message|prompt|input) (was |is )?too large|(size|length) limit|too many (input |prompt )?tokens",
    r"(prompt|input|inputs|message|messages|context)`?( tokens?| length| token count| size)+[^\n]{0,60}"
    r"(exceed|larger than|longer than|greater than|over the|must be|maximum|limit)",
    r"(reduce|shorten|trim|decrease|truncate) (the |your )?((length|size|number|amount) of (the |your )?)?"
    r"((input|prompt) )?(prompt|message|input|tokens|text|conversation|context|length)",
    r"exceed\w*[^\n]{0,50} (context|token limit|model'?s? (limit|maximum|window)|max[_ ]model[_ ]len|max[_ ]seq)",
    r"(max|prompt|model|token)[\w ]{0,20} tokens? (limit )?exceeded|n_ctx|max_model_len|input length|larger than the model",
    r"tokens? ?(count )?[^\n]{0,24}exceeds? (the |its )?(limit|maximum|model)",
)
_OF_MAX_TOKENS: Final = re.compile(
    r"^(?![\s\S]*(?:context|prompt|\binputs?\b|messages))[\s\S]*(?:max_tokens|max_completion_tokens|maximum tokens you)"
)
"""A limit of the answer's length, which is a parameter, and nothing of the prompt's."""

_NOT: Final = (
    r"(?:(?:do|does|did|is|are|was|were|has|can|could)(?:n't| not|not)(?: yet| currently| be| been)?"
    r" (?:support\w*|accept\w*|allow\w*|enabled|available|implemented|permitted|process\w*|handle\w*|read|take|understand)"
    r"|unsupported|not (?:yet |currently )?(?:supported|enabled|allowed|available|implemented|permitted)"
    r"|no (?:endpoints?|providers?|models?) (?:were )?(?:found |available )?(?:that|which|for|to) (?:can )?(?:support|handle|accept)\w*"
    r"|only (?:supports?|accepts?|supported by|available (?:for|with))|unknown variant|no support for|lacks? support"
    r"|without support)"
)


def _cannot(what: str) -> re.Pattern[str]:
    """Return the pattern of a thing that is not supported, in one line and either order."""
    return re.compile(rf"(?:{what})[^\n]{{0,60}}{_NOT}|{_NOT}[^\n]{{0,60}}(?:{what})")


_OF_ONE_FILE: Final = _any(
    r"(image|audio|video|file|media|mime|picture)[ _-]?(format|type|size|extension|codec|dimension)",
    r"formats?\b|mime|could not|cannot (be )?(download|decod|read|open|pars)|base64|too (large|big|many|small)|resolution|corrupt|pixels",
)
"""Words that speak of the one file that was sent, not of files as such."""
_IMAGE: Final = _any(
    _cannot(r"\bimages?\b|image[ _](?:url|input)|\bvision\b|multi-?modal|\bpictures?\b").pattern,
    r"not a (multi-?modal|vision) model|at most 0 images?|no (vision|mmproj)",
)
_AUDIO: Final = _any(_cannot(r"\baudio\b|input_audio|\bspeech\b").pattern, r"at most 0 audios?")
_VIDEO: Final = _any(_cannot(r"\bvideos?\b|video_url").pattern, r"at most 0 videos?")
_FILE: Final = _cannot(r"\bfiles?\b(?! path)|\bpdfs?\b|\bdocuments?\b|\battachments?\b")
_TOOLS: Final = _any(
    _cannot(r"\btools?\b|\btool[ _-](?:use|calls?|calling|choice)|function[ _-]?call(?:ing|s)?|\bfunctions\b").pattern,
    r"tool[ _]choice requires|enable-auto-tool-choice|tool-call-parser",
)
_SCHEMA: Final = _cannot(r"response[ _]format|json[ _-]?(?:schema|mode|object)|structured[ _-]?outputs?|guided[ _-]\w+")
_PARAM: Final = _cannot(
    r"(?:requested|these|following|some|the) parameters?|\bparameters?:? [`'\"]|[`'\"](?:temperature|top_p|top_k|seed|n|stop"
    r"|logprobs|top_logprobs|logit_bias|frequency_penalty|presence_penalty|max_tokens|max_completion_tokens|reasoning\w*"
    r"|thinking|parallel_tool_calls|stream_options|service_tier|modalities|verbosity|prediction|store|metadata|user)[`'\"]"
    r"|\b(?:logprobs|logit_bias|reasoning_effort|cache control|stop sequences)\b|output modalities"
)
_OF_A_VALUE: Final = _any(r"unsupported value|only the default|does not support [\d.]+ with|must be|expected one of")
_POLICY: Final = _any(
    r"data polic(y|ies)|privacy (setting|polic|restrict)|zero[ -]data[ -]retention|\bzdr\b|no allowed providers",
    r"privacy restricted|constraint filtered|provider (preferences|restrictions)|guardrail restrictions",
    r"(meets?|match(es|ing)?|satisf\w+) (your |the )?(routing|provider|data|privacy|max(imum)? price)",
    r"all providers have been ignored",
)
_OF_THE_ACCOUNT: Final = _any(r"your account's|account setting|account-wide")

# --- which model --------------------------------------------------------------------------------------------------

_GONE: Final = _any(
    r"\b(model|deployment|engine|endpoint|function)s?\b[^\n]{0,100}"
    r"(not (be )?(found|exist)|n't (exist|found)|no longer|deprecated|decommissioned|retired|discontinued|was removed"
    r"|has been removed|has ended|sunset|shut ?down|end[- ]of[- ]life|not (currently )?(loaded|deployed|hosted|served))",
    r"(no such|unknown|invalid|unrecognized|non-?existent|unable to (access|find|load)|(could|can)(not| not) find"
    r"|not find)( the| an?)? (chat )?model\b",
    r"not a valid (chat )?model|invalid model|no models? (are |is )?(loaded|found|available)|unknown provider for model",
    r"model (not (found|available|exist|exists|loaded|deployed)|decommissioned|deprecated|retired)|no endpoints found for"
    r"|try pulling it|无可用渠道|模型不存在",
)
_NOT_HERE: Final = _any(
    r"not a chat model|not a (text )?generation model|pinned to|not supported by|not supported (in|with|on|for) (the |this )?"
    r"[\w/.]{0,40}(endpoint|task|api)\b",
    r"\bmodel\b[^\n]{0,80} (is )?(not|un)[ -]?supported|unsupported model|model not supported|not a supported model",
    r"not support(ed)? (for )?(chat|conversational|text-generation)|unexpected endpoint or method",
    r"requires? (a )?(pro|paid|enterprise) (subscription|plan|account)|access denied unpurchased",
)
_GONE_OR_NO_ACCESS: Final = _any(r"(or|that) you (do not |don't |may not )?have access")
_WRONG_ADDRESS: Final = _any(r"unexpected endpoint or method")

# --- the table ----------------------------------------------------------------------------------------------------


def _row(
    says: re.Pattern[str],
    statuses: frozenset[int | None],
    outcome: Outcome,
    reach: Reach | None = None,
    *,
    need: Need | None = None,
    unless: re.Pattern[str] | None = None,
    is_untimed: bool = False,
) -> Wording:
    return Wording(
        says=says, statuses=statuses, finding=Finding(outcome, reach, need), unless=unless, is_untimed=is_untimed
    )


_ONLY_429: Final[frozenset[int | None]] = frozenset({429})
_PAID: Final[frozenset[int | None]] = frozenset({None, 400, 402, 403, 412, 429})
_TIMED: Final[frozenset[int | None]] = frozenset({None, 400, 403, 429})

WORDINGS: tuple[Wording, ...] = (
    _row(_IN_FLIGHT, _PAID, Outcome.RATE_LIMITED, Reach.KEY),
    _row(_AFFORDABLE, _PAID, Outcome.QUOTA, Reach.REQUEST),
    _row(_UNUSABLE, frozenset({None, 400, 422, 424, 500}), Outcome.INVALID_OUTPUT),
    _row(_PER_DAY_OF_KEY, _PAID, Outcome.QUOTA, Reach.KEY),
    _row(_NO_FREE_TIER, _PAID, Outcome.QUOTA, Reach.MODEL),
    _row(_MODELS_FREE_TIER, _REFUSED, Outcome.QUOTA, Reach.MODEL),
    _row(_OF_ONE_PROVIDER, _REFUSED, Outcome.QUOTA, Reach.PROVIDER),
    _row(_UPSTREAM_POOL, _TIMED, Outcome.RATE_LIMITED, Reach.BACKEND),
    _row(_ONE_MODELS_RATE, _TIMED, Outcome.RATE_LIMITED, Reach.ROUTE),
    _row(_MONEY, _WHATEVER, Outcome.QUOTA, Reach.KEY),
    _row(_SIZE_OF_ONE, frozenset({400, 413, 429}), Outcome.CONTEXT_LENGTH),
    _row(_PER_TIME, _TIMED, Outcome.RATE_LIMITED),
    _row(_QUOTA, _REFUSED, Outcome.QUOTA, Reach.KEY, is_untimed=True),
    _row(_FLAGGED, frozenset({None, 400, 403, 422, 451, 500}), Outcome.CONTENT_FILTER, unless=_FLAGGED_BUT_NOT_THIS),
    _row(_TOO_LONG, _OF_REQUESTS, Outcome.CONTEXT_LENGTH, unless=_OF_MAX_TOKENS),
    _row(_OF_THE_ACCOUNT, frozenset({404}), Outcome.UNSUPPORTED, Reach.MODEL),
    _row(_POLICY, frozenset({400, 403, 404, 422}), Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.POLICY),
    _row(_IMAGE, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.IMAGE, unless=_OF_ONE_FILE),
    _row(_AUDIO, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.AUDIO, unless=_OF_ONE_FILE),
    _row(_VIDEO, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.VIDEO, unless=_OF_ONE_FILE),
    _row(_FILE, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.FILE, unless=_OF_ONE_FILE),
    _row(_SCHEMA, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.SCHEMA),
    _row(_TOOLS, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.TOOLS),
    _row(_PARAM, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER, need=Need.PARAM, unless=_OF_A_VALUE),
    _row(_REGION, _REFUSED, Outcome.UNSUPPORTED, Reach.MODEL),
    _row(_GONE_OR_NO_ACCESS, frozenset({None, 400, 404}), Outcome.NOT_FOUND, Reach.ROUTE),
    _row(_MAY_NOT_EXIST, frozenset({403}), Outcome.FORBIDDEN, Reach.ROUTE),
    _row(_MODEL_ACCESS, _OF_ACCESS, Outcome.FORBIDDEN, Reach.MODEL),
    _row(_WRONG_ADDRESS, frozenset({None, 404}), Outcome.NOT_FOUND, Reach.BACKEND),
    _row(_NOT_HERE, _OF_MODELS, Outcome.UNSUPPORTED, Reach.PROVIDER),
    _row(_GONE, _OF_MODELS, Outcome.NOT_FOUND, Reach.PROVIDER),
    _row(_WRONG_KEY, _OF_ACCESS - {401, 404}, Outcome.AUTH, Reach.KEY),
    _row(_ACCOUNT, _OF_ACCESS - {401, 404}, Outcome.FORBIDDEN, Reach.KEY, unless=_OF_MODEL),
    _row(_PER_TIME, _OF_TRAFFIC, Outcome.RATE_LIMITED),
    _row(_BUSY, _OF_TRAFFIC, Outcome.OVERLOADED),
)
"""Tried in this order; the first that fits says what the error is."""

RELAYED: Final = _any(
    r"litellm\.\w+(error|exception)|\b\w{3,}exception - |provider returned error|error from provider",
    r"upstream (provider|error|returned|request|responded)|(error|response) from upstream",
)
"""Words of a gateway that passes on what another server said."""
