"""Words about money, quotas, rates and too much at once. A new wording is a new line of its kind."""

from __future__ import annotations

from typing import Final

from llm_executor_nb.core.verdicts.wording import Phrases

FREE_REQUESTS_OF_THE_DAY: Final = Phrases("free-models-per-day", "free models per day", "openrouter free tier daily")
"""OpenRouter's limit that ends with the day of UTC."""
IN_FLIGHT: Final = Phrases("in-flight budget", "in flight budget", "requests in flight")
AFFORDABLE: Final = Phrases(
    "can only afford",
    "fewer max_tokens",
    "need quota",
    "预扣费",
    ("requested up to", r"requested up to \d+ tokens"),
    ("limit exceeded", r"tokens? limit exceeded: \d+ ?> ?\d+"),
    ("consume", r"pre-?consumed? quota"),
    ("request", r"(this|your) request (would )?(costs?|needs|requires?) (at least |about )?[$€\d]"),
)
DAY_OR_MONTH_OF_A_KEY: Final = Phrases(("limited to", r"limited to [\d,]+ [\w ]{0,20}(/|per|a) ?(month|day)"))
NO_FREE_TIER: Final = Phrases(
    ("free", r"(does)?(n't| not) have a free (quota )?tier"),
    ("limit: 0", r"limit: 0(?![\d.])"),
)
FREE_TIER_OF_A_MODEL: Final = Phrases(
    "allocation quota free tier only",
    ("model", r"free (tier|quota|allocation|allowance) (of|for) (the|this) model"),
)
OF_ONE_PROVIDER: Final = Phrases(
    "not enabled for provider", ("for provider", r"(billing|credits?|quota) [\w ]{0,20}for provider")
)
MONEY: Final = Phrases(
    "key limit exceeded",
    "exceededbudget",
    "exceededtokenbudget",
    "failure to pay",
    "arrearage",
    "in arrears",
    "pay-as-you-go",
    "余额不足",
    "额度不足",
    "额度已用尽",
    "欠费",
    "配额不足",
    ("insufficient", r"insufficient[ _-](\w+[ _-])?(balance|credits?|funds|quota)"),
    ("balance", r"(credit|account) balance"),
    (
        "balance",
        r"balance[\w ,]{0,20} (insufficient|too low|exhausted|negative|not enough|not sufficient|empty|depleted|zero)",
    ),
    ("credit", r"credits?[\w ,]{0,20} (insufficient|exhausted|depleted|used up|expired|not enough|run out|ran out)"),
    (
        "credit",
        (
            r"(out of|no( more)?|not enough|run out of|used( up)? all|any|exhausted|depleted|exceeded|purchase|buy|add"
            r"|more|lacks?) ([\w'-]+ ){0,3}credits?\b"
        ),
    ),
    ("credit limit", r"credit limit (exceeded|reached)"),
    ("billing", r"billing (hard limit|not active)"),
    ("limit", r"(spend(ing)?|budget|credit|billing|payment) limits?\b[\w ]{0,20}(exceeded|reached|hit)"),
    ("limit", r"(due to|because of) ([\w']+ ){0,3}(spend(ing)?|budget|credit) limit"),
    ("limit", r"(reached|exceeded|over|hit) ([\w']+ ){0,3}(spend(ing)?|budget|credit|billing) (limit|cap)"),
    (
        "budget",
        r"(?<!thinking )(?<!reasoning )(?<!token )budget (has been |was |is )?(exceeded|exhausted|reached|used up)",
    ),
    (
        "budget",
        r"(exceeded|over|exhausted) (your |its |the |their )?((monthly|daily|weekly|team|user|key|max) )?budget\b",
    ),
    ("payment", r"payment (is )?(required|method|failed|needed)"),
    ("due", r"(account|invoice|bill|payment|balance)s? ([\w-]+ ){0,3}(past due|overdue)"),
    ("unpaid", r"unpaid (invoice|bill|balance|amount)"),
    ("prepaid", r"prepaid (balance|credit|amount|plan)"),
    ("top", r"top[- ]?up ([\w']+ ){0,2}(account|balance|credits?|wallet)"),
    ("recharge", r"recharge ([\w']+ ){0,2}(account|balance|credits?|wallet)"),
    ("trial", r"(your|account) ([\w-]+ )?trial (has |is )?(expired|ended)"),
    (
        "quota",
        r"(user|token|team|account|project) quota (is |was |has been )?(not enough|exhausted|used up|insufficient)",
    ),
)
"""What only a lack of money, or of what was bought, is said with."""
MONEY_WITHOUT_SUBJECT: Final = Phrases(
    ("due", r"payment (is )?(due|overdue)|past due|overdue"),
    ("top", r"top[- ]?up\b"),
    ("recharge", r"recharge\b"),
    ("trial", r"trial (has )?(expired|ended)"),
)
"""What a lack of money is said with, where the status says that it is about an account and not about a field's name."""
QUOTA: Final = Phrases(
    ("billing", r"billing (is|details|account|address|info\w*|settings|has|problem|issue|support)"),
    ("billing", r"(enable|check your) billing"),
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
"""What a used-up account is said with, and now and then a limit that passes."""
PER_TIME: Final = Phrases(
    "slow down",
    "resource exhausted",
    "_per_second",
    "_per_minute",
    "_per_hour",
    "enhance your calm",
    ("per", r"per[- ]?(second|minute|hour|min|sec)\b"),
    ("/", r"/ ?(s|sec|min|minute|hour)\b"),
    ("rp", r"rp[ms]\b"),
    ("tp", r"tp[ms]\b"),
    ("qp", r"qp[ms]\b"),
    ("rate", r"rate[ -]?limit(s|ed|ing)?\b"),
    ("too many", r"too many (concurrent )?requests|too many tokens,? please wait"),
    ("throttl", r"throttl"),
    ("concurren", r"concurren(t|cy)"),
    ("request", r"requests? (were |was )?(made )?too (fast|quickly|often|frequent)|request frequency"),
)
POOL_OF_ALL: Final = Phrases("rate-limited upstream", "rate limited upstream")
RATE_OF_ONE_MODEL: Final = Phrases("limit_rpm/", "limit_rpd/", ("high demand", r"high demand for \S+ on openrouter"))
BUSY: Final = Phrases(
    "overload",
    "over capacity",
    "no capacity",
    "loading model",
    "maximum pending",
    "temporarily unavailable",
    "cold start",
    "warming up",
    "too busy",
    ("capacity", r"at (full |max\w* )?capacity|capacity (is )?(exceeded|exhausted|reached)"),
    ("busy", r"(model|server|engine|service|system) (is |are )?(currently |too |very )*busy"),
    ("queue", r"queue (is )?full"),
    ("load", r"(model|currently|still|being) load(ing|ed)\b"),
    ("ready", r"model[\w ]{0,20} (is )?not ready"),
)
