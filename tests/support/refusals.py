"""How providers refuse a response format or `stream_options`, and refusals that only look alike: (status, body).

From public threads of their users' repositories, 2024 to 2026, shortened.
"""

from __future__ import annotations

import json
from typing import Any

Refusal = tuple[int, Any]


def _openai(message: str, status: int = 400, **more: Any) -> Refusal:
    told = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}
    return status, {"error": told}


def _openrouter(raw: Any, status: int = 400) -> Refusal:
    metadata = {"raw": raw if isinstance(raw, str) else json.dumps(raw), "provider_name": "Practice"}
    return status, {"error": {"message": "Provider returned error", "code": status, "metadata": metadata}}


def _google(message: str, **more: Any) -> Refusal:
    return _openrouter([{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT", **more}}])


_FIELD = "generation_config.response_schema.properties[3].value"
_EXTRA = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted", "input": True}
_ECHO = {"model": "m", "messages": [], "response_format": {"type": "json_schema"}, "stream_options": {}}

SCHEMA: dict[str, Refusal] = {
    "OpenAI, invalid schema": _openai(
        "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required to be supplied"
    ),
    "OpenAI, $ref": _openai("In context=('properties', 'a'), reference '$ref' is not permitted.", param="text.format"),
    "Azure, version": _openai(
        "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"
    ),
    "Azure, param alone": _openai("Unsupported value.", param="response_format", code="unsupported_value"),
    "Gemini, states": _google("The specified schema produces a constraint that has too many states for serving."),
    "Gemini, depth": _google("A schema in GenerationConfig in the request exceeds the maximum allowed nesting depth."),
    "Gemini, non-empty": _google(
        "* GenerateContentRequest.generation_config.response_schema.properties: should be non-empty for OBJECT type\n"
    ),
    "Gemini, field alone": _google("Invalid value.", details=[{"fieldViolations": [{"field": _FIELD}]}]),
    "Gemma": _google("JSON mode is not enabled for models/gemma-3-27b-it"),
    "Vertex": _google("It has a mimeType parameter with value application/json, which is not supported."),
    "Anthropic, grammar": _openrouter(
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "The compiled grammar is too large. Simplify."},
        }
    ),
    "Anthropic, output_format": _openai("output_format: Extra inputs are not permitted"),
    "Anthropic, as a tool": _openai("tools.0.custom.input_schema: JSON schema is invalid."),
    "Bedrock": _openai(
        "The model returned the following errors: output_config.format.schema: For 'integer' type, property 'maximum' "
        "is not supported"
    ),
    "Groq, model": _openai("This model does not support response format `json_schema`."),
    "Together": _openai("Input validation error: grammar is not valid: Grammar must have a 'properties' field"),
    "Fireworks": _openai("json_schema is not supported for this model", status=422),
    "Cerebras, fields": (
        400,
        {"message": "Unsupported JSON schema fields: {'minItems'}", "param": "response_format", "code": "wrong"},
    ),
    "Cerebras, as raw": _openrouter({"message": "Unsupported.", "param": "response_format", "code": "wrong"}),
    "Cerebras, literal": (422, {"message": "type: Input should be 'text'", "param": "validation_error"}),
    "Cohere": (422, {"id": "1", "message": "response_format with json_schema is not supported with documents"}),
    "Mistral": (
        422,
        {"detail": [{"type": "literal_error", "loc": ["body", "response_format", "type"], "msg": "Not one of these"}]},
    ),
    "DeepSeek": _openai("This response_format type is unavailable now"),
    "DashScope": _openai("'messages' must contain the word 'json', to use 'response_format' of type 'json_object'."),
    "SambaNova": _openai("Invalid value for `response_format`", status=415),
    "xAI": (400, {"code": "Client specified an invalid argument", "error": "Grammar is too complex."}),
    "NVIDIA": (400, {"object": "error", "message": "guided_json is not supported", "type": "BadRequestError"}),
    "vLLM": (400, {"object": "error", "message": "The provided JSON schema contains features not supported by it."}),
    "vLLM, xgrammar": (500, {"error": {"message": "xgrammar failed to compile", "code": 500}}),
    "vLLM, structured outputs": _openai("Structured outputs are disabled on this server", status=501),
    "TGI": (422, {"error": "Input validation error: grammar is not supported", "error_type": "validation"}),
    "llama.cpp": _openai("Failed to initialize samplers: failed to parse grammar"),
    "llama.cpp, type": (500, {"error": {"code": 500, "message": "Unsupported type 'json_schema'"}}),
    "llama-cpp-python": _openai(
        "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input "
        "should be 'text' or 'json_object'\", 'input': 'json_schema'}",
        status=500,
    ),
    "Ollama": _openai('invalid format: expected "json" or a JSON schema'),
    "Ollama, 500": (500, {"error": "invalid JSON schema in format"}),
    "Ollama, old": _openai("json: cannot unmarshal object into Go struct field ChatRequest.format of type string"),
    "LM Studio": (400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}),
    "Databricks": (403, {"error_code": "BAD_REQUEST", "message": "structured_outputs not supported in your workspace"}),
    "OpenRouter": _openai("No endpoints found that can handle the requested parameters.", status=404),
    "OpenRouter, support": _openai("No endpoints found that support the requested parameters.", status=404),
    "litellm": _openai('AzureException - {\n "error": {"message": "Bad.", "param": "response_format.json_schema"}}'),
    "past 300 characters": _openai("x" * 1000 + " response_format is unknown"),
    "plain text": (405, "response_format is not implemented"),
    "in a 200": (200, {"error": {"message": "response_format is not supported", "code": 400}}),
}

STREAM_OPTIONS: dict[str, Refusal] = {
    "Mistral": (422, {"object": "error", "message": {"detail": [{**_EXTRA, "loc": ["body", "stream_options"]}]}}),
    "Mistral, as text": (
        422,
        {"message": json.dumps({"detail": [{**_EXTRA, "loc": ["body", "stream_options", "include_usage"]}]})},
    ),
    "FastAPI": (422, {"detail": [{**_EXTRA, "loc": ["body", "stream_options", "include_usage"]}]}),
    "Azure": _openai("Unknown parameter: 'stream_options'.", param="stream_options", code="unknown_parameter"),
    "Azure, param alone": _openai("Unknown parameter.", param="stream_options.include_usage"),
    "Azure AI": (
        400,
        {"detail": "Extra parameters ['stream_options'] are not allowed when extra-parameters is not set"},
    ),
    "OpenAI, old": _openai("Unrecognized request argument supplied: stream_options"),
    "Bedrock": _openai("Malformed input request: #: extraneous key [stream_options] is not permitted"),
    "Google": _google('Invalid JSON payload received. Unknown name "stream_options": Cannot find field.'),
    "serde": (422, "Failed to deserialize the JSON body: unknown field `stream_options`, expected one of `messages`"),
    "500": (500, {"error": "TypeError: create() got an unexpected keyword argument 'stream_options'"}),
    "in a 200": (200, {"error": {"message": "stream_options is not supported", "code": 400}}),
}

UNRELATED: dict[str, Refusal] = {
    "temperature": _openai("Invalid 'temperature': above maximum value.", param="temperature"),
    "temperature, loc": (422, {"detail": [{"loc": ["body", "temperature"], "msg": "Too much", "input": 3}]}),
    "image": _openai("Invalid image.", code="invalid_image"),
    "echo": (422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Required", "input": _ECHO}]}),
    "echo in a repr": (
        400,
        {"message": f"[{{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Required', 'input': {_ECHO}}}]"},
    ),
    "list of parameters": _openai(
        "unknown field `foo`, expected one of `messages`, `model`, `response_format`, `stream_options`"
    ),
    "allowed parameters": _openai("Unknown parameter foo. Allowed: model, messages, response_format, stream_options"),
    "body's own schema": _openai("Request body does not match schema: messages is required"),
    "schema of a tool": _openai(
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required", param="tools[0].function"
    ),
    "tool, in the words": _openai("tools.0.custom.input_schema: JSON schema is invalid."),
    "message": _openai("messages.0.content.0.type: Input should be 'text' or 'image'"),
    "message's field": _openai("The provided schema is wrong", param="messages[0].content"),
    "grammar of a text": _openai("Invalid prompt: 'Please mend the grammar of this text'"),
    "stop": _openai("stop: at most 4 sequences"),
    "audio": _openai("Invalid output format for audio: mp9"),
    "model": _openai("The model `m` does not exist", status=404, code="model_not_found"),
    "key": _openai("Incorrect API key provided", status=401, code="invalid_api_key"),
    "too long": (400, {"error": {"message": "The context length is 10 tokens; messages and response_format have 20."}}),
    "filter": _openai("Flagged; the response_format does not matter", code="content_filter"),
}
