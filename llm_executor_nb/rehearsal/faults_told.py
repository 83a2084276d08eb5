"""Refusals in other shapes and other words: what providers, gateways and servers behind any address tell.

A refusal is the same whether its error is an object, a list, a text, JSON in a text or a page. Bodies as quoted in
public threads of the providers' and their users' repositories.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.entry import BOTH, ONLY_OPENROUTER, FaultSpec, Shelf
from llm_executor_nb.rehearsal.response import stage_json

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

_QUOTA = Finding(Outcome.QUOTA, ScopeLevel.KEY)
_TOO_DEAR = Finding(Outcome.QUOTA, ScopeLevel.REQUEST)
_AUTH = Finding(Outcome.AUTH, ScopeLevel.KEY)
_AUTH_BEHIND = Finding(Outcome.AUTH, ScopeLevel.MODEL)
_NOT_THIS_MODEL = Finding(Outcome.FORBIDDEN, ScopeLevel.MODEL)
_SOMETHING = Finding(Outcome.FORBIDDEN, ScopeLevel.ROUTE)
_NOT_HERE = Finding(Outcome.UNSUPPORTED, ScopeLevel.MODEL)
_GONE = Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND)
_GONE_THERE = Finding(Outcome.NOT_FOUND, ScopeLevel.PROVIDER)
_TOO_LONG = Finding(Outcome.CONTEXT_LENGTH)
_FLAGGED = Finding(Outcome.CONTENT_FILTER)
_BUSY = Finding(Outcome.OVERLOADED)

_SPENT = (
    "Your team has either used all available credits or reached its monthly spending limit. To continue making API "
    "requests, please purchase more credits or raise your spending limit."
)
_TOO_MANY_AT_ONCE = (
    "Request too large for model `{model}` in organization `org_x` on tokens per minute (TPM): Limit 6000, Requested "
    "10338, please reduce your message size and try again."
)
_AFFORDS = (
    "This request requires more credits, or fewer max_tokens. You requested up to 9000 tokens, but can only afford 12."
)
_RELAYED = "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided"
_GATED = (
    "Access to model {model} is restricted and you are not in the authorized list. Visit its page to ask for access."
)
_OWN_KEY = "The provider is requiring a key to access this model, which you can add in https://openrouter.ai/settings"


def _tells(
    does: str,
    status: int,
    finding: Finding,
    body: object,
    *,
    on_huggingface: Finding | None = None,
    backends: tuple[str, ...] = BOTH,
) -> FaultSpec:
    """Return a row whose whole body is told; `{model}` in it becomes the model that was asked."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        told = json.loads(json.dumps(body).replace("{model}", asked.plain_model))
        return stage_json(told, effect.fault, status=status)

    return FaultSpec(does=does, stage=stage, finding=finding, on_huggingface=on_huggingface, backends=backends)


def _said(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


TOLD: Shelf = {
    "no-credit-400": _tells(
        "400 and a vague type, no credit is left",
        400,
        _QUOTA,
        {"type": "error", "error": _said("Your credit balance is too low.", type="invalid_request_error")["error"]},
    ),
    "spent-429": _tells("429 and a body that is one text, no credit is left", 429, _QUOTA, _SPENT),
    "budget-400": _tells(
        "400, the budget of a gateway's key is used up",
        400,
        _QUOTA,
        _said("Budget has been exceeded! Current cost: 26.07, Max budget: 0.25", type="budget_exceeded", code="400"),
    ),
    "suspended-412": _tells(
        "412, the account's bill is not paid",
        412,
        _QUOTA,
        _said("Account x is suspended, possibly due to failure to pay past invoices.", code="PRECONDITION_FAILED"),
    ),
    "can-only-afford": _tells(
        "this request costs more than the credits that are left, in words only", 402, _TOO_DEAR, _said(_AFFORDS)
    ),
    "wrong-key-400": _tells(
        "400 in a list of errors, with its reason in the details: the key is wrong",
        400,
        _AUTH,
        [_said("API key not valid. Please pass a valid API key.", details=[{"reason": "API_KEY_INVALID"}])],
    ),
    "relayed-401": _tells(
        "401 of a gateway whose own key is wrong", 401, _AUTH_BEHIND, _said(_RELAYED, type="authentication_error")
    ),
    "relayed-raw-401": _tells(
        "401 of a provider behind OpenRouter, as JSON in a text",
        401,
        _AUTH_BEHIND,
        _said("Provider returned error", code=401, metadata={"raw": '{"detail": "Invalid API key"}'}),
        backends=ONLY_OPENROUTER,
    ),
    "gated-403": _tells("403, the model must be asked for first", 403, _NOT_THIS_MODEL, {"error": _GATED}),
    "own-key-403": _tells(
        "403, the model wants a key of one's own",
        403,
        _NOT_THIS_MODEL,
        _said(_OWN_KEY, code=403),
        backends=ONLY_OPENROUTER,
    ),
    "unknown-403": _tells("a 403 in unknown words", 403, _SOMETHING, {"detail": "Nope."}),
    "country-403": _tells(
        "403, the model is not to be had in this country",
        403,
        _NOT_HERE,
        _said("Country, region, or territory not supported", type="request_forbidden"),
    ),
    "gone-410": _tells(
        "410, the provider serves the model no more",
        410,
        _GONE,
        {"error": "The requested model is deprecated and no longer supported by provider practice"},
        on_huggingface=_GONE_THERE,
    ),
    "decommissioned-400": _tells(
        "400 and a vague type, the model was taken out of service",
        400,
        _GONE,
        _said(
            "The model `{model}` has been decommissioned.", type="invalid_request_error", code="model_decommissioned"
        ),
        on_huggingface=_GONE_THERE,
    ),
    "problem-404": _tells(
        "404 as a problem of RFC 7807",
        404,
        _GONE,
        {"status": 404, "title": "Not Found", "detail": "Function '23d4': Not found for account 'abc'"},
        on_huggingface=_GONE_THERE,
    ),
    "too-large-413": _tells(
        "413 and the code of a rate limit, the prompt is more than a minute's tokens",
        413,
        _TOO_LONG,
        _said(_TOO_MANY_AT_ONCE, type="tokens", code="rate_limit_exceeded"),
    ),
    "too-long-nested": _tells(
        "500 of a gateway, around the JSON of a prompt that is too long",
        500,
        _TOO_LONG,
        _said('Error from provider: {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}'),
    ),
    "flagged-400": _tells(
        "400 in words only, the prompt was flagged",
        400,
        _FLAGGED,
        {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."},
    ),
    "overloaded-errors": _tells(
        "500 with a list of errors, the model is overloaded",
        500,
        _BUSY,
        {
            "success": False,
            "errors": [{"code": 3040, "message": "No capacity available for the model."}],
            "result": None,
        },
    ),
    "money-in-200": _tells(
        "200 whose body is an error without the word",
        200,
        _QUOTA,
        {"object": "error", "message": "no more credits", "code": 402},
    ),
}
