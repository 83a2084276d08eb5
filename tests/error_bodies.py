"""Error replies as providers, gateways and servers send them, and what each says: data of `test_core_refusals`.

Each row: a label, who was asked, status, headers, body (JSON, or a text), then what it is: outcome, reach (how far a
hold may reach; None: nothing is held for it), need, and the seconds after which to ask again.
Sources: documents of the providers, and error texts quoted in public issue threads, as read on 2026-11-29.
"""

from __future__ import annotations

from typing import Any

OR, HF, OWN = "openrouter", "huggingface", "mine"
Row = tuple[str, str, int, dict[str, str], Any, str, str | None, str | None, float | None]


def _said(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def _upstream(raw: object, code: int, message: str = "Provider returned error") -> dict[str, Any]:
    """Return OpenRouter's form of what a provider behind it has said."""
    return {"error": {"message": message, "code": code, "metadata": {"provider_name": "Practice", "raw": raw}}}


_TOOLS = "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs"
_GEMINI_MINUTE = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: generate_content_free_"
    "tier_requests, limit: 20, model: gemini-2.5-flash\nPlease retry in 58.821668433s."
)
_QUOTA_FAILURE = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "20"}],
}
_RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
_DENIED = "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform/publishers/google/models/gemini-pro'"
_TPM = (
    "Request too large for model `llama-3.3-70b-versatile` in organization `org_x` service tier `on_demand` on tokens per "
    "minute (TPM): Limit 6000, Requested 10338, please reduce your message size and try again. Need more tokens? Upgrade "
    "to Dev Tier today at https://console.groq.com/settings/billing"
)
_SPENT = (
    "Your team 16f2 has either used all available credits or reached its monthly spending limit. To continue making API "
    "requests, please purchase more credits or raise your spending limit."
)
_ANTHROPIC_RATE = (
    "This request would exceed your organization's rate limit of 40,000 input tokens per minute. For details, refer to: "
    "https://docs.anthropic.com/en/api/rate-limits; see the response headers for current usage. Please reduce the prompt "
    "length or the maximum tokens requested, or try again later."
)
_AFFORD = "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 12."
_FREE_DAY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"

NEEDS: list[Row] = [
    ("OpenRouter, tools", OR, 404, {}, _said(_TOOLS, code=404), "unsupported", "backend", "tools", None),
    ("OpenRouter, tool_choice", OR, 404, {},
     _said("No endpoints found that support the provided 'tool_choice' value.", code=404), "unsupported", "backend", "tools", None),
    ("OpenRouter, image", OR, 404, {}, _said("No endpoints found that support image input", code=404), "unsupported", "backend", "image", None),
    ("OpenRouter, audio", OR, 404, {}, _said("No endpoints found that support input audio", code=404), "unsupported", "backend", "audio", None),
    ("OpenRouter, video", OR, 404, {}, _said("No endpoints found that support video input.", code=404), "unsupported", "backend", "video", None),
    ("OpenRouter, file", OR, 404, {}, _said("No endpoints found that support file input", code=404), "unsupported", "backend", "file", None),
    ("OpenRouter, parameters", OR, 404, {},
     _said("No endpoints found that can handle the requested parameters.", code=404), "unsupported", "backend", "param", None),
    ("OpenRouter, data policy", OR, 404, {},
     _said("No endpoints found matching your data policy (Free model publication). Configure: https://openrouter.ai/settings/privacy", code=404),
     "unsupported", "backend", "policy", None),
    ("OpenRouter, excluded by a price", OR, 404, {},
     _said("No endpoints", code=404, availability={"code": "constraint_filtered", "retryable": False, "excluded_by": ["max_price"]}),
     "unsupported", "backend", "policy", None),
    ("OpenRouter, excluded by parameters", OR, 404, {},
     _said("No endpoints", code=404, availability={"code": "constraint_filtered", "excluded_by": ["require_parameters"]}),
     "unsupported", "backend", "param", None),
    ("OpenRouter, excluded by its window", OR, 404, {},
     _said("No endpoints", code=404, availability={"code": "constraint_filtered", "excluded_by": ["context_length"]}),
     "context_length", None, None, None),
    ("OpenRouter, routing", OR, 404, {},
     _said("All providers have been ignored. To change your default ignored providers, visit: https://openrouter.ai/settings", code=404),
     "unsupported", "backend", "policy", None),
    ("a router in front of OpenRouter", OWN, 404, {},
     _said('Error from provider(404): {"error":{"message":"' + _TOOLS + '","code":404}}', type="api_error", code="provider_response_error"),
     "unsupported", "provider", "tools", None),
    ("llama.cpp without mmproj", OWN, 500, {},
     _said("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", code=500, type="server_error"),
     "unsupported", "provider", "image", None),
    ("LM Studio, images", OWN, 400, {}, {"error": "Model does not support images. Please use a model that does."},
     "unsupported", "provider", "image", None),
    ("vLLM, not multimodal", OWN, 400, {},
     {"object": "error", "message": "google/gemma-3-1b-it is not a multimodal model None", "type": "BadRequestError", "param": None, "code": 400},
     "unsupported", "provider", "image", None),
    ("vLLM, no images", OWN, 400, {}, _said("At most 0 image(s) may be provided in one prompt.", type="BadRequestError", code=400),
     "unsupported", "provider", "image", None),
    ("vLLM, tool choice", OWN, 400, {},
     {"object": "error", "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "code": 400},
     "unsupported", "provider", "tools", None),
    ("DeepSeek, image", OWN, 422, {},
     "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, expected `text` at line 1",
     "unsupported", "provider", "image", None),
    ("OpenAI, image", OWN, 400, {},
     _said("Invalid content type. image_url is only supported by certain models.", type="invalid_request_error", param="messages.[0].content"),
     "unsupported", "provider", "image", None),
    ("Mistral, image", HF, 400, {}, {"object": "error", "message": "Image input is not enabled for this model", "type": "invalid_request_error"},
     "unsupported", "provider", "image", None),
    ("Ollama, thinking", OWN, 400, {}, {"error": '"gemma3:latest" does not support thinking'}, "bad_request", None, None, None),
    ("OpenAI, temperature", OWN, 400, {},
     _said("Unsupported parameter: 'temperature' is not supported with this model.", type="invalid_request_error", code="unsupported_parameter"),
     "unsupported", "provider", "param", None),
    ("Groq, logprobs", OWN, 400, {}, _said("`logprobs` is not supported with this model", type="invalid_request_error"),
     "unsupported", "provider", "param", None),
    ("a model's tools through HF", HF, 422, {}, {"error": "This model does not support function calling", "error_type": "validation"},
     "unsupported", "provider", "tools", None),
    ("response_format", HF, 400, {}, _said("`response_format` of type json_schema is not supported by this model"),
     "unsupported", "provider", "schema", None),
    ("PDF", OWN, 400, {}, _said("PDF files are not supported by this model"), "unsupported", "provider", "file", None),
]  # fmt: skip
"""Refusals that speak of what only some requests need."""

REQUESTS: list[Row] = [
    ("OpenAI, a value", OWN, 400, {},
     _said("Unsupported value: 'temperature' does not support 0.16 with this model. Only the default (1) value is supported.", code="unsupported_value"),
     "bad_request", None, None, None),
    ("OpenAI, an unknown argument", OWN, 400, {}, _said("Unrecognized request argument supplied: foo", type="invalid_request_error"),
     "bad_request", None, None, None),
    ("OpenAI, an image's format", OWN, 400, {},
     _said("You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg'].", code="invalid_image_format"),
     "bad_request", None, None, None),
    ("a file's type", OWN, 400, {}, _said("Unsupported file type: application/x-zip"), "bad_request", None, None, None),
    ("vLLM, one image at most", OWN, 400, {}, _said("At most 1 image(s) may be provided in one request.", type="BadRequestError"),
     "bad_request", None, None, None),
    ("a function with a telling name", OWN, 400, {},
     _said("Invalid schema for function 'add_credits_and_check_quota_exceeded': In context=(), 'required' is needed.", code="invalid_function_parameters"),
     "bad_request", None, None, None),
    ("Anthropic, thinking budget", OWN, 400, {},
     {"type": "error", "error": {"type": "invalid_request_error", "message": "`max_tokens` must be greater than `thinking.budget_tokens`."}},
     "bad_request", None, None, None),
    ("OpenAI, max_tokens", OWN, 400, {},
     _said("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.", param="max_tokens"),
     "bad_request", None, None, None),
    ("Bedrock, max_tokens", OWN, 400, {}, {"message": "The maximum tokens you requested exceeds the model limit of 4096."},
     "bad_request", None, None, None),
    ("FastAPI's list", OWN, 422, {}, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {"quota": "exceeded"}}]},
     "bad_request", None, None, None),
    ("RFC 7807", OWN, 400, {}, {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "messages: must not be empty"},
     "bad_request", None, None, None),
    ("406", OWN, 406, {}, "", "bad_request", None, None, None),
    ("431", OWN, 431, {}, "", "bad_request", None, None, None),
    ("a prompt is repeated", OWN, 400, {}, {"error": {"message": "bad message", "type": "invalid_request_error"}, "request": {"prompt": "insufficient balance"}},
     "bad_request", None, None, None),
    ("Groq, TPM", OWN, 413, {}, _said(_TPM, type="tokens", code="rate_limit_exceeded"), "context_length", None, None, None),
    ("OpenAI, TPM", OWN, 429, {},
     _said("Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 35064. The input or output tokens must "
           "be reduced in order to run successfully.", type="tokens", code="rate_limit_exceeded"), "context_length", None, None, None),
    ("vLLM, its window", OWN, 400, {},
     {"object": "error", "message": "This model's maximum context length is 32768 tokens. However, you requested 41648 tokens.", "type": "BadRequestError", "code": 400},
     "context_length", None, None, None),
    ("Bedrock, too long", OWN, 400, {}, {"__type": "com.amazon.coral#ValidationException", "message": "Input is too long for requested model."},
     "context_length", None, None, None),
    ("Gemini, too long", OWN, 400, {},
     [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).", "status": "INVALID_ARGUMENT"}}],
     "context_length", None, None, None),
    ("Anthropic, too long", OWN, 400, {},
     {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}, "context_length", None, None, None),
    ("SGLang, too long", OWN, 400, {},
     {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens).", "type": "BadRequestError"},
     "context_length", None, None, None),
    ("TGI, 500 with a vague type", OWN, 500, {},
     {"error": "`inputs` must have less than 4095 tokens. Given: 6000: prompt too long", "error_type": "generation"}, "context_length", None, None, None),
    ("a gateway's nginx", OWN, 413, {"content-type": "text/html"}, "<html><head><title>413 Request Entity Too Large</title></head></html>",
     "context_length", None, None, None),
    ("Zhipu, too long", OWN, 400, {}, _said("Prompt 超长", code="1261"), "context_length", None, None, None),
    ("DashScope, flagged", OWN, 400, {}, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."},
     "content_filter", None, None, None),
    ("Gemini through OpenRouter, flagged", OR, 403, {}, _upstream('{"error":{"message":"Your input was flagged by moderation"}}', 403),
     "content_filter", None, None, None),
    ("OpenAI, policy", OWN, 400, {}, _said("Your request was rejected as a result of our safety system.", code="moderation_blocked"),
     "content_filter", None, None, None),
    ("OpenAI, usage policy", OWN, 400, {}, _said("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"),
     "content_filter", None, None, None),
    ("Zhipu, flagged", OWN, 400, {}, _said("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"), "content_filter", None, None, None),
    ("Groq, JSON", OWN, 400, {}, _said("Failed to generate JSON. Please adjust your prompt.", code="json_validate_failed", failed_generation="insufficient balance"),
     "invalid_output", None, None, None),
    ("Groq, a tool nobody knows", OWN, 400, {},
     _said("tool call validation failed: attempted to call tool 'x' which was not in request.tools", code="tool_use_failed"), "invalid_output", None, None, None),
    ("Groq, words only", OWN, 422, {}, _said("Generated JSON does not match the expected schema."), "invalid_output", None, None, None),
]  # fmt: skip
"""Refusals that speak of one request."""

MONEY: list[Row] = [
    ("OpenRouter, affordable", OR, 402, {}, _said(_AFFORD, code=402), "quota", "request", None, None),
    ("OpenRouter, prompt too dear", OR, 402, {}, _said("Prompt tokens limit exceeded: 30000 > 12000. To increase, visit https://openrouter.ai/settings/credits", code=402),
     "quota", "request", None, None),
    ("new-api, this request is too dear", OWN, 403, {},
     _said("pre-consumed quota failed, user quota: 13810, need quota: 15000", type="new_api_error", code="insufficient_user_quota"), "quota", "request", None, None),
    ("OpenRouter, a day's free requests", OR, 429, {}, _said(_FREE_DAY, code=429), "quota", "key", None, 43200),
    ("xAI, 429 with a text", OWN, 429, {}, _SPENT, "quota", "key", None, None),
    ("xAI, 403", OWN, 403, {},
     {"code": "The caller does not have permission to execute the specified operation", "error": "Your newly created teams doesn't have any credits yet."},
     "quota", "key", None, None),
    ("DeepSeek, 402", OWN, 402, {}, _said("Insufficient Balance", type="unknown_error", code="invalid_request_error"), "quota", "key", None, None),
    ("DeepSeek behind litellm", OWN, 400, {},
     _said('litellm.BadRequestError: DeepseekException - {"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}', code="400"),
     "quota", "model", None, None),
    ("OpenAI, insufficient_quota", OWN, 429, {},
     _said("You exceeded your current quota, please check your plan and billing details.", type="insufficient_quota", code="insufficient_quota"),
     "quota", "key", None, None),
    ("one-api", OWN, 403, {}, _said("user quota is not enough", type="one_api_error", code="insufficient_user_quota"), "quota", "key", None, None),
    ("DashScope, Arrearage", OWN, 400, {}, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."},
     "quota", "key", None, None),
    ("Zhipu, 1113", OWN, 429, {}, _said("余额不足或无可用资源包,请充值。", code="1113"), "quota", "key", None, None),
    ("Hugging Face, fal", HF, 402, {}, {"error": "Pay-as-you go is not enabled for provider fal-ai yet."}, "quota", "provider", None, None),
    ("Hugging Face, depleted", HF, 402, {},
     {"error": "You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference Providers."}, "quota", "key", None, None),
    ("MiniMax in a 200", OWN, 200, {}, {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "quota", "key", None, None),
    ("FastGPT in a 200", OWN, 200, {}, {"code": 402, "statusText": "", "message": "The team's points are used up", "data": None}, "quota", "key", None, None),
    ("Gemini, no free tier", OWN, 429, {},
     _said("Gemini 2.5 Pro Preview doesn't have a free quota tier.", code=429, status="RESOURCE_EXHAUSTED", details=[_RETRY_INFO]), "quota", "model", None, 34),
    ("litellm, a team's budget", OWN, 429, {}, _said("Budget has been exceeded! Team=x Current cost: 26.07, Max budget: 0.25", type="budget_exceeded", code="429"),
     "quota", "key", None, None),
    ("423 with a bill", OWN, 423, {}, {"message": "Account locked: unpaid invoice"}, "quota", "key", None, None),
    ("a monthly limit in a 403", OWN, 403, {}, {"detail": "Monthly usage limit reached for this key"}, "quota", "key", None, None),
]  # fmt: skip
"""Refusals that speak of money."""

LIMITS: list[Row] = [
    ("Gemini, a minute's quota", OWN, 429, {}, [_said(_GEMINI_MINUTE, code=429, status="RESOURCE_EXHAUSTED", details=[_QUOTA_FAILURE, _RETRY_INFO])],
     "rate_limited", "route", None, 34),
    ("Gemini, words only", OWN, 429, {}, _said(_GEMINI_MINUTE, code=429, status="RESOURCE_EXHAUSTED"), "rate_limited", "route", None, 58.821668433),
    ("Gemini in Gemini's CLI form", OWN, 429, {},
     _said('{\n "error": {\n "code": 429,\n "message": "Resource has been exhausted (e.g. check quota).",\n "status": "RESOURCE_EXHAUSTED"\n }\n}\n', code=429),
     "rate_limited", "route", None, None),
    ("Gemini, Google's old 403", OWN, 403, {}, _said("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service x", code=403),
     "rate_limited", "route", None, None),
    ("Gemini behind a 500", OWN, 500, {}, _said("Upstream said no", code=429, status="RESOURCE_EXHAUSTED"), "rate_limited", "route", None, None),
    ("Anthropic, a minute's tokens", OWN, 429, {"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": "2026-11-24T12:00:21Z"},
     {"type": "error", "error": {"type": "rate_limit_error", "message": _ANTHROPIC_RATE}}, "rate_limited", "route", None, 21),
    ("OpenAI, requests per day", OWN, 429, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7m12s", "x-ratelimit-reset-tokens": "6ms",
                                            "x-ratelimit-remaining-tokens": "29000"},
     _said("Rate limit reached for gpt-4o in organization org-x on requests per day (RPD): Limit 200, Used 200, Requested 1.", code="rate_limit_exceeded"),
     "rate_limited", "route", None, 432),
    ("Azure, ms", OWN, 429, {"x-ms-retry-after-ms": "1400"}, _said("Requests have exceeded token rate limit.", code="429"), "rate_limited", "route", None, 1.4),
    ("Bedrock, throttled", OWN, 429, {}, {"message": "Too many tokens, please wait before trying again."}, "rate_limited", "route", None, None),
    ("Moonshot, rpm", OWN, 429, {},
     _said("Your account org-x<ak-y> request reached organization max RPM: 3, please try again after 1 seconds", type="rate_limit_reached_error"),
     "rate_limited", "route", None, 1),
    ("GitHub Models", OWN, 429, {}, _said("Rate limit of 150 per 86400s exceeded for UserByModelByDay. Please wait 7200 seconds before retrying.", code="RateLimitReached"),
     "rate_limited", "route", None, 7200),
    ("OpenRouter, its provider's limit", OR, 429, {}, _upstream("Rate limit reached, please slow down", 429), "rate_limited", "route", None, None),
    ("OpenRouter, its provider's Google", OR, 429, {}, _upstream('{"error":{"code":429,"details":[{"retryDelay":"12s"}]}}', 429), "rate_limited", "route", None, 12),
    ("OpenRouter, the key's minute", OR, 429, {}, _said("Rate limit exceeded: free-models-per-min.", code=429), "rate_limited", "key", None, None),
    ("OpenRouter, in flight in words", OR, 402, {"retry-after": "9"}, _said("Your requests in flight use up your remaining budget.", code=402), "rate_limited", "key", None, 9),
    ("a WAF's 403", OWN, 403, {}, {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}, "rate_limited", "route", None, None),
    ("420", OWN, 420, {}, "Enhance Your Calm", "rate_limited", "route", None, None),
    ("400 with a rate limit", OWN, 400, {}, _said("Rate limit exceeded", type="rate_limit_error"), "rate_limited", "route", None, None),
    ("concurrency in a 403", OWN, 403, {}, {"code": "concurrency_limit_reached"}, "rate_limited", "route", None, None),
    ("Nebius, retry in words", HF, 429, {}, {"detail": "Too many requests. Retry after 7 seconds"}, "rate_limited", "route", None, 7),
    ("a codex plan", OWN, 429, {}, _said("The usage limit has been reached", type="usage_limit_reached", resets_in_seconds=3600), "rate_limited", "route", None, 3600),
    ("Groq, flex", OWN, 498, {}, _said("Flex tier capacity exceeded", type="capacity_exceeded"), "overloaded", None, None, None),
    ("TGI, overloaded", OWN, 429, {}, {"error": "Model is overloaded", "error_type": "overloaded"}, "rate_limited", "route", None, None),
    ("TGI, 424", OWN, 424, {}, {"error": "Request failed during generation: Server error: CANCELLED", "error_type": "generation"}, "server_error", None, None, None),
    ("Anthropic in a 200", OWN, 200, {}, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded", None, None, None),
    ("nginx, 499", OWN, 499, {}, "", "server_error", None, None, None),
    ("vLLM, sleeping", OWN, 500, {}, _said("The engine is currently busy, retry in 2 minutes", type="internal_server_error"), "overloaded", None, None, 120),
    ("Cloudflare's own form", OWN, 502, {}, {"result": None, "success": False, "errors": [{"code": 7009, "message": "Upstream service unavailable"}], "messages": []},
     "server_error", None, None, None),
]  # fmt: skip
"""Refusals that speak of how much at once, or how fast."""

KEYS: list[Row] = [
    ("Gemini, wrong key", OWN, 400, {},
     [_said("API key not valid. Please pass a valid API key.", code=400, status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}])], "auth", "key", None, None),
    ("xAI, wrong key", OWN, 400, {}, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk***. You can obtain an API key from https://console.x.ai."},
     "auth", "key", None, None),
    ("OpenAI", OWN, 401, {}, _said("Incorrect API key provided: sk-1.", type="invalid_request_error", code="invalid_api_key"), "auth", "key", None, None),
    ("Portkey, the provider's key", OWN, 401, {}, _said("openai error: Incorrect API key provided. Upstream provider returned 401", type="invalid_request_error"),
     "auth", "model", None, None),
    ("OpenRouter, the provider's key", OR, 401, {}, _upstream('{"detail":"Invalid API key"}', 401), "auth", "model", None, None),
    ("vLLM in a 200", OWN, 200, {}, {"error": "Unauthorized"}, "auth", "key", None, None),
    ("498, a token", OWN, 498, {}, {"message": "Invalid access token"}, "auth", "key", None, None),
    ("Hugging Face, the token's rights", HF, 403, {},
     {"error": "This authentication method does not have sufficient permissions to call Inference Providers on behalf of user x"}, "forbidden", "key", None, None),
    ("Hugging Face, gated", HF, 403, {}, {"error": "Access to model gated/m is restricted and you are not in the authorized list."}, "forbidden", "model", None, None),
    ("OpenRouter, a key of one's own", OR, 403, {},
     _said("OpenAI is requiring a key to access this model, which you can add in https://openrouter.ai/settings/integrations", code=403), "forbidden", "model", None, None),
    ("OpenAI, a project's models", OWN, 403, {}, _said("Project `proj_x` does not have access to model `gpt-5`", type="invalid_request_error", code="model_not_found"),
     "forbidden", "model", None, None),
    ("OpenAI, verified organizations", OWN, 400, {}, _said("Your organization must be verified to stream this model.", code="unsupported_value"), "forbidden", "model", None, None),
    ("Bedrock, access", OWN, 403, {}, {"__type": "AccessDeniedException", "message": "You don't have access to the model with the specified model ID."},
     "forbidden", "model", None, None),
    ("Vertex, maybe not there", OWN, 403, {}, _said(f"{_DENIED} (or it may not exist).", code=403, status="PERMISSION_DENIED"), "forbidden", "route", None, None),
    ("Vertex, an API that is off", OWN, 403, {}, _said("Generative Language API has not been used in project 72 before or it is disabled.", status="PERMISSION_DENIED"),
     "forbidden", "key", None, None),
    ("Gemini, region", OWN, 400, {}, [_said("User location is not supported for the API use.", code=400, status="FAILED_PRECONDITION")], "unsupported", "model", None, None),
    ("OpenAI, country", OWN, 403, {}, _said("Country, region, or territory not supported", code="unsupported_country_region_territory"), "unsupported", "model", None, None),
    ("OpenAI, deactivated", OWN, 403, {}, _said("Your account has been deactivated", code="account_deactivated"), "forbidden", "key", None, None),
    ("an account suspended for its content", OWN, 403, {}, _said("Your account has been suspended for violating our terms of service"), "forbidden", "key", None, None),
    ("an address that is not allowed", OWN, 403, {}, {"detail": "Your IP address 10.0.0.1 is not authorized"}, "forbidden", "key", None, None),
    ("403 and no words", OWN, 403, {}, "", "forbidden", "route", None, None),
    ("403 with words nobody knows", OR, 403, {}, _said("Nope", code=403), "forbidden", "route", None, None),
    ("a plan's models", OWN, 403, {}, _said("This model is not available on your current plan. Please upgrade."), "forbidden", "model", None, None),
    ("Groq, terms", OWN, 400, {}, _said("The model `x` requires terms acceptance.", code="model_terms_required"), "forbidden", "model", None, None),
]  # fmt: skip
"""Refusals that speak of a key, and those that only seem to."""

MODELS: list[Row] = [
    ("Hugging Face, 410", HF, 410, {}, {"error": "The requested model is deprecated and no longer supported by provider hf-inference"}, "not_found", "provider", None, None),
    ("410 and no words", HF, 410, {}, "", "not_found", "provider", None, None),
    ("OpenAI, 404", OWN, 404, {}, _said("The model `gpt-9` does not exist or you do not have access to it.", code="model_not_found"), "not_found", "route", None, None),
    ("Anthropic, retired", OWN, 404, {}, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-2.1"}}, "not_found", "provider", None, None),
    ("OpenRouter, an id", OR, 400, {}, _said("foo/bar is not a valid model ID", code=400), "not_found", "backend", None, None),
    ("Ollama", OWN, 404, {}, _said("model 'gemma' not found, try pulling it first", type="not_found_error"), "not_found", "provider", None, None),
    ("Hugging Face, provider", HF, 400, {}, {"error": "Model not supported by provider together"}, "unsupported", "provider", None, None),
    ("Hugging Face, router", HF, 400, {},
     _said("The requested model 'X' is not supported by any provider you have enabled.", type="invalid_request_error", param="model", code="model_not_supported"),
     "unsupported", "provider", None, None),
    ("9router", OWN, 400, {}, _said("unknown provider for model gemini-3-pro-high", type="invalid_request_error"), "not_found", "provider", None, None),
    ("one-api, no channel", OWN, 503, {}, _said("当前分组 default 下对于模型 gpt-5 无可用渠道", type="one_api_error"), "overloaded", None, None, None),
    ("Together, retired in a 400", HF, 400, {}, _said("The model meta/x has been retired. Use meta/y instead.", type="invalid_request_error"), "not_found", "provider", None, None),
    ("LM Studio in a 200", OWN, 200, {}, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, "not_found", "backend", None, None),
    ("Spring's page", OWN, 404, {}, {"timestamp": "2026-11-24", "status": 404, "error": "Not Found", "path": "/v1/chat/completions"}, "not_found", "provider", None, None),
    ("405", OWN, 405, {}, {"detail": "Method Not Allowed"}, "unsupported", "provider", None, None),
    ("a page", OWN, 404, {"content-type": "text/html"}, "<!doctype html><html><head><title>404 Not Found</title></head></html>", "not_found", "provider", None, None),
    ("SOAP", OWN, 500, {"content-type": "text/xml"}, "<s:Envelope><s:Fault><faultcode>x</faultcode><faultstring>Server is too busy</faultstring></s:Fault></s:Envelope>",
     "overloaded", None, None, None),
    ("an event in place of a body", OWN, 402, {}, 'data: {"error": {"message": "Insufficient credits"}}\n\n', "quota", "key", None, None),
]  # fmt: skip
"""Refusals that speak of a model or an address, and odd shapes."""

ALL: list[Row] = [*NEEDS, *REQUESTS, *MONEY, *LIMITS, *KEYS, *MODELS]
