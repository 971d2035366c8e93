"""The console: one page at `/`, its files under `/console/`, and who looks at it.

The page is open; what it shows it asks of /v1, with the token of the person before it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from sidecar.api.auth import Authorized
from sidecar.api.problems import problems
from sidecar.api.schemas import CallerBody

FOLDER = Path(__file__).parent.parent / "console"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing but our own files, no markup out of strings, and no frame around it.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    # Always asked for anew, and mostly answered with 304: page and API are of one release.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LINKS = {
    "name": "Pilotlight",
    "console": "/",
    "openapi": "/openapi.json",
    "ready": "/readyz?verbose",
    "metrics": "/metrics",
    "models": "/v1/models",
    "devices": "/v1/devices",
    "releases": "/v1/releases",
    "events": "/v1/events",
}
"""What a program is told at `/`: where to go on."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> "_File":
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        return cls(content, _TYPES[path.suffix], f'"{digest}"')

    def answer(self, if_none_match: str | None) -> Response:
        headers = {**_HEADERS, "ETag": self.etag}
        if if_none_match is not None and self.etag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def console_routes() -> APIRouter:
    """Reads the files once: what is served never changes while the process lives."""
    files = {path.name: _File.read(path) for path in FOLDER.iterdir() if path.suffix in _TYPES}
    router = APIRouter(include_in_schema=False)
    Known = Annotated[str | None, Header(alias="if-none-match")]  # noqa: N806  (a type)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request, if_none_match: Known = None) -> Response:
        """The page for browsers, which ask for HTML; links for everything else."""
        if "text/html" in request.headers.get("accept", ""):
            answer = files["index.html"].answer(if_none_match)
        else:
            answer = JSONResponse(_LINKS)
        answer.headers["Vary"] = "Accept"
        return answer

    @router.api_route("/console/{name}", methods=["GET", "HEAD"])
    async def file(name: str, if_none_match: Known = None) -> Response:
        if name not in files:
            raise HTTPException(404, f"the console has no file {name!r}; it begins at /")
        return files[name].answer(if_none_match)

    return router


def caller_routes() -> APIRouter:
    router = APIRouter(prefix="/v1/caller", tags=["control"], responses=problems())

    @router.get("", summary="Look at who asks")
    async def get_caller(caller: Authorized) -> CallerBody:
        """The token's name and role; what a page shows of itself, and may offer."""
        return CallerBody(name=caller.name, role=caller.role)

    return router
