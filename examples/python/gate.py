"""Asks Latchkey about each request before an application sees it."""

import json
import logging

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from latchkey.v1.authentication_pb2 import AuthenticateRequest, Header
from latchkey.v1.authentication_pb2_grpc import AuthenticationServiceStub

STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}


class Refusal(Exception):
    """A decision: the request must be answered with this status."""

    def __init__(self, status, reason):
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class Gate:
    """ASGI middleware that serves what its caller may do, with all of these permissions, and nothing else.

    Who the caller is stands in ``scope["caller"]``: principal, organization, permissions.
    """

    def __init__(self, app, channel, permissions=(), caller_key=None):
        """``caller_key`` is this service's own internal key: None where Latchkey answers whoever asks."""
        self.app = app
        self.latchkey = AuthenticationServiceStub(channel)
        self.permissions = permissions
        self.metadata = [("x-internal-key", caller_key)] if caller_key else []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        try:
            caller = await self.authenticate(scope["headers"])
        except Refusal as refusal:
            return await refuse(refusal, scope, send)
        except grpc.RpcError as error:
            logging.error("Latchkey did not decide: %s: %s", error.code().name, error.details())
            return await refuse(Refusal(503, "UNAVAILABLE"), scope, send)
        secret = {name.encode() for name in caller.strip_headers}
        headers = [(name, value) for name, value in scope["headers"] if name not in secret]
        await self.app({**scope, "headers": headers, "caller": caller}, receive, send)

    async def authenticate(self, headers):
        """Asks about the headers of a request, as ASGI has them. A fault of the call is no decision."""
        question = AuthenticateRequest(
            # A header may hold any bytes (RFC 9110 section 5.5), and each is a character of Latin-1.
            headers=[Header(name=name.decode(), value=value.decode("latin-1")) for name, value in headers],
            required_permissions=self.permissions,
        )
        try:
            return await self.latchkey.Authenticate(question, metadata=self.metadata, timeout=5)
        except grpc.RpcError as error:
            raise refusal_of(error) or error


def refusal_of(error):
    """A decision has one of four codes and a reason of Latchkey's: a proxy may answer with the same codes."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "latchkey" and error.code() in STATUSES:
            return Refusal(STATUSES[error.code()], info.reason)
    return None


async def refuse(refusal, scope, send):
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
    headers = [(b"content-type", b"application/json")]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 section 15.5.2
    body = json.dumps({"status": refusal.status, "reason": refusal.reason}).encode()
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
