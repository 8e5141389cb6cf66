"""The page's files, read once when the server starts: what a request names is looked up in a table and never becomes a path."""

from collections.abc import Iterator
from importlib.resources import files

from starlette.responses import Response

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Kinds of files that are handed out; nothing else in the folder is."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class Files:
    """The files of `serve/page/`, by the path that they have on the server; `/` is its index.html."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        folder = files("diptych.serve").joinpath("page")
        for each in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda each: each.name):
            kind = TYPES.get("." + each.name.rpartition(".")[2])
            if kind is not None and each.is_file():
                path = "/" if each.name == "index.html" else f"/{each.name}"
                self._files[path] = each.read_bytes(), kind

    def __contains__(self, path: object) -> bool:
        return path in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def response(self, path: str) -> Response:
        content, kind = self._files[path]
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        return Response(content, media_type=kind, headers=headers)
