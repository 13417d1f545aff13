"""What the server answers, as OpenAPI 3.1 describes it, for programs that make clients of that."""

from __future__ import annotations

from typing import Any

from fea.prompts.answer import FORMS
from fea.serving.asking import FACES, MOST_SAMPLES

_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
_PNG = {"description": "the picture", "content": {"image/png": {}}}
_SHARES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}


def described(model: str, most_tokens: int) -> dict[str, Any]:
    """The description.

    Args:
        model: its name.
        most_tokens: that an answer may have.
    """
    asked, result = _asked(most_tokens), _object({"results": {"type": "array", "items": _ref("Result")}}, ["results"])
    chat = {"model": {**_TEXT, "const": model}, "messages": _messages(), **_sampling(most_tokens)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fea serve",
            "version": "1",
            "description": "Action Units, emotion and reasoning of faces. Images are sent along, never fetched or kept.",
        },
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Result": _result(), "Error": _object({"error": _TEXT}, ["error"])},
        },
        "paths": {
            "/analyze": {"post": _operation("Asks about a face.", asked, result)},
            "/drawn": {"get": {"summary": "Draws a face: ?AU12=0.3&size=336.", "responses": {"200": _PNG}}},
            "/v1/models": {"get": {"summary": "Names the model.", "responses": {"200": _answer({"type": "object"})}}},
            "/v1/chat/completions": {
                "post": _operation(
                    "One question about one image, in the shapes of OpenAI's chat completions.",
                    _object(chat, ["model", "messages"]),
                    {"type": "object"},
                )
            },
        },
    }  # fmt: skip


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": "the answer; with stream, server-sent events",
        "content": {"application/json": {"schema": schema}, "text/event-stream": {"schema": _TEXT}},
    }


def _operation(summary: str, asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    refused = {
        code: {"description": why, "content": {"application/json": {"schema": _ref("Error")}}}
        for code, why in (
            ("400", "something is wrong with the request, in a sentence"),
            ("403", "the token is missing"),
            ("404", "there is no such model"),
            ("411", "the request does not say how long it is"),
            ("413", "the request is too large"),
            ("429", "too many are asking; try again"),
        )
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {"200": _answer(answer), **refused},
    }


def _asked(most_tokens: int) -> dict[str, Any]:
    fields = {
        "image": {**_TEXT, "description": "base64, with or without data:image/...;base64, before it"},
        "faces": {"enum": list(FACES), "description": "that are shown; by default as the model was trained"},
        "question": {**_TEXT, "maxLength": 2000, "description": "asked instead of the default question"},
        "emotions": _emotions(),
        "answer": {"enum": list(FORMS), "description": "its form; only is quick and names no units; by default the run's"},
        "samples": {
            "type": "integer", "minimum": 0, "maximum": MOST_SAMPLES, "default": 0,
            "description": "answers at temperature 1, of which shares are counted; 0 for the likeliest answer",
        },
        "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "of the samples"},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": most_tokens, "default": most_tokens},
        "stream": {
            **_FLAG, "description": 'events {"shown": address}, {"text": more of the answer} and at last {"result": ...}',
        },
        "likelihood": {**_FLAG, "description": "tell how likely each allowed emotion is as the answer"},
        "shown": {**_FLAG, "description": "send back what the model was shown, as a data: address"},
    }  # fmt: skip
    return _object(fields, ["image"])


def _emotions() -> dict[str, Any]:
    told = "allowed emotions: basic7, basic8, compound11 or a list; by default those of training"
    return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}], "description": told}


def _messages() -> dict[str, Any]:
    image = _object(
        {"type": {"const": "image_url"}, "image_url": _object({"url": _TEXT, "detail": _TEXT}, ["url"])}, []
    )
    part = {"anyOf": [_object({"type": {"const": "text"}, "text": _TEXT}, ["type", "text"]), image]}
    content = {"anyOf": [_TEXT, {"type": "array", "items": part}]}
    told = "one message of the user with one image_url (data: only) and any text; system messages are not read"
    role = {"enum": ["system", "developer", "user"]}
    item = _object({"role": role, "content": content, "name": _TEXT}, ["role", "content"])
    return {"type": "array", "items": item, "description": told}


def _sampling(most_tokens: int) -> dict[str, Any]:
    whole = {"type": "integer", "minimum": 1}
    return {
        "max_tokens": {**whole, "maximum": most_tokens},
        "max_completion_tokens": {**whole, "maximum": most_tokens},
        "temperature": {**_NUMBER, "minimum": 0, "maximum": 2, "default": 0},
        "n": {**whole, "maximum": 16},
        "seed": {"type": "integer"},
        "stream": _FLAG,
        "stream_options": _object({"include_usage": _FLAG}, []),
        "emotions": _emotions(),
        "user": _TEXT,
    }


def _result() -> dict[str, Any]:
    mention = {"AU": _TEXT, "start": _NUMBER, "end": _NUMBER, "claimed": _FLAG, "grade": _TEXT}
    fields = {
        "AUs": {
            "type": ["array", "null"],
            "items": _TEXT,
            "description": "claimed Action Units; null where nobody asks for any",
        },
        "emotion": {**_TEXT, "description": "empty if the answer names none of the allowed ones"},
        "reasoning": _TEXT,
        "valid": {**_FLAG, "description": "whether the answer is well-formed"},
        "face_id": {**_NUMBER, "description": "0 for the largest"},
        "box": {"type": ["array", "null"], "items": _NUMBER, "description": "left, top, width and height of the face"},
        "score": {"type": ["number", "null"], "description": "how sure the detector is"},
        "text": {**_TEXT, "description": "the answer as it was written"},
        "votes": {
            **_SHARES,
            "type": ["object", "null"],
            "description": "by Action Unit, the share of samples that claim it",
        },
        "emotion_votes": {**_SHARES, "description": "by emotion, the share of samples that name it"},
        "likelihood": {
            **_SHARES,
            "type": ["object", "null"],
            "description": "by allowed emotion, its share among them; null if the answer broke off before it came to one",
        },
        "mentions": {
            "type": "array",
            "items": _object(mention, list(mention)),
            "description": "places in the reasoning",
        },
        "strengths": {**_SHARES, "description": "by Action Unit, for /drawn"},
        "truncated": {**_FLAG, "description": "whether the length limit came before the end"},
        "shown": {**_TEXT, "description": "data: address of what the model was shown"},
    }
    return {"type": "object", "properties": fields}
