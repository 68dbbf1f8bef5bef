"""What every answer is guarded by: this machine only, nothing from elsewhere, reading only but for
the forms of pages, which must come from these pages."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ["127.0.0.1", "localhost", "::1"]
"""Names under which this server answers. A page of another site that had its own name point at
127.0.0.1 (DNS rebinding) still sends that name."""

EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""Digest of the empty text: Plotly makes an empty <style> and fills it rule by rule."""

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src-elem 'self' {EMPTY_STYLE}",
            "style-src-attr 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Style attributes are allowed because Plotly places labels with them; they load nothing."""


class Guard:
    """Answers GET and HEAD, and forms to the paths named, and adds the security headers to all."""

    def __init__(self, app: ASGIApp, forms: Collection[str] = ()) -> None:
        self.app, self.forms = app, frozenset(forms)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send_guarded)
            return
        refusal = PlainTextResponse("these pages can only be read", 405, {"Allow": "GET, HEAD"})
        if scope["method"] == "POST" and scope["path"] in self.forms:
            if is_of_these_pages(Headers(scope=scope)):
                await self.app(scope, receive, send_guarded)
                return
            refusal = PlainTextResponse("this form must be sent from its own page", 403)
        await refusal(scope, receive, send_guarded)


def is_of_these_pages(headers: Headers) -> bool:
    """Whether a form was sent by a page of this server, as far as the browser says it.

    A page that names no referrer, as ours do, sends "null" as its origin. So forms carry a secret
    of this server besides, which no page from elsewhere can read.
    """
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    own = f"http://{headers.get('Host', '')}"
    return site in (None, "same-origin") and origin in (None, "null", own)
