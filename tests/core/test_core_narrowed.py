"""A refusal is about what the request demanded: it names the clause, and holds only requests that demand the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from llm_executor_nb.core.evidence import Evidence
from llm_executor_nb.core.needs import needs_of
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.policy import NO_POLICY, Policy
from llm_executor_nb.core.records import Key, Reply, Route
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.core.verdicts.narrowed import narrowed

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
OPENROUTER, HUGGINGFACE = "openrouter", "huggingface"
BROAD = Policy(
    zdr=True, no_training=True, only=("together",), ignore=("novita",), max_price=(0.1, 0.3), quantizations=("fp8",)
)
"""Demands everything, so that each refusal has a clause to name."""
SERVING = "Providers serving m: a, b, but your request's `provider.only` preference permits only: together."
CLAUSES = {
    "zdr=True": [
        {"message": "No endpoints found matching your data policy (Zero data retention). Configure: https://x.y/z"},
        {"message": "No endpoints found matching your data policy (ZDR)"},
        {"message": "No", "availability": {"code": "privacy_restricted", "excluded_by": ["data_policy:zdr"]}},
        {"message": "No endpoints", "availability": {"code": "privacy_restricted", "excluded_by": "data_policy:zdr"}},
    ],
    "no_training=True": [
        {"message": "No endpoints found matching your data policy (Paid model training). Configure: https://x.y/z"},
        {"message": "No endpoints found matching your data policy (Free model publication)."},
        {"message": "No", "availability": {"code": "privacy_restricted", "excluded_by": ["data_policy:training"]}},
    ],
    "zdr=True, no_training=True": [
        {"message": "No endpoints found matching your data policy. Enable prompt training here: https://x.y/z"},
        {"message": "No endpoints available matching your guardrail restrictions and data policy."},
        {"message": "No endpoints found for m.", "metadata": {"failed_routing_step": "Filter by Data Policy"}},
    ],
    "only=('together',)": [
        {"message": "No allowed providers are available for the selected model."},
        {"message": f"No allowed providers are available for the selected model. {SERVING}"},
        {"message": SERVING},
        {"message": "No endpoints found for m.", "metadata": {"failed_routing_step": "Filter by Allowed Providers"}},
        {"message": "No", "availability": {"code": "constraint_filtered", "excluded_by": ["allowed_providers"]}},
        {"message": 'Error from provider: {"error":{"message":"No allowed providers are available.","code":404}}'},
    ],
    "ignore=('novita',)": [
        {"message": "All providers have been ignored. To change your default ignored providers, visit: https://x.y/z"},
    ],
    "max_price=(0.1, 0.3)": [
        {"message": "No endpoints", "availability": {"code": "constraint_filtered", "excluded_by": ["max_price"]}},
        {"message": "No endpoints found that meet your maximum price."},
        {"message": "No endpoints found within your price constraints (max_price)."},
    ],
    "quantizations=('fp8',)": [
        {"message": "No endpoints", "availability": {"code": "constraint_filtered", "excluded_by": ["quantization"]}},
        {"message": "No endpoints found that support the requested quantizations"},
    ],
}
REFUSALS = [(clause, error) for clause, errors in CLAUSES.items() for error in errors]
IN_A_403 = [
    '{"error": "This authentication method does not have sufficient permissions to call Inference Providers"}',
    '{"error": "Nope."}',
    "<html><title>Just a moment...</title></html>",
    "",
    '{"error": "You have exceeded your monthly included credits for Inference Providers."}',
    '{"error": "Access to model m is restricted and you are not in the authorized list."}',
    '{"error": "Too many requests"}',
    '{"error": "Service temporarily unavailable"}',
    '{"error": "Invalid username or password."}',
    '{"error": {"message": "m is not available in your region.", "code": "region_restricted"}}',
]


def _route(backend, provider=None):
    key = Key(backend=backend, secret=Secret("sk-or-v1-narrowed-0001"), label="key 1")
    return Route(backend=backend, key=key, provider=provider, model="m", request_model="m", tier=1)


def _classified(status, body, backend):
    raw = (body if isinstance(body, str) else json.dumps(body)).encode()
    return classify(Reply(status=status, headers={}, body=raw), backend=backend, now_utc=NOW)


def _narrowed(status, body, *, policy=NO_POLICY, route, payload=None):
    """Return the verdict for a request, and the scope that it holds."""
    needs = needs_of(payload or {}, None, policy)
    verdict = narrowed(_classified(status, body, route.backend), policy, needs, route.backend)
    return verdict, Evidence().scope(route, verdict, needs, is_alone=True)


@pytest.mark.parametrize(("clause", "error"), REFUSALS)
@pytest.mark.parametrize("status", [404, 200])
def test_a_refusal_for_a_policy_holds_that_policy_and_names_the_clause(clause, error, status):
    words = error["message"].partition("{")[0].strip()
    verdict, scope = _narrowed(status, {"error": {"code": 404, **error}}, policy=BROAD, route=_route(OPENROUTER))
    assert verdict.outcome is Outcome.UNSUPPORTED
    assert (scope.reach, scope.need) == (ScopeLevel.BACKEND, BROAD.need)
    assert verdict.message.startswith(f"policy {clause}: {words[:60]}")


@pytest.mark.parametrize(("clause", "error"), REFUSALS)
def test_without_a_policy_the_same_refusal_holds_nothing_and_says_what_it_said(clause, error):
    verdict, scope = _narrowed(404, {"error": {"code": 404, **error}}, route=_route(OPENROUTER))
    assert scope is None
    assert "policy " + clause not in verdict.message


def test_a_clause_that_the_policy_lacks_is_not_named():
    """The account's own settings may exclude everybody; and a place in the world is no clause."""
    told = [
        {"message": "No endpoints found matching your data policy"},
        {"message": "All providers have been ignored."},
    ]
    told += [{"message": "No", "availability": {"code": "constraint_filtered", "excluded_by": ["geo"]}}]
    policy = Policy(max_price=(1, 1))
    for error in told:
        verdict, scope = _narrowed(404, {"error": error}, policy=policy, route=_route(OPENROUTER))
        assert scope.need == policy.need
        assert not verdict.message.startswith("policy ")


def test_a_refusal_that_names_no_clause_names_the_whole_policy():
    error = {"message": "m is not available", "availability": {"code": "constraint_filtered"}}
    verdict, _ = _narrowed(404, {"error": error}, policy=Policy(zdr=True, only="a"), route=_route(OPENROUTER))
    assert verdict.message == "policy zdr=True, only=('a',): m is not available"


@pytest.mark.parametrize("body", IN_A_403)
def test_a_403_for_an_organisation_holds_the_token_together_with_it(body):
    policy = Policy(bill_to="lab", zdr=True)
    verdict, scope = _narrowed(403, body, policy=policy, route=_route(HUGGINGFACE, "a"))
    assert verdict.outcome in (Outcome.FORBIDDEN, Outcome.QUOTA, Outcome.AUTH, Outcome.UNSUPPORTED)
    assert (scope.reach, scope.need) == (ScopeLevel.KEY, "bill_to:lab")
    assert verdict.message.startswith("policy bill_to='lab'")


def test_the_same_token_is_free_for_requests_without_the_organisation():
    _, scope = _narrowed(403, IN_A_403[0], policy=Policy(bill_to="lab"), route=_route(HUGGINGFACE, "a"))
    assert scope.need not in needs_of({}, None, Policy(bill_to="other"))
    assert scope.need not in needs_of({}, None)
    assert scope.need in needs_of({}, None, Policy(bill_to="lab", no_training=True, only="a"))


@pytest.mark.parametrize(
    ("status", "body", "reach", "need"),
    [
        (402, "You have depleted your monthly included credits.", ScopeLevel.KEY, "bill_to:lab"),
        (402, "Pay-as-you go is not enabled for provider a yet.", ScopeLevel.PROVIDER, "bill_to:lab"),
        (404, "Organization lab not found", ScopeLevel.KEY, "bill_to:lab"),
        (200, {"code": 403, "message": "Nope."}, ScopeLevel.KEY, "bill_to:lab"),
        (401, "Invalid username or password.", ScopeLevel.KEY, None),
        (404, "Not Found", ScopeLevel.PROVIDER, None),
        (400, "Model not supported by provider a", ScopeLevel.PROVIDER, None),
    ],
)
def test_what_else_is_about_the_organisation_and_what_is_not(status, body, reach, need):
    _, scope = _narrowed(status, {"error": body}, policy=Policy(bill_to="lab"), route=_route(HUGGINGFACE, "a"))
    assert (scope.reach, scope.need) == (reach, need)


def test_openrouter_is_not_told_of_the_organisation_and_says_nothing_of_it():
    _, scope = _narrowed(403, {"error": "Nope."}, policy=Policy(bill_to="lab"), route=_route(OPENROUTER))
    assert (scope.reach, scope.need) == (ScopeLevel.ROUTE, None)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (498, {"message": "Flex tier capacity exceeded", "type": "capacity_exceeded"}),
        (429, {"message": "`flex` tier capacity exceeded for model `m`."}),
        (429, {"message": "Resource unavailable", "code": "resource_unavailable"}),
        (429, {"message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded"}),
        (503, {"message": "The flex tier has no capacity", "availability": {"code": "capacity_exhausted"}}),
        (503, {"message": "Flex processing is temporarily unavailable due to demand"}),
    ],
)
def test_a_tier_without_room_is_overloaded_for_that_tier_only(status, error):
    route = _route(OPENROUTER)
    at_flex, scope = _narrowed(status, {"error": error}, route=route, payload={"service_tier": "flex"})
    plain, anyone = _narrowed(status, {"error": error}, route=route)
    assert (at_flex.outcome, scope.reach, scope.need) == (
        Outcome.OVERLOADED,
        ScopeLevel.ROUTE,
        "param:service_tier",
    )
    assert Evidence().failing(route, at_flex, needs_of({"service_tier": "flex"}, None)) == scope
    assert plain.need is None
    assert anyone.need is None


def test_another_failure_of_a_request_at_a_tier_is_what_it_is():
    for status, words in ((429, "Rate limit exceeded"), (503, "The server is busy"), (500, "Internal Server Error")):
        verdict, _ = _narrowed(status, {"error": words}, route=_route(OPENROUTER), payload={"service_tier": "flex"})
        assert verdict == _classified(status, {"error": words}, OPENROUTER)


@pytest.mark.parametrize(
    ("status", "error", "outcome", "reach"),
    [
        (
            503,
            {"message": "There is no available model provider that meets your routing requirements"},
            Outcome.OVERLOADED,
            ScopeLevel.ROUTE,
        ),
        (404, {"message": "No endpoints found for m."}, Outcome.NOT_FOUND, ScopeLevel.BACKEND),
        (404, {"message": "m", "availability": {"code": "no_endpoints"}}, Outcome.NOT_FOUND, ScopeLevel.BACKEND),
    ],
)
def test_nobody_among_those_that_may_answer_says_nothing_of_the_others(status, error, outcome, reach):
    route, policy = _route(OPENROUTER), Policy(zdr=True)
    verdict, scope = _narrowed(status, {"error": error}, policy=policy, route=route)
    assert (verdict.outcome, scope.reach, scope.need) == (outcome, reach, policy.need)
    assert verdict.message.startswith("policy zdr=True: ")
    plain, anyone = _narrowed(status, {"error": error}, route=route)
    assert plain == _classified(status, {"error": error}, OPENROUTER)
    assert (anyone.reach, anyone.need) == (reach, None)


def test_a_model_that_does_not_exist_is_missing_for_everybody():
    error = {"message": "m is not a valid model ID", "code": 400}
    _, scope = _narrowed(400, {"error": error}, policy=Policy(zdr=True), route=_route(OPENROUTER))
    assert (scope.reach, scope.need) == (ScopeLevel.BACKEND, None)
