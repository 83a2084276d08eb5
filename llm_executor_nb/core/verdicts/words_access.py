"""Words about keys, accounts, places, and models that are not there. A new wording is a new line of its kind."""

from __future__ import annotations

from typing import Final

from llm_executor_nb.core.verdicts.wording import Phrases

WHO: Final = r"(account|organi[sz]ation|user|team|workspace|tenant|profile)"
_PUT_OUT: Final = (
    r"(suspended|restricted|deactivated|disabled|banned|blocked|terminated|locked|inactive|not active|closed|frozen)"
)
ACCOUNT: Final = Phrases(
    "access terminated",
    "on behalf of",
    "has not been used in project",
    "service disabled",
    *(
        (stem, rf"{WHO}\b( (?!prompt|input|message|content|quer)[\w'-]+){{0,4}} (is |been |was )?{_PUT_OUT}")
        for stem in ("ed", "inactive", "not active", "frozen")
    ),
    ("ed ", rf"(suspended|deactivated|banned|blocked|disabled) {WHO}\b"),
    (
        "permission",
        (
            r"(insufficient|missing|required|lacks?|no|not have( the| any| sufficient| required)*|without|sufficient)"
            r" ([\w-]+ )?permissions?"
        ),
    ),
    ("permission", r"permissions?[\w ,'\".-]{0,60} (denied|required|missing|insufficient|not granted)"),
    ("scope", r"(insufficient|missing|required|lacks?) ([\w-]+ )?scopes?"),
    ("privilege", r"(insufficient|missing|required|lacks?) ([\w-]+ )?privileges"),
    (
        "not ",
        (
            r"(project|account|key|token|consumer|caller|user) ([\w-]+ )?(is |are |has )?"
            r"not (been )?(used|allowed|authorized|permitted|entitled|enabled) (in|to|for|before)"
        ),
    ),
    ("ip", r"ip (address )?[\w. ]{0,30}not (allowed|authorized|whitelisted)"),
    ("verify", r"verify your (account|identity|phone|email)"),
)
OF_MODEL: Final = Phrases(("model", r"models?\b"))
MAY_NOT_EXIST: Final = Phrases("it may not exist")
GONE_OR_NO_ACCESS: Final = Phrases(("access", r"(or|that) you (do not |don't |may not )?have access"))
ACCESS_TO_MODEL: Final = Phrases(
    "authorized list",
    "access the model",
    "access this model",
    ("access", r"access to (the |this |requested )*(model|[\w.-]+/[\w.-]+ is restricted)"),
    ("access", r"access[\w ]{0,20} to (the )?(specified |requested )?models?\b"),
    ("access", r"not allowed to (access|use|call) (the |this )?model|(model|deployment)[\w ]{0,12} access denied"),
    ("gated", r"gated\b"),
    ("terms", r"terms (of use |of service )?(acceptance|required)"),
    ("licen", r"licen[cs]e (acceptance|agreement|required)"),
    ("accept", r"accept (the |its |their |our )?([\w']+ )?(terms|conditions|licen[cs]e|agreement)"),
    ("key", r"(requir\w+|bring|add) (a |your |an )?(own )?(api )?key\b[\w ,]{0,40}\bmodel"),
    (
        "model",
        r"model\b[^\n.]{0,80} (is |are )?(blocked|restricted|gated|not enabled|not allowed|disabled (for|at|by))",
    ),
    ("must be verified", r"must be verified to (use|stream|access)"),
    (
        "require",
        r"model[\w ,'\"./:-]{0,60} requires? (an? )?(\w+ )?(subscription|plan|tier|licen[cs]e|verification)",
    ),
    (
        "available",
        r"(not|n't) available (in|on|for|with|under) (your|this|the) ([\w-]+ )?(plan|tier|subscription|account)",
    ),
    (
        "included",
        r"(not|n't) included (in|on|for|with|under) (your|this|the) ([\w-]+ )?(plan|tier|subscription|account)",
    ),
)
_PLACE: Final = r"(country|countries|region|territory|location|geograph\w*)"
_HAS_IT: Final = r"(supported|available|allowed|permitted|served|offered)"
REGION: Final = Phrases(
    *(
        (stem, (rf"{_PLACE}[\w ,'\"/()-]{{0,60}} (is |are )?(not |n't |un-?){_HAS_IT}"
               rf"|(not |un-?){_HAS_IT} (in|for|from) ((your|this|the) )?([\w-]+ )?{_PLACE}|unsupported {_PLACE}"))
        for stem in ("countr", "region", "territor", "location", "geograph")
    ),
    ("region", r"region (is )?(restricted|blocked)"),
    "export control",
)  # fmt: skip
WRONG_KEY: Final = Phrases(
    "unauthenticated",
    "authorization failed",
    "user not found",
    "not logged in",
    "invalid username",
    "invalid proxy server token",
    "令牌",
    *(
        (stem, (r"(invalid|incorrect|wrong|expired|revoked|missing|malformed|unknown|unrecognized|no|bad) ([\w-]+ )?"
               r"(api[ _-]?|access |bearer |subscription |secret |authentication |auth )(keys?|tokens?)\b"
               r"|(api[ _-]?|access |bearer |auth\w* )(key|token)[\w ,'\":.*-]{0,40} (is |was |has |been )*"
               r"(not valid|invalid|expired|revoked|not found|missing|required|disabled|suspended|deleted|incorrect"
               r"|inactive|malformed|wrong|not provided)|not a valid (api )?key"))
        for stem in ("key", "token")
    ),
    "reported as leaked",
    "unregistered callers",
    ("valid", r"(provide|pass|use|supply) a valid ((api|access|hf) )?(key|token)"),
    ("authentication", r"authentication (failed|failure|required|error)"),
    ("auth", r"(missing|invalid|no|bad) ([\w-]+ )?auth(entication|orization)?( header| credentials| token)?\b"),
    ("credentials", r"(missing|invalid|no|bad) ([\w-]+ )?credentials\b"),
    ("unauthorized", r"unauthorized\b"),
)  # fmt: skip

_WENT: Final = (
    r"(not (be )?(found|exist)|n't (exist|found)|no longer|deprecated|decommissioned|retired|discontinued|was removed"
    r"|has been removed|has ended|sunset|shut ?down|end[- ]of[- ]life|not (currently )?(loaded|deployed|hosted|served))"
)
GONE: Final = Phrases(
    "no endpoints found for",
    "try pulling it",
    "无可用渠道",
    "模型不存在",
    *(
        (stem, rf"{stem}s?\b[^\n]{{0,100}}{_WENT}")
        for stem in ("model", "deployment", "engine", "endpoint")
    ),
    ("for account", r"function\b[^\n]{0,60} not found for account"),
    (
        "model",
        (r"(no such|unknown|invalid|unrecognized|non-?existent|unable to (access|find|load)|(could|can)(not| not) find"
        r"|not find|not a valid)( the| an?)? (chat )?model\b"),
    ),
    ("model", r"model (identifier|id|name)[\w ]{0,20} (is )?(invalid|unknown|not valid|not recognized)"),
    ("model", r"no models? (are |is )?(loaded|found|available)|unknown provider for model"),
    ("model", r"model (not available|not exists?|decommissioned|deprecated|retired)\b"),
)  # fmt: skip
NOT_HERE: Final = Phrases(
    "not a chat model",
    "not a generation model",
    "not a text generation model",
    "pinned to",
    "access denied unpurchased",
    (
        "supported",
        (
            r"model id [^\n:;,]{0,60} (is not|isn't|not) supported"
            r"|not supported (in|with|on|for) (the |this )?[\w/.]{0,40}(endpoint|task|api)\b|not a supported model"
            r"|(model|task)s?\b:?( [^\s:;,]+(:[^\s:;,]+)*){0,3},? (is not |isn't |not |un-?)supported|unsupported model"
        ),
    ),
    ("support", r"not support(ed)? (for )?(chat|conversational|text-generation)"),
    ("require", r"requires? (a )?(pro|paid|enterprise) (subscription|plan|account)"),
)
WRONG_ADDRESS: Final = Phrases("unexpected endpoint or method")
