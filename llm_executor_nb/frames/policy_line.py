"""Whether a policy held for every answer of a result, in words for its report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.lookups import keeping_nothing
from llm_executor_nb.chain.promises import broken, needs_list
from llm_executor_nb.core.outcomes import Decision
from llm_executor_nb.core.policy import NO_POLICY, Policy
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.store.records import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

_WORDS = {
    "zdr": "keep nothing",
    "no_training": "do not train on prompts",
    "only": "are named in only=",
    "ignore": "are not named in ignore=",
    "quantizations": "run a number format named in quantizations=",
}
"""What a provider does by which each clause holds."""
_FROM = ["job_id", "route", "upstream", "request_model"]
"""Columns of an attempt that say where its answer is from."""
_MOST_ROWS = 20


def policy_line(
    rows: pd.Series[Any], attempts: pd.DataFrame, policies: Mapping[str, Policy], *, demanded: Policy, now: Policy
) -> str:
    """Return whether the policy held for every answer; "": no policy was set.

    `zdr` and `no_training` are demanded of all answers if one of the policies demands them: a result may be made of
    several, and stored answers were bought under their own.

    Args:
        rows: the run ids of the rows that have an answer, by the labels of the rows.
        attempts: the attempts of these runs.
        policies: the policies under which jobs bought their answers, by the ids of the jobs.
        demanded: the policy of the job that made the result; if it demands nothing, each answer has its own.
        now: the session's policy.
    """
    in_force = [policy for policy in (demanded, now, *policies.values()) if policy]
    if not in_force or rows.empty:
        return ""
    common = Policy(zdr=any(one.zdr for one in in_force), no_training=any(one.no_training for one in in_force))
    origins = list(_origins(rows, attempts))
    clauses = {one: _clauses(one, policies.get(one[0], NO_POLICY), demanded, common) for one in set(origins)}
    asked = [name for name in _WORDS if any(name in named for named, _ in clauses.values())]
    if not asked:
        verb = "was" if len(rows) == 1 else "were"
        return f"{_all(len(rows))} {verb} bought under {', '.join(map(repr, dict.fromkeys(in_force)))}"
    bad = [str(label) for label, one in zip(rows.index, origins, strict=True) if clauses[one][1]]
    return _in_words(len(rows), bad, " and ".join(_WORDS[name] for name in asked))


_Origin = tuple[str, str, str | None, str]
"""The job, the route, the upstream and the model of an answer."""


def _origins(rows: pd.Series[Any], attempts: pd.DataFrame) -> Iterator[_Origin]:
    """Yield where the answer of each row is from; empty texts where the log does not have its run any more."""
    accepted = attempts[attempts["decision"] == Decision.ACCEPT.value].drop_duplicates("run_id", keep="last")
    found = accepted.set_index("run_id")[_FROM].astype(object).reindex(rows.to_numpy())
    for job, route, upstream, model in found.where(found.notna(), None).itertuples(index=False):
        yield job or "", route or "", upstream, model or ""


def _clauses(origin: _Origin, bought: Policy, demanded: Policy, common: Policy) -> tuple[set[str], list[str]]:
    """Return the clauses that are demanded of an answer, and those of them that do not hold."""
    _, route, upstream, model = origin
    policy = replace(demanded or bought, zdr=common.zdr, no_training=common.no_training)
    source = Origin(route, upstream, bought)
    failed = broken(policy, source)
    if failed and needs_list(policy) and upstream and route.startswith(OPENROUTER):
        failed = broken(policy, source, keeping_nothing(model))
    return {name for name in _WORDS if getattr(policy, name)}, failed


def _all(answers: int) -> str:
    return "the only answer" if answers == 1 else f"all {answers:,} answers"


def _in_words(answers: int, bad: list[str], words: str) -> str:
    if not bad:
        return f"{_all(answers)} came from providers that {words}"
    more = f" and {len(bad) - _MOST_ROWS:,} more" if len(bad) > _MOST_ROWS else ""
    return (
        f"{len(bad):,} of {answers:,} answers did not come from providers that {words}, or that is not known: "
        f"rows {', '.join(bad[:_MOST_ROWS])}{more}"
    )
