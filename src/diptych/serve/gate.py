"""What stands before every request: who may come in, how much they may bring, and what is written down of it.

A server on one's own machine is not safe by being there. Any page in the same browser can send it requests: a name that is made to point
to 127.0.0.1 gets past the browser's rules (DNS rebinding), which the Host header shows; and a form of another site can post without
asking, which the Origin header shows. Both are looked at. Beyond the own machine there is no way in without a key.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.errors import DiptychError, UsageError
from diptych.serve.desk import Caller

log = logging.getLogger("diptych.serve.access")

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = ("/health", "/ready")
"""What a machine that watches over the server may ask without a key."""
METHODS, HEADERS = "GET, POST, OPTIONS", "authorization, content-type"


@dataclass(frozen=True)
class Rules:
    """Who may come in.

    Attributes:
        keys: any of them opens; none means that no key is asked for.
        hosts: names under which the server may be addressed; none for any.
        origins: sites whose pages may ask, beside its own.
        body_bytes: the largest body. body_seconds: how long it may take to arrive.
    """

    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = LOOPBACK
    origins: tuple[str, ...] = ()
    body_bytes: int = 4 << 20
    body_seconds: float = 60.0


class Keys:
    """Compares keys in a time that does not tell how much of one was right."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def number(self, given: str) -> int | None:
        """Which of the keys it is, or None."""
        digest, found = hashlib.sha256(given.encode("utf-8", "replace")).digest(), None
        for number, known in enumerate(self._digests):
            if hmac.compare_digest(digest, known):
                found = number
        return found


class Gate:
    """The outermost layer: rules, the size of the body, headers, and a line in the log for each request.

    Args:
        is_public: paths that need no key besides `OPEN`: the page's own files.
        said: an error as a response.
        counted: is told path, status and seconds of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        is_public: Callable[[str], bool],
        said: Callable[[DiptychError], JSONResponse],
        counted: Callable[[str, int, float], None],
    ) -> None:
        self._app, self._rules, self._is_public, self._said, self._counted = app, rules, is_public, said, counted
        self._keys = Keys(rules.keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        start, headers = monotonic(), Headers(scope=scope)
        seen: dict[str, Any] = {"status": 499}
        name = uuid.uuid4().hex[:12]
        origin = headers.get("origin")

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                added = MutableHeaders(scope=message)
                added["X-Request-Id"] = name
                added["X-Content-Type-Options"] = "nosniff"
                if origin is not None and origin in self._rules.origins:
                    added["Access-Control-Allow-Origin"] = origin
                    added["Vary"] = "Origin"
            await send(message)

        caller = Caller("?")
        try:
            caller = self._caller(scope, headers)
            scope.setdefault("state", {})["caller"] = caller
            refused = self._preflight(scope, headers) or self._refusal(scope, headers, caller)
            if refused is not None:
                await refused(scope, receive, answered)
            else:
                await self._app(scope, self._limited(receive), answered)
        finally:
            seconds = monotonic() - start
            self._counted(scope["path"], seen["status"], seconds)
            line = {"time": round(time(), 3), "id": name, "client": caller.name, "method": scope["method"], "path": scope["path"]}
            log.info(json.dumps({**line, "status": seen["status"], "seconds": round(seconds, 4)}, ensure_ascii=False))

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        """By the key that was given, or by the address; a name that can stand in a log."""
        number = self._keys.number(_bearer(headers)) if self._keys else None
        if number is not None:
            return Caller(f"key-{number + 1}")
        client = scope.get("client")
        return Caller(client[0] if client else "local")

    def _refusal(self, scope: Scope, headers: Headers, caller: Caller) -> Response | None:
        try:
            if self._rules.hosts and _host(headers.get("host", "")) not in self._rules.hosts:
                raise UsageError("E667", host=headers.get("host", "")[:200])
            origin = headers.get("origin")
            if origin is not None and origin not in self._rules.origins and not self._is_own(origin, headers):
                raise UsageError("E668", origin=origin[:200])
            is_open = scope["path"] in OPEN or self._is_public(scope["path"])
            if self._keys and not is_open and not caller.name.startswith("key-"):
                raise UsageError("E666")
            length = headers.get("content-length", "0")
            if length.isascii() and length.isdigit() and int(length[:20]) > self._rules.body_bytes:
                raise UsageError("E669", limit=f"{self._rules.body_bytes:,}")
        except UsageError as error:
            return self._said(error)
        return None

    def _is_own(self, origin: str, headers: Headers) -> bool:
        """Whether a request comes from the server's own page."""
        return origin.split("://", 1)[-1] == headers.get("host", "")

    def _preflight(self, scope: Scope, headers: Headers) -> Response | None:
        """What a browser asks before a page of an allowed site asks."""
        asks = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if not asks or headers.get("origin") not in self._rules.origins:
            return None
        allowed: Mapping[str, str] = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": HEADERS,
            "Access-Control-Max-Age": "600",
        }
        return Response(status_code=204, headers=dict(allowed))

    def _limited(self, receive: Receive) -> Receive:
        """A body that names no length must not be longer either, nor come a byte at a time."""
        got, until, is_whole = 0, monotonic() + self._rules.body_seconds, False

        async def limited() -> Message:
            nonlocal got, is_whole
            if is_whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - monotonic()))
            except TimeoutError:
                raise UsageError("E670", seconds=f"{self._rules.body_seconds:g}") from None
            got += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if got > self._rules.body_bytes:
                raise UsageError("E669", limit=f"{self._rules.body_bytes:,}")
            is_whole = not message.get("more_body", False)
            return message

        return limited


def _bearer(headers: Headers) -> str:
    scheme, _space, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _host(value: str) -> str:
    """The name in a Host header, without its port."""
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.rpartition(":")[0] if value.count(":") == 1 else value
