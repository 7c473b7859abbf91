"""What the clients talk to: HTTP/1.1, h2c and WebSocket on one port, gRPC on another.

usage: backend.py HTTP_PORT GRPC_PORT GIT_ROOT
"""

import asyncio
import collections
import gzip
import hashlib
import json
import pathlib
import random
import sys

import grpc
from hypercorn.asyncio import serve
from hypercorn.config import Config

HERE = pathlib.Path(__file__).parent
GIT_ROOT = pathlib.Path(sys.argv[3])

# What a tunnel may add or change on the way, and what frames a body on one connection only.
UNSEEN = {
    "host", "connection", "content-length", "transfer-encoding", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-proto", "forwarded", "x-request-id", "traceparent", "adit-hop", "keep-alive",
}

BYTES = random.Random(1).randbytes(32 * 1024 * 1024)

notes = collections.defaultdict(list)
gates = collections.defaultdict(lambda: asyncio.Semaphore(0))
reports = {}


class Exchange:
    """One request and its response."""

    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        self.path = scope["path"]
        self.query = scope["query_string"].decode()
        self.fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]

    def field(self, name):
        return dict(self.fields).get(name)

    async def chunks(self):
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    async def all(self):
        return b"".join([chunk async for chunk in self.chunks()])

    async def head(self, status=200, fields=()):
        fields = [(name.encode(), str(value).encode("latin-1")) for name, value in fields]
        await self.send({"type": "http.response.start", "status": status, "headers": fields})

    async def data(self, body, more=True):
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, body=b"", status=200, fields=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.head(status, [*fields, ("content-length", len(body))])
        await self.data(body, False)

    async def gone(self):
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def echo(it):
    """What came."""
    digest, length = hashlib.sha256(), 0
    async for chunk in it.chunks():
        digest.update(chunk)
        length += len(chunk)
    seen = sorted((field for field in it.fields if field[0] not in UNSEEN), key=lambda field: field[0])
    target = it.scope["raw_path"].decode() + ("?" + it.query if it.query else "")
    await it.answer({
        "method": it.scope["method"], "target": target, "fields": seen, "length": length, "sha256": digest.hexdigest(),
    })


async def some_bytes(it):
    """`/bytes/N`: N bytes, or a range of them."""
    body = BYTES[: int(it.path.rsplit("/", 1)[1])]
    tag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
    fields = [("etag", tag), ("accept-ranges", "bytes"), ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")]
    if it.field("if-none-match") == tag:
        await it.head(304, fields)
        return await it.data(b"", False)
    status, wanted = 200, it.field("range")
    if wanted and it.field("if-range") in (None, tag):
        first, last = wanted.removeprefix("bytes=").split("-")
        start = int(first) if first else len(body) - int(last)
        end = int(last) + 1 if first and last else len(body)
        if start >= len(body):
            return await it.answer(status=416, fields=[("content-range", f"bytes */{len(body)}")])
        fields.append(("content-range", f"bytes {start}-{end - 1}/{len(body)}"))
        status, body = 206, body[start:end]
    fields.append(("content-length", len(body)))
    await it.head(status, fields)
    if it.scope["method"] == "HEAD":
        return await it.data(b"", False)
    for start in range(0, len(body), 65536):
        await it.data(body[start : start + 65536])
    await it.data(b"", False)


async def gate(it):
    """`/gate/ID`: one event, and another one each time that somebody posts to `/gate/ID`."""
    gate = gates[it.path]
    if it.scope["method"] == "POST":
        await it.all()
        gate.release()
        return await it.answer()
    await it.head(fields=[("content-type", "text/event-stream"), ("cache-control", "no-store")])
    leaving = asyncio.create_task(it.gone())
    for number in range(20):
        await it.data(f"id: {number}\ndata: event {number}\n\n".encode())
        opened = asyncio.create_task(gate.acquire())
        await asyncio.wait([leaving, opened], return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            notes[it.path].append("gone")
            return
    leaving.cancel()
    await it.data(b"", False)


async def duplex(it):
    """Says every chunk again as it comes."""
    await it.head()
    async for chunk in it.chunks():
        await it.data(chunk)
    await it.data(b"", False)


async def hang(it):
    """Never answers."""
    notes[it.path].append("here")
    await it.gone()
    notes[it.path].append("gone")


async def refuse(it):
    """Answers without reading the body."""
    await it.answer(b"too much", status=413, fields=[("connection", "close")] if it.scope["http_version"] == "1.1" else [])


async def cookies(it):
    await it.answer(fields=[("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2, 3; Path=/"), ("set-cookie", "c=4; Path=/")])


async def packed(it):
    fields = [("vary", "accept-encoding")]
    body = b"the same again and again " * 10_000
    if "gzip" in (it.field("accept-encoding") or ""):
        fields.append(("content-encoding", "gzip"))
        body = gzip.compress(body, mtime=0)
    await it.answer(body, fields=fields)


async def status(it):
    code = int(it.path.rsplit("/", 1)[1])
    if code == 204:
        await it.head(204)
        return await it.data(b"", False)
    fields = [("location", "/echo?redirected")] if code in (301, 302, 303, 307, 308) else []
    if code == 401:
        fields = [("www-authenticate", 'Basic realm="a"')]
    await it.answer(f"status {code}".encode(), status=code, fields=fields)


async def seen(it):
    await it.answer(notes["/" + it.path.split("/", 2)[2]])


async def page(it):
    await it.answer((HERE / "page.html").read_bytes(), fields=[("content-type", "text/html")])


async def report(it):
    if it.scope["method"] == "POST":
        reports[it.path] = await it.all()
        return await it.answer()
    await it.answer(reports.get(it.path, b""))


async def git(it):
    """Smart HTTP by `git http-backend`, as CGI (RFC 3875), without holding a body back."""
    env = {
        "GIT_PROJECT_ROOT": str(GIT_ROOT), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "tester", "PATH_INFO": it.path[4:],
        "QUERY_STRING": it.query, "REQUEST_METHOD": it.scope["method"], "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": it.field("content-type") or "", "SERVER_PROTOCOL": "HTTP/1.1", "PATH": "/usr/bin:/bin",
    }
    for name in ("content-length", "content-encoding", "git-protocol"):
        if it.field(name):
            env[("" if name == "content-length" else "HTTP_") + name.upper().replace("-", "_")] = it.field(name)
    process = await asyncio.create_subprocess_exec(
        "git", "http-backend", env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20
    )

    async def feed():
        try:
            async for chunk in it.chunks():
                process.stdin.write(chunk)
                await process.stdin.drain()
        except ConnectionError:
            pass
        process.stdin.close()

    feeding = asyncio.create_task(feed())
    code, fields = 200, []
    while line := (await process.stdout.readline()).strip():
        name, value = line.decode().split(":", 1)
        if name.lower() == "status":
            code = int(value.split()[0])
        else:
            fields.append((name.lower(), value.strip()))
    await it.head(code, fields)
    while chunk := await process.stdout.read(65536):
        await it.data(chunk)
    await it.data(b"", False)
    await feeding
    await process.wait()


async def websocket(scope, receive, send):
    """Says everything again; some words do something else."""
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/ws/refused":
        return await send({"type": "websocket.close"})
    wanted = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": wanted[-1] if wanted else None})
    notes[scope["path"]].append("here")
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text == "close":
            return await send({"type": "websocket.close", "code": 4321, "reason": "as you like"})
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
    notes[scope["path"]].append(f"gone {message['code']}")


ROUTES = {
    "echo": echo, "bytes": some_bytes, "gate": gate, "duplex": duplex, "hang": hang, "refuse": refuse,
    "cookies": cookies, "packed": packed, "status": status, "seen": seen, "page": page, "report": report, "git": git,
}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    it = Exchange(scope, receive, send)
    route = ROUTES.get(it.path.split("/")[1])
    try:
        if route in (some_bytes, cookies, packed, status, seen, page):
            # Hypercorn's HTTP/2 breaks its connection over a body that comes after the response.
            await it.all()
        await (route(it) if route else it.answer(status=404))
    except ConnectionError:
        notes[it.path].append("broken off")


async def grpc_server(port):
    async def unary(request, context):
        metadata = dict(context.invocation_metadata())
        if request.startswith(b"fail "):
            await context.abort(grpc.StatusCode[request[5:].decode()], "what & why: 'é' %")
        if request.startswith(b"hang "):
            try:
                await asyncio.sleep(60)
            finally:
                notes["/grpc/" + request[5:].decode()].append("gone")
        context.set_trailing_metadata((("x-trailing", metadata.get("x-mine", "")), ("x-trailing-bin", b"\0\xff")))
        return request + b" to you"

    async def server_stream(request, context):
        count, _, name = request.partition(b" ")
        try:
            for number in range(int(count)):
                yield str(number).encode()
        finally:
            notes["/grpc/" + name.decode()].append("gone")

    async def client_stream(requests, context):
        return b" ".join([request async for request in requests])

    async def both(requests, context):
        async for request in requests:
            yield request + b"!"

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("conform.Test", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Server": grpc.unary_stream_rpc_method_handler(server_stream),
        "Client": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


async def main():
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    config.loglevel = "WARNING"
    _server = await grpc_server(int(sys.argv[2]))
    await serve(app, config)


asyncio.run(main())
