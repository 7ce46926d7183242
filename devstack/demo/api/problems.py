"""Errors as problem+json (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """An answer that is no success; `detail` is for whoever called."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def told(_: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """A refusal of ours."""
    return _answer(problem.status, {"detail": problem.detail}, problem.headers)


def invalid(_: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Litestar's own finding about a parameter or a body, each field with its reason."""
    found = error.extra if isinstance(error.extra, list) else []
    fields = [{"field": one.get("key", "body"), "detail": one["message"]} for one in found if isinstance(one, dict)]
    return _answer(422, {"detail": "what was sent breaks a rule", "errors": fields})


def refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Whatever else Litestar refuses: no such path, a method that it does not have, a body that is no JSON."""
    return _answer(error.status_code, {"detail": error.detail}, error.headers)


def _answer(status: int, more: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response[bytes]:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, **more}
    return Response(msgspec.json.encode(body), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))
