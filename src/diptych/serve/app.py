"""The endpoints, put together: what comes in is checked, goes to the desk, and every mistake is said in OpenAI's shape."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from diptych import __version__
from diptych.errors import DiptychError, UsageError
from diptych.messages import _
from diptych.serve import bodies, openai, panel
from diptych.serve.chat import Conversation
from diptych.serve.desk import Caller, Desk
from diptych.serve.files import POLICY, Files
from diptych.serve.gate import Gate, Rules
from diptych.serve.metrics import TYPE, Metrics
from diptych.serve.sse import EventStream, gone, to_json

log = logging.getLogger("diptych.serve")
texts = logging.getLogger("diptych.serve.texts")

STATUS = {
    "E656": 404, "E662": 429, "E663": 429, "E664": 504, "E665": 503, "E666": 401, "E667": 403, "E668": 403, "E669": 413, "E670": 408,
    "E675": 500, "E676": 404, "E677": 405,
}  # fmt: skip
"""What is no 400."""
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
AGAIN_SECONDS = "1"
SHAPE = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": "an error in OpenAI's shape", "content": SHAPE} for status in (400, 401, 403, 404, 408, 413, 429, 500, 503, 504)
}


@dataclass(frozen=True)
class Options:
    """How the application behaves.

    Attributes:
        logs_texts: write down what is asked, which may be private.
    """

    rules: Rules = field(default_factory=Rules)
    logs_texts: bool = False


class Json(JSONResponse):
    """JSON as people read it, and never a number that is none."""

    def render(self, content: Any) -> bytes:
        return to_json(content).encode("utf-8", "replace")


def create_app(desk: Desk, options: Options | None = None) -> Gate:
    """The ASGI application; the engine of the desk is started and stopped elsewhere."""
    options = options or Options()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(desk.engine.stop)
        desk.close()

    app = FastAPI(title="Diptych", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, default_response_class=Json)
    bodies_of: dict[str, type[bodies.Body]] = {}
    files = Files()

    def post(path: str, kind: type[bodies.Body], handle: Callable[[Caller, Any], Coroutine[Any, Any, Any]], about: str) -> None:
        bodies_of[path] = kind

        async def endpoint(request: Request, body: Any) -> Any:
            if options.logs_texts:
                texts.info(to_json({"path": path, **body.model_dump(exclude_none=True)}))
            return await unless_gone(request, handle(request.state.caller, body))

        endpoint.__annotations__["body"] = kind
        app.post(path, summary=about, responses=ERRORS, response_model=None, name=path.strip("/").replace("/", "-"))(endpoint)

    async def completions(caller: Caller, body: bodies.CompletionBody) -> Any:
        return await _written(await asyncio.to_thread(openai.Completion, desk, caller, body))

    async def chat(caller: Caller, body: bodies.ChatBody) -> Any:
        return await _written(await asyncio.to_thread(Conversation, desk, caller, body))

    async def tokenize(_caller: Caller, body: bodies.TextBody) -> Any:
        return await asyncio.to_thread(panel.tokenize, desk, body)

    async def detokenize(_caller: Caller, body: bodies.DetokenizeBody) -> Any:
        return await asyncio.to_thread(panel.detokenize, desk, body)

    post("/v1/completions", bodies.CompletionBody, completions, "Go on from a prompt")
    post("/v1/chat/completions", bodies.ChatBody, chat, "Answer in a conversation")
    post("/v1/embeddings", bodies.EmbeddingBody, lambda caller, body: openai.embeddings(desk, caller, body), "Vectors of texts")
    post("/fill", bodies.FillBody, lambda caller, body: panel.fill(desk, caller, body), "What may stand in the blanks")
    post("/classify", bodies.TextsBody, lambda caller, body: panel.classify(desk, caller, body), "The label of each text")
    post("/tag", bodies.TextsBody, lambda caller, body: panel.tag(desk, caller, body), "The stretches that are marked in each text")
    post("/answer", bodies.AnswerBody, lambda caller, body: panel.answer(desk, caller, body), "The stretch that answers a question")
    post("/rerank", bodies.RerankBody, lambda caller, body: panel.rerank(desk, caller, body), "Documents by how near they are to a query")
    post("/translate", bodies.TextBody, lambda caller, body: panel.rewrite(desk, caller, body, "translate"), "A text in the other language")
    post("/summarize", bodies.TextBody, lambda caller, body: panel.rewrite(desk, caller, body, "summarize"), "A text in fewer words")
    post("/explain", bodies.ExplainBody, lambda caller, body: panel.explain(desk, caller, body), "Why the model says so")
    post("/tokenize", bodies.TextBody, tokenize, "The tokens of a text")
    post("/detokenize", bodies.DetokenizeBody, detokenize, "The text of some tokens")

    @app.get("/v1/models", summary="The models", responses=ERRORS)
    async def models() -> Any:
        return Json(openai.models(desk))

    @app.get("/v1/models/{name:path}", summary="One model", responses=ERRORS)
    async def model(name: str) -> Any:
        return Json(desk.shelf.get(name).to_json())

    @app.get("/health", summary="Whether the server runs")
    async def health() -> Any:
        return Json({"status": "ok"})

    @app.get("/ready", summary="Whether it takes requests", responses={503: ERRORS[503]})
    async def ready() -> Any:
        if not desk.engine.is_ready:
            raise UsageError("E665")
        return Json({"status": "ready"})

    @app.get("/metrics", summary="Counts, for Prometheus", responses=ERRORS)
    async def metrics_() -> Any:
        return Response(metrics.show(), media_type=TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Any:
        return Response(_docs(app.openapi()), media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})

    for path in files:
        app.add_route(path, _file_handler(files, path), methods=["GET", "HEAD"], include_in_schema=False)

    @app.exception_handler(DiptychError)
    async def ours(_request: Request, error: DiptychError) -> Response:
        return said(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = [{**each, "loc": each["loc"][1:]} for each in error.errors()]
        return said(bodies.problem_of(bodies_of.get(request.scope["path"], bodies.Body), problems))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, DiptychError):
            return said(error.__cause__)
        if error.status_code == 404:
            return said(UsageError("E676", path=request.scope["path"][:200]))
        if error.status_code == 405:
            return said(UsageError("E677", method=request.method, path=request.scope["path"][:200]), dict(error.headers or {}))
        return said(UsageError("E658", problem=str(error.__cause__ or error.detail)[:200]))

    @app.exception_handler(Exception)
    async def unforeseen(_request: Request, error: Exception) -> Response:
        return said(UsageError("E675", kind=type(error).__name__))

    _describe(app)
    metrics = Metrics(desk.engine, {*bodies_of, "/v1/models", "/health", "/ready", "/metrics", *files})
    return Gate(app, options.rules, lambda path: path in files, said, metrics.count)


def said(error: DiptychError, headers: dict[str, str] | None = None) -> Json:
    """An error as a response."""
    status = STATUS.get(error.code, 400)
    more = dict(headers or {})
    if status in (429, 503):
        more["Retry-After"] = AGAIN_SECONDS
    if status == 504:
        more["X-Should-Retry"] = "false"
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    return Json(shape_of(error), status, headers=more)


def shape_of(error: DiptychError) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    status = STATUS.get(error.code, 400)
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = error.values.get("key")
    return {"error": {"message": f"{error.what} {error.fix}", "type": kind, "param": param, "code": error.code}}


async def unless_gone(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` returns, or nothing where the client hangs up first: then it is cancelled, and with it what it has the engine do."""
    doing, leaving = asyncio.create_task(work), asyncio.create_task(gone(request.receive))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return Response(status_code=499)
        found = doing.result()
        return found if isinstance(found, Response) else Json(found)
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _written(asked: openai.Completion | Conversation) -> Any:
    if not asked.wants_stream:
        return await asked.whole()
    events = asked.stream()
    await anext(events)  # it is in the queue, or was refused, before a status is sent
    return EventStream(events, shape_of)


def _file_handler(files: Files, path: str) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def handler(_request: Request) -> Response:
        return files.response(path)

    return handler


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: errors have our shape, and FastAPI's own has no place here."""
    usual = app.openapi

    def openapi() -> dict[str, Any]:
        found = usual()
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        kinds = {"message": ["string"], "type": ["string"], "param": ["string", "null"], "code": ["string"]}
        told = {name: {"type": kind} for name, kind in kinds.items()}
        inner = {"type": "object", "properties": told, "required": ["message", "type", "param", "code"]}
        schemas["Error"] = {"type": "object", "properties": {"error": inner}, "required": ["error"]}
        for path in found["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return found

    app.openapi = openapi  # type: ignore[method-assign]


def _docs(found: dict[str, Any]) -> str:
    """The endpoints on one page, without a script and without the network."""
    rows = []
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            fields = found["components"]["schemas"].get(name, {}).get("properties", {})
            shape = json.dumps(fields, indent=1, ensure_ascii=False)
            details = f"<details><summary>{escape(name)}</summary><pre>{escape(shape)}</pre></details>" if name else ""
            rows.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}</p>{details}")
    title = _("Diptych: endpoints")
    link = '<p><a href="/openapi.json">openapi.json</a></p>'
    return f'<!doctype html><html><meta charset="utf-8"><title>{escape(title)}</title><h1>{escape(title)}</h1>{link}{"".join(rows)}</html>'
