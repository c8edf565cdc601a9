"""A request with the headers that are given goes through the Gate, and what is answered is printed."""

import argparse
import asyncio
import os
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToJson

from gate import Gate


async def show_caller(scope, receive, send):
    """What this service is for: to serve requests whose caller is known."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = MessageToJson(scope["caller"], indent=None).encode()
    await send({"type": "http.response.body", "body": body})


def header(text):
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError
    return name.lower().encode(), os.fsencode(value.strip())


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    option = parser.add_argument
    option("--address", default="127.0.0.1:8080", help="where Latchkey is")
    option("--tls-ca", help="PEM file of the authority of Latchkey's certificate; without it: plaintext")
    option("--caller-key", help="this service's own internal key; or LATCHKEY_CALLER_KEY in the environment")
    option("--header", type=header, action="append", default=[], help="'Name: value', repeatable")
    option("--require", action="append", default=[], help="a permission, repeatable")
    flags = parser.parse_args()

    # One channel for the whole program: it connects when it is needed, and again when a connection breaks.
    if flags.tls_ca:
        credentials = grpc.ssl_channel_credentials(Path(flags.tls_ca).read_bytes())
        channel = grpc.aio.secure_channel(flags.address, credentials)
    else:
        channel = grpc.aio.insecure_channel(flags.address)

    async def send(event):
        if event["type"] == "http.response.body":
            print(event["body"].decode())

    async with channel:
        key = flags.caller_key or os.environ.get("LATCHKEY_CALLER_KEY")
        app = Gate(show_caller, channel, flags.require, key)
        await app({"type": "http", "headers": flags.header}, None, send)


asyncio.run(main())
