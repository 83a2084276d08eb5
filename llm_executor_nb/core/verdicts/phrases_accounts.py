"""What errors say about accounts: money, rates, keys, permissions, and models that are not served.

A new wording is a new line of its group; `wordings` says what each group means. A line is a phrase, or one or more
stems and the regular expression to search for where one of them occurs.
"""

# A wording is a line.
# fmt: off
from __future__ import annotations

from typing import Final

from llm_executor_nb.core.verdicts.phrases import Phrases

# --- money --------------------------------------------------------------------------------------------------------

FREE_TIER_DAILY: Final = Phrases("free-models-per-day", "free models per day", "openrouter free tier daily")
"""OpenRouter's limit that ends with the day in UTC."""
IN_FLIGHT_BUDGET: Final = Phrases("in-flight budget", "in flight budget", "requests in flight")
"""OpenRouter words this like money, yet it passes as soon as other requests end."""
UNAFFORDABLE: Final = Phrases(
    "can only afford", "fewer max_tokens", "need quota",
    "预扣费",  # new-api: the price is reserved before the request is sent
    ("requested up to", r"requested up to \d+ tokens"),
    ("limit exceeded", r"tokens? limit exceeded: \d+ ?> ?\d+"),
    ("consume", r"pre-?consumed? quota"),
    ("request", r"(this|your) request (would )?(costs?|needs|requires?) (at least |about )?[$€\d]"),
)
"""Too little money for this one request; a smaller one may be affordable (design 3.1)."""
KEY_PERIOD_LIMIT: Final = Phrases(("limited to", r"limited to [\d,]+ [\w ]{0,20}(/|per|a) ?(month|day)"))
NO_FREE_TIER: Final = Phrases(
    ("free", r"(does)?(n't| not) have a free (quota )?tier"),
    ("limit: 0", r"limit: 0(?![\d.])"),  # Google's quota for a model outside its free tier
)
MODEL_FREE_TIER: Final = Phrases(
    "allocation quota free tier only",
    ("model", r"free (tier|quota|allocation|allowance) (of|for) (the|this) model"),
)
PROVIDER_BILLING: Final = Phrases(
    "not enabled for provider",
    ("for provider", r"(billing|credits?|quota) [\w ]{0,20}for provider"),
)
NO_MONEY: Final = Phrases(
    "key limit exceeded", "exceededbudget", "exceededtokenbudget", "failure to pay", "arrearage", "in arrears",
    "pay-as-you-go",
    # balance too low, allowance too low, allowance used up, in arrears, quota too low
    "余额不足", "额度不足", "额度已用尽", "欠费", "配额不足",
    ("insufficient", r"insufficient[ _-](\w+[ _-])?(balance|credits?|funds|quota)"),
    ("balance", r"(credit|account) balance"),
    ("balance",
     r"balance[\w ,]{0,20} (insufficient|too low|exhausted|negative|not enough|not sufficient|empty|depleted|zero)"),
    ("credit", r"credits?[\w ,]{0,20} (insufficient|exhausted|depleted|used up|expired|not enough|run out|ran out)"),
    ("credit",
     (r"(out of|no( more)?|not enough|run out of|used( up)? all|any|exhausted|depleted|exceeded|purchase|buy|add"
      r"|more|lacks?) ([\w'-]+ ){0,3}credits?\b")),
    ("credit limit", r"credit limit (exceeded|reached)"),
    ("billing", r"billing (hard limit|not active)"),
    ("limit", r"(spend(ing)?|budget|credit|billing|payment) limits?\b[\w ]{0,20}(exceeded|reached|hit)"),
    ("limit", r"(due to|because of) ([\w']+ ){0,3}(spend(ing)?|budget|credit) limit"),
    ("limit", r"(reached|exceeded|over|hit) ([\w']+ ){0,3}(spend(ing)?|budget|credit|billing) (limit|cap)"),
    ("budget",
     r"(?<!thinking )(?<!reasoning )(?<!token )budget (has been |was |is )?(exceeded|exhausted|reached|used up)"),
    ("budget",
     r"(exceeded|over|exhausted) (your |its |the |their )?((monthly|daily|weekly|team|user|key|max) )?budget\b"),
    ("payment", r"payment (is )?(required|method|failed|needed)"),
    ("due", r"(account|invoice|bill|payment|balance)s? ([\w-]+ ){0,3}(past due|overdue)"),
    ("unpaid", r"unpaid (invoice|bill|balance|amount)"),
    ("prepaid", r"prepaid (balance|credit|amount|plan)"),
    ("top", r"top[- ]?up ([\w']+ ){0,2}(account|balance|credits?|wallet)"),
    ("recharge", r"recharge ([\w']+ ){0,2}(account|balance|credits?|wallet)"),
    ("trial", r"(your|account) ([\w-]+ )?trial (has |is )?(expired|ended)"),
    ("quota",
     r"(user|token|team|account|project) quota (is |was |has been )?(not enough|exhausted|used up|insufficient)"),
)
"""Only a lack of money, or of something bought, is worded so, whatever the status is."""
MONEY_WORDS: Final = Phrases(
    ("due", r"payment (is )?(due|overdue)|past due|overdue"),
    ("top", r"top[- ]?up\b"),
    ("recharge", r"recharge\b"),
    ("trial", r"trial (has )?(expired|ended)"),
)
"""These mean a lack of money only with a status about an account: they may also be the name of a request's field."""
QUOTA: Final = Phrases(
    ("billing",
     (r"billing (is|details|account|address|info\w*|settings|has|problem|issue|support)"
      r"|(enable|check your) billing")),
    ("quota", r"quota[\w ,'\"]{0,30} (exceeded|exhausted|used up|insufficient|not enough|reached|depleted)"),
    ("quota", r"(exceeded|exceeds|exhausted|reached|out of|used( up)?|hit) ([\w']+ ){0,4}quota"),
    ("usage", r"usage limit"),
    ("monthly", r"monthly [\w ]{0,20}(limit|allowance|included|usage|credits)"),
    ("daily", r"daily [\w ]{0,12}(limit|quota|allowance)"),
    ("free", r"free (tier|usage|trial|plan|quota)[\w ,]{0,30} (exhausted|exceeded|reached|used up|ended|expired)"),
    ("subscription", r"no active subscription|(you (need|must have)|or need) an? ([\w-]+ )?subscription"),
    ("subscription", r"subscription (has |is )?(expired|inactive|ended|cancell?ed|lapsed)"),
    ("plan", r"plan (has |is )?(expired|inactive|ended|cancell?ed|lapsed)"),
)
"""A used-up account is worded so, and sometimes a limit that passes soon: with a 429 the reply must name no time."""

# --- rates and capacity -------------------------------------------------------------------------------------------

RATE: Final = Phrases(
    "slow down", "resource exhausted", "_per_second", "_per_minute", "_per_hour", "enhance your calm",
    ("per", r"per[- ]?(second|minute|hour|min|sec)\b"),
    ("/", r"/ ?(s|sec|min|minute|hour)\b"),
    ("rp", "tp", "qp", r"[rtq]p[ms]\b"),
    ("rate", r"rate[ -]?limit(s|ed|ing)?\b"),
    ("too many", r"too many (concurrent )?requests|too many tokens,? please wait"),
    ("throttl", r"throttl"),
    ("concurren", r"concurren(t|cy)"),
    ("request", r"requests? (were |was )?(made )?too (fast|quickly|often|frequent)|request frequency"),
)
SHARED_POOL: Final = Phrases("rate-limited upstream", "rate limited upstream")
MODEL_RATE: Final = Phrases("limit_rpm/", "limit_rpd/", ("high demand", r"high demand for \S+ on openrouter"))
BUSY: Final = Phrases(
    "overload", "over capacity", "no capacity", "loading model", "maximum pending", "temporarily unavailable",
    "cold start", "warming up", "too busy",
    ("capacity", r"at (full |max\w* )?capacity|capacity (is )?(exceeded|exhausted|reached)"),
    ("busy", r"(model|server|engine|service|system) (is |are )?(currently |too |very )*busy"),
    ("queue", r"queue (is )?full"),
    ("load", r"(model|currently|still|being) load(ing|ed)\b"),
    ("ready", r"model[\w ]{0,20} (is )?not ready"),
)

# --- keys and accounts --------------------------------------------------------------------------------------------

ACCOUNT: Final = r"(account|organi[sz]ation|user|team|workspace|tenant|profile)"
_DISABLED: Final = (
    r"(suspended|restricted|deactivated|disabled|banned|blocked|terminated|locked|inactive|not active|closed|frozen)"
)
ACCOUNT_FORBIDDEN: Final = Phrases(
    "access terminated", "on behalf of", "has not been used in project", "service disabled",
    ("ed", "inactive", "not active", "frozen",
     rf"{ACCOUNT}\b( (?!prompt|input|message|content|quer)[\w'-]+){{0,4}} (is |been |was )?{_DISABLED}"),
    ("ed ", rf"(suspended|deactivated|banned|blocked|disabled) {ACCOUNT}\b"),
    ("permission",
     (r"(insufficient|missing|required|lacks?|no|not have( the| any| sufficient| required)*|without|sufficient)"
      r" ([\w-]+ )?permissions?")),
    ("permission", r"permissions?[\w ,'\".-]{0,60} (denied|required|missing|insufficient|not granted)"),
    ("scope", r"(insufficient|missing|required|lacks?) ([\w-]+ )?scopes?"),
    ("privilege", r"(insufficient|missing|required|lacks?) ([\w-]+ )?privileges"),
    ("not ",
     (r"(project|account|key|token|consumer|caller|user) ([\w-]+ )?(is |are |has )?"
      r"not (been )?(used|allowed|authorized|permitted|entitled|enabled) (in|to|for|before)")),
    ("ip", r"ip (address )?[\w. ]{0,30}not (allowed|authorized|whitelisted)"),
    ("verify", r"verify your (account|identity|phone|email)"),
)
INVALID_KEY: Final = Phrases(
    "unauthenticated", "authorization failed", "user not found", "not logged in", "invalid username",
    "invalid proxy server token", "token seems invalid", "令牌",
    ("key", "token",
     (r"(invalid|incorrect|wrong|expired|revoked|missing|malformed|unknown|unrecognized|no|bad) ([\w-]+ )?"
      r"(api[ _-]?|access |bearer |subscription |secret |authentication |auth )(keys?|tokens?)\b"
      r"|(api[ _-]?|access |bearer |auth\w* )(key|token)[\w ,'\":.*-]{0,40} (is |was |has |been )*"
      r"(not valid|invalid|expired|revoked|not found|missing|required|disabled|suspended|deleted|incorrect"
      r"|inactive|malformed|wrong|not provided)|not a valid (api )?key")),
    "reported as leaked", "unregistered callers",
    ("valid", r"(provide|pass|use|supply) a valid ((api|access|hf) )?(key|token)"),
    ("authentication", r"authentication (failed|failure|required|error)"),
    ("auth", r"(missing|invalid|no|bad) ([\w-]+ )?auth(entication|orization)?( header| credentials| token)?\b"),
    ("credentials", r"(missing|invalid|no|bad) ([\w-]+ )?credentials\b"),
    ("unauthorized", r"unauthorized\b"),
)

# --- models -------------------------------------------------------------------------------------------------------

ABOUT_A_MODEL: Final = Phrases(("model", r"models?\b"))
"""A permission for a model says nothing about the account as a whole."""
# With a 403: whether the model exists is what the server does not want to say.
MAY_NOT_EXIST: Final = Phrases("it may not exist")
MISSING_OR_NO_ACCESS: Final = Phrases(("access", r"(or|that) you (do not |don't |may not )?have access"))
MODEL_ACCESS: Final = Phrases(
    "authorized list", "access the model", "access this model",
    ("access", r"access to (the |this |requested )*(model|[\w.-]+/[\w.-]+ is restricted)"),
    ("access", r"access[\w ]{0,20} to (the )?(specified |requested )?models?\b"),
    ("access", r"not allowed to (access|use|call) (the |this )?model|(model|deployment)[\w ]{0,12} access denied"),
    ("gated", r"gated\b"),
    ("terms", r"terms (of use |of service )?(acceptance|required)"),
    ("licen", r"licen[cs]e (acceptance|agreement|required)"),
    ("accept", r"accept (the |its |their |our )?([\w']+ )?(terms|conditions|licen[cs]e|agreement)"),
    ("key", r"(requir\w+|bring|add) (a |your |an )?(own )?(api )?key\b[\w ,]{0,40}\bmodel"),
    ("model",
     r"model\b[^\n.]{0,80} (is |are )?(blocked|restricted|gated|not enabled|not allowed|disabled (for|at|by))"),
    ("must be verified", r"must be verified to (use|stream|access)"),
    ("require", r"model[\w ,'\"./:-]{0,60} requires? (an? )?(\w+ )?(subscription|plan|tier|licen[cs]e|verification)"),
    ("available", "included",
     (r"(not|n't) (available|included) (in|on|for|with|under) (your|this|the) ([\w-]+ )?"
      r"(plan|tier|subscription|account)")),
)
_PLACE: Final = r"(country|countries|region|territory|location|geograph\w*)"
_SERVED: Final = r"(supported|available|allowed|permitted|served|offered)"
REGION: Final = Phrases(
    ("countr", "region", "territor", "location", "geograph",
     (rf"{_PLACE}[\w ,'\"/()-]{{0,60}} (is |are )?(not |n't |un-?){_SERVED}"
      rf"|(not |un-?){_SERVED} (in|for|from) ((your|this|the) )?([\w-]+ )?{_PLACE}|unsupported {_PLACE}")),
    ("region", r"region (is )?(restricted|blocked)"),
    "export control",
)
_NOT_FOUND: Final = (
    r"(not (be )?(found|exist)|n't (exist|found)|no longer|deprecated|decommissioned|retired|discontinued|was removed"
    r"|has been removed|has ended|sunset|shut ?down|end[- ]of[- ]life|not (currently )?(loaded|deployed|hosted|served))"
)
MODEL_NOT_FOUND: Final = Phrases(
    # OpenRouter, Ollama, one-api (no channel available), Zhipu (the model does not exist)
    "no endpoints found for", "try pulling it", "无可用渠道", "模型不存在",
    *(
        (stem, rf"{stem}s?\b[^\n]{{0,100}}{_NOT_FOUND}")
        for stem in ("model", "deployment", "engine", "endpoint")
    ),
    # NVIDIA's functions are its models
    ("for account", r"function\b[^\n]{0,60} not found for account"),
    ("model",
     (r"(no such|unknown|invalid|unrecognized|non-?existent|unable to (access|find|load)|(could|can)(not| not) find"
      r"|not find|not a valid)( the| an?)? (chat )?model\b")),
    ("model", r"model (identifier|id|name)[\w ]{0,20} (is )?(invalid|unknown|not valid|not recognized)"),
    ("model", r"no models? (are |is )?(loaded|found|available)|unknown provider for model"),
    ("model", r"model (not available|not exists?|decommissioned|deprecated|retired)\b"),
)
MODEL_NOT_SERVED: Final = Phrases(
    "not a chat model", "not a generation model", "not a text generation model", "pinned to",
    "access denied unpurchased",
    ("supported",
     (r"model id [^\n:;,]{0,60} (is not|isn't|not) supported"
      r"|not supported (in|with|on|for) (the |this )?[\w/.]{0,40}(endpoint|task|api)\b|not a supported model"
      r"|(model|task)s?\b:?( [^\s:;,]+(:[^\s:;,]+)*){0,3},? (is not |isn't |not |un-?)supported|unsupported model")),
    ("support", r"not support(ed)? (for )?(chat|conversational|text-generation)"),
    ("require", r"requires? (a )?(pro|paid|enterprise) (subscription|plan|account)"),
)
WRONG_ADDRESS: Final = Phrases("unexpected endpoint or method")
