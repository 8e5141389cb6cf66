"""Server-sent events: an answer that is sent while it is written, to whoever still listens.

Starlette's own streaming response would do, but for two things: it notices that a client is gone only when something is to be sent,
and it waits for ever for one that reads a byte a minute. What is written is kept for a slow reader, since it is small; the line is
closed when it has taken nothing for `SLOW_SECONDS`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from diptych.errors import DiptychError

SLOW_SECONDS = 60.0


class EventStream(Response):
    """Each thing of `events` as one event of JSON, None as a comment that keeps the line open, and `[DONE]` at the end.

    Args:
        said: an error as the JSON that tells a client of it.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[Any], said: Callable[[DiptychError], Any], slow_seconds: float = SLOW_SECONDS) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._said, self._slow_seconds = events, said, slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled() and (error := sending.exception()) is not None and not isinstance(error, TimeoutError | OSError):
            raise error

    async def _send(self, send: Send) -> None:
        async def say(text: str, *, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": more}
            await asyncio.wait_for(send(message), self._slow_seconds)

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:  # type: ignore[type-var]
            try:
                async for event in events:
                    await say(f"data: {to_json(event)}\n\n" if event is not None else ": \n\n")
            except DiptychError as error:
                await say(f"data: {to_json(self._said(error))}\n\n")
        await say("data: [DONE]\n\n", more=False)


async def gone(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
