"""Runs real clients against a backend, then through a tunnel to it, and compares what they saw.

usage: run.py ADIT [--only WORD] [--bless FILE] [--hold]

ADIT is a built `adit`. Each case runs against the backend itself and at four entries: in reverse and forward, to an
upstream over HTTP/1.1 and over HTTP/2. `--bless` writes the table into FILE. Needs the packages of requirements.txt,
and curl, git and chromium; only loopback is used.
"""

import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from socket import SO_LINGER, SOL_SOCKET

import aiohttp
import grpc
import httpx
import requests
import websockets.asyncio.client
import websockets.exceptions

HERE = pathlib.Path(__file__).parent
REPOSITORY_BYTES = 50 * 1024 * 1024
PATIENCE = 60

Entry = collections.namedtuple("Entry", "name http grpc")
cases = []


def case(client, what):
    """Adds a function that returns what its client saw at an entry."""

    def add(run):
        cases.append((client, what, run))
        return run

    return add


# --- what is compared ---------------------------------------------------------------------------------------------

# Made anew for each response, or about one connection only.
UNCOMPARED = {"date", "server", "connection", "transfer-encoding", "keep-alive"}


def fields(pairs, entry):
    """The fields of a response, without those that differ between any two connections."""
    kept = [(name.lower(), value.replace(entry.http, "HOST")) for name, value in pairs]
    return sorted(((name, value) for name, value in kept if name not in UNCOMPARED), key=lambda field: field[0])


def digest(data):
    return len(data), hashlib.sha256(data).hexdigest()[:16]


def note(entry, path, expected):
    """Waits until the backend has noted something."""
    for _ in range(PATIENCE * 20):
        seen = requests.get(f"http://{entry.http}/seen{path}", timeout=PATIENCE).json()
        if any(line.startswith(expected) for line in seen):
            return seen
        time.sleep(0.05)
    return f"never {expected}"


# --- curl ---------------------------------------------------------------------------------------------------------


def curl(entry, path, *options, stdin=b""):
    """What curl exits with, says of the response, and gets."""
    with tempfile.TemporaryDirectory() as folder:
        heads, body = pathlib.Path(folder, "heads"), pathlib.Path(folder, "body")
        command = ["curl", "-sS", "--max-time", str(PATIENCE), "-D", heads, "-o", body, *options]
        ended = subprocess.run([*command, f"http://{entry.http}{path}"], input=stdin, capture_output=True, check=False)
        seen = []
        for block in heads.read_bytes().decode("latin-1").split("\r\n\r\n") if heads.exists() else []:
            status, *lines = block.split("\r\n")
            if status:
                pairs = [line.partition(":")[::2] for line in lines]
                seen.append((status.split()[1], fields([(name, value.strip()) for name, value in pairs], entry)))
        got = body.read_bytes() if body.exists() and "-I" not in options else b""
        return ended.returncode, seen, got, ended.stdout.decode()


VERSIONS = {"HTTP/1.1": [], "h2c": ["--http2-prior-knowledge"]}
LARGE = random.Random(2).randbytes(20 * 1024 * 1024)

for version, options in VERSIONS.items():

    @case("curl", f"{version}: GET, HEAD, PUT, DELETE, PURGE, PROPFIND, OPTIONS *")
    def _(entry, options=options):
        methods = [curl(entry, "/echo", *options, "-X", method) for method in ("GET", "PUT", "DELETE", "PURGE")]
        methods.append(curl(entry, "/bytes/5000", *options, "-I"))
        methods.append(curl(entry, "/echo", *options, "-X", "PROPFIND", "-d", "<propfind/>"))
        methods.append(curl(entry, "/", *options, "-X", "OPTIONS", "--request-target", "*"))
        return methods

    @case("curl", f"{version}: target and fields byte for byte")
    def _(entry, options=options):
        path = "/echo/%7e/%2F//a;b='c'/%C3%A9?q=%20+&&r=[1]"
        sent = ["x-a: 1", "x-b: é", "x-a: 2", "accept:", "X-Empty;", "cookie: a=1; b=2"]
        return curl(entry, path, *options, "-g", "--path-as-is", *[word for line in sent for word in ("-H", line)])

    @case("curl", f"{version}: uploads of known and unknown length, forms")
    def _(entry, options=options):
        uploads = [["-T", "-"], ["--data-binary", "@-"], ["-F", "file=@-;filename=a", "-H", "content-type: multipart/form-data; boundary=b"]]
        seen = [curl(entry, "/echo", *options, *upload, stdin=LARGE) for upload in uploads[:2]]
        return seen + [curl(entry, "/echo", *options, "-d", "a=1&b=2")]

    @case("curl", f"{version}: ranges, If-Range, 304, 416")
    def _(entry, options=options):
        return [
            curl(entry, "/bytes/100000", *options, *more)
            for more in (
                ["-r", "100-199"], ["-r", "-50"], ["-r", "99990-"], ["-r", "200000-"],
                ["-r", "0-9", "-H", 'if-range: "other"'], ["-H", f'if-none-match: {tag(100000)}'],
            )
        ]

    @case("curl", f"{version}: resume of a download that broke off")
    def _(entry, options=options):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "file")
            file.write_bytes(requests.get(f"http://{entry.http}/bytes/5000000", timeout=PATIENCE).content[:2_000_000])
            command = ["curl", "-sS", *options, "-C", "-", "-o", file, "-w", "%{http_code} %{size_download}"]
            ended = subprocess.run([*command, f"http://{entry.http}/bytes/5000000"], capture_output=True, check=False)
            return ended.returncode, ended.stdout, digest(file.read_bytes())

    @case("curl", f"{version}: Expect: 100-continue, accepted and refused")
    def _(entry, options=options):
        asked = [*options, "-H", "Expect: 100-continue", "--expect100-timeout", "5", "--data-binary", "@-"]
        accepted = curl(entry, "/echo", *asked, stdin=LARGE)
        if options:
            # Over HTTP/2 the backend itself cannot refuse a body that it has not read.
            return accepted
        code, heads, body, _ = curl(entry, "/refuse", *asked, stdin=LARGE)
        # It refuses at any time around its 100.
        return accepted, code, heads[-1], body

    @case("curl", f"{version}: compressed, several Set-Cookie, statuses, redirects")
    def _(entry, options=options):
        seen = [curl(entry, f"/status/{code}", *options) for code in (200, 204, 302, 401, 404, 418, 500, 503)]
        seen.append(curl(entry, "/packed", *options, "--compressed"))
        seen.append(curl(entry, "/cookies", *options))
        return seen + [curl(entry, "/status/307", *options, "-L", "-d", "again")]

    @case("curl", f"{version}: one connection for many requests")
    def _(entry, options=options):
        urls = [f"http://{entry.http}/bytes/{size}" for size in range(1000, 1030)]
        command = ["curl", "-sS", *options, "-w", "%{http_code} %{size_download} %{num_connects}\n"]
        ended = subprocess.run([*command, *[word for url in urls for word in ("-o", os.devnull, url)]], capture_output=True, check=False)
        return ended.returncode, ended.stdout


@case("curl", "HTTP/1.0")
def _(entry):
    return [curl(entry, path, "-0") for path in ("/echo", "/bytes/70000", "/packed")]


def tag(size):
    return '"' + hashlib.sha256(random.Random(1).randbytes(32 * 1024 * 1024)[:size]).hexdigest()[:16] + '"'


# --- python requests ----------------------------------------------------------------------------------------------


@case("requests", "session, JSON, cookies, redirects, streamed upload")
def _(entry):
    session = requests.Session()
    base = f"http://{entry.http}"
    seen = []
    for response in (
        session.post(f"{base}/echo", json={"a": [1, 2]}),
        session.get(f"{base}/cookies"),
        session.get(f"{base}/echo", params={"q": "ä b"}),
        session.get(f"{base}/status/303"),
        session.put(f"{base}/echo", data=(LARGE[start : start + 100_000] for start in range(0, len(LARGE), 100_000))),
        session.head(f"{base}/bytes/1000"),
        session.get(f"{base}/packed"),
        session.request("PURGE", f"{base}/echo"),
    ):
        steps = [step.status_code for step in (*response.history, response)]
        seen.append((steps, fields(response.headers.items(), entry), digest(response.content)))
    return seen, sorted(session.cookies.get_dict().items())


@case("requests", "streamed download, and one that is given up")
def _(entry):
    base = f"http://{entry.http}"
    whole = b"".join(requests.get(f"{base}/bytes/30000000", stream=True, timeout=PATIENCE).iter_content(65536))
    path = f"/gate/{uuid.uuid4()}"
    response = requests.get(base + path, stream=True, timeout=PATIENCE)
    first = next(response.iter_content(None))
    response.close()
    return digest(whole), first, note(entry, path, "gone")


# --- httpx --------------------------------------------------------------------------------------------------------


@case("httpx", "h2c: a hundred requests at once on one connection")
def _(entry):
    async def run():
        async with httpx.AsyncClient(http1=False, http2=True, timeout=PATIENCE) as client:
            sizes = range(0, 200_000, 2_000)
            got = await asyncio.gather(*(client.get(f"http://{entry.http}/bytes/{size}") for size in sizes))
            return [(one.status_code, one.http_version, fields(one.headers.items(), entry), digest(one.content)) for one in got]

    return asyncio.run(run())


@case("httpx", "h2c: upload, streamed both ways, server-sent events one by one")
def _(entry):
    async def run():
        async with httpx.AsyncClient(http1=False, http2=True, timeout=PATIENCE) as client:
            echo = (await client.post(f"http://{entry.http}/echo", content=LARGE, headers={"x-mine": "1"})).json()
            url, events = f"http://{entry.http}/gate/{uuid.uuid4()}", []
            async with client.stream("GET", url) as response:
                async for chunk in response.aiter_bytes():
                    events.append(chunk)
                    await client.post(url)
            return without_agent(echo), events

    return asyncio.run(run())


def without_agent(echo):
    """Leaves out what a client says of itself."""
    return {**echo, "fields": [field for field in echo["fields"] if field[0] != "user-agent"]}


# --- aiohttp ------------------------------------------------------------------------------------------------------


@case("aiohttp", "chunks go back and forth in one exchange")
def _(entry):
    async def run():
        words, heard = asyncio.Queue(), []

        async def upload():
            while (word := await words.get()) is not None:
                yield word

        async with aiohttp.ClientSession() as session:
            await words.put(b"word 0")
            async with session.post(f"http://{entry.http}/duplex", data=upload()) as response:
                for number in range(1, 50):
                    heard.append(await response.content.readany())
                    await words.put(f"word {number}".encode())
                heard.append(await response.content.readany())
                await words.put(None)
                heard.append(await response.content.read())
        return heard

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


@case("aiohttp", "WebSocket: text, binary, 3 MiB, close code")
def _(entry):
    async def run():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://{entry.http}/ws", protocols=("one", "two"), compress=15) as socket:
                heard = [socket.protocol, socket.compress]
                for message in ("text", "ä" * 1000, b"\0\xff" * 1000, LARGE[: 3 * 1024 * 1024]):
                    await (socket.send_str if isinstance(message, str) else socket.send_bytes)(message)
                    heard.append((await socket.receive()).data == message)
                await socket.send_str("close")
                end = await socket.receive()
                return heard, end.type.name, end.data, end.extra

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


@case("aiohttp", "a request that is given up is given up at the backend")
def _(entry):
    async def run():
        path = f"/hang/{uuid.uuid4()}"
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.get(f"http://{entry.http}{path}").__aenter__())
            here = await asyncio.to_thread(note, entry, path, "here")
            asking.cancel()
            return here, await asyncio.to_thread(note, entry, path, "gone")

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


# --- websockets ---------------------------------------------------------------------------------------------------


@case("websockets", "messages, pings, compression, subprotocol, close code")
def _(entry):
    async def run():
        heard = []
        url = f"ws://{entry.http}/ws?query"
        async with websockets.asyncio.client.connect(url, subprotocols=["one", "two"], max_size=None) as socket:
            heard += [socket.subprotocol, [type(extension).__name__ for extension in socket.protocol.extensions]]
            for message in ("text", b"binary", "", "x" * 70_000, LARGE[: 8 * 1024 * 1024]):
                await socket.send(message)
                heard.append(await socket.recv() == message)
            await (await socket.ping())
            await socket.send("close")
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                heard.append(await socket.recv())
            return heard, socket.close_code, socket.close_reason

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


@case("websockets", "a handshake that is refused, and a visitor that vanishes")
def _(entry):
    async def run():
        refused = None
        try:
            async with websockets.asyncio.client.connect(f"ws://{entry.http}/ws/refused"):
                pass
        except websockets.exceptions.InvalidStatus as error:
            refused = error.response.status_code
        path = f"/ws/{uuid.uuid4()}"
        socket = await websockets.asyncio.client.connect(f"ws://{entry.http}{path}")
        here = await asyncio.to_thread(note, entry, path, "here")
        # Reset: an end would be half of one.
        socket.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        socket.transport.abort()
        return refused, here, await asyncio.to_thread(note, entry, path, "gone")

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


# --- grpcio -------------------------------------------------------------------------------------------------------


@case("grpcio", "unary, all kinds of streams, metadata")
def _(entry):
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(entry.grpc, options=options) as channel:
        unary = channel.unary_unary("/conform.Test/Unary")
        answer, call = unary.with_call(b"good day", metadata=(("x-mine", "mine"),), timeout=PATIENCE)
        trailing = sorted((key, value) for key, value in call.trailing_metadata())
        large, _ = unary.with_call(LARGE, timeout=PATIENCE)
        server = list(channel.unary_stream("/conform.Test/Server")(b"1000", timeout=PATIENCE))
        client = channel.stream_unary("/conform.Test/Client")(iter([b"a", b"b", b"c"]), timeout=PATIENCE)
        both = list(channel.stream_stream("/conform.Test/Both")(iter([b"a", b"b", b"c"]), timeout=PATIENCE))
        return answer, trailing, digest(large), digest(b"".join(server)), client, both


@case("grpcio", "every status, a deadline, a call that is cancelled, a method that is not there")
def _(entry):
    seen = []
    with grpc.insecure_channel(entry.grpc) as channel:
        unary = channel.unary_unary("/conform.Test/Unary")
        asked = [(unary, b"fail " + code.name.encode()) for code in grpc.StatusCode if code.value[0]]
        asked += [(channel.unary_unary("/conform.Test/None"), b"")]
        for method, request in asked:
            try:
                seen.append(method(request, timeout=PATIENCE))
            except grpc.RpcError as error:
                seen.append((error.code().name, error.details()))
        late, cancelled = uuid.uuid4().hex, uuid.uuid4().hex
        try:
            unary(f"hang {late}".encode(), timeout=1)
        except grpc.RpcError as error:
            seen.append(error.code().name)
        stream = channel.unary_stream("/conform.Test/Server")(f"1000000000 {cancelled}".encode())
        seen.append(next(stream))
        stream.cancel()
        return seen, note(entry, f"/grpc/{late}", "gone"), note(entry, f"/grpc/{cancelled}", "gone")


# --- Chromium -----------------------------------------------------------------------------------------------------

BROWSER_CASES = ["fetch", "streaming fetch", "EventSource", "WebSocket", "abort"]
browsed = {}


def browse(entry):
    """Lets a browser run the page, and returns what it reports."""
    for _ in range(3):
        # On a busy machine a browser may not get as far as its page.
        if browsed.get(entry):
            break
        name = uuid.uuid4().hex
        with tempfile.TemporaryDirectory() as profile:
            options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
            browser = subprocess.Popen(
                ["chromium", *options, f"http://{entry.http}/page?id={name}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )
            report = b""
            for _ in range(PATIENCE * 10):
                response = requests.get(f"http://{entry.http}/report/{name}", timeout=PATIENCE)
                report = response.content if response.ok else b""
                if report:
                    break
                time.sleep(0.1)
            os.killpg(browser.pid, signal.SIGTERM)
            browser.wait()
            time.sleep(0.5)
        browsed[entry] = json.loads(report.replace(name.encode(), b"ID") or b"{}")
    return browsed[entry]


for browser_case in BROWSER_CASES:

    @case("Chromium", browser_case)
    def _(entry, browser_case=browser_case):
        return browse(entry).get(browser_case, "no report")


# --- git ----------------------------------------------------------------------------------------------------------


def git(*words, cwd=None):
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main", "-c", "core.compression=0"]
    ended = subprocess.run(["git", *who, *words], cwd=cwd, env=env, capture_output=True, timeout=300, check=False)
    if ended.returncode:
        raise RuntimeError(f"git {words[0]}: {ended.stderr.decode()[-300:]}")
    return ended.stdout.decode().strip()


@case("git", "clone 50 MB, push 50 MB, fetch, shallow clone")
def _(entry):
    with tempfile.TemporaryDirectory() as folder:
        name = uuid.uuid4().hex
        bare = pathlib.Path(git_root, name + ".git")
        shutil.copytree(git_root / "seed.git", bare)
        url = f"http://{entry.http}/git/{name}.git"
        git("clone", "-q", url, "work", cwd=folder)
        work = pathlib.Path(folder, "work")
        cloned = git("rev-parse", "HEAD", cwd=work), digest((work / "large").read_bytes())
        (work / "pushed").write_bytes(random.Random(3).randbytes(REPOSITORY_BYTES))
        git("add", ".", cwd=work)
        git("commit", "-q", "-m", "more", "--date=2024-01-01T00:00:00Z", cwd=work)
        git("push", "-q", "origin", "HEAD", cwd=work)
        arrived = git("rev-parse", "main", cwd=bare) == git("rev-parse", "HEAD", cwd=work)
        git("clone", "-q", "--depth", "1", url, "shallow", cwd=folder)
        shallow = digest(pathlib.Path(folder, "shallow", "pushed").read_bytes())
        git("fsck", "--full", cwd=bare)
        shutil.rmtree(bare)
        return cloned, arrived, shallow


# --- the tunnel ---------------------------------------------------------------------------------------------------


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(PATIENCE * 10):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nobody listens on {port}")


def egress(scheme, http, grpc_port):
    return f"""
[[egress]]
path = "/"
upstream = "app"

[[egress]]
path = "/conform.Test"
upstream = "grpc"

[upstreams.app]
servers = ["{scheme}://127.0.0.1:{http}"]

[upstreams.grpc]
servers = ["h2c://127.0.0.1:{grpc_port}"]
"""


def start_tunnel(adit, folder, scheme, http, grpc_port, children):
    """Starts a server and a client. Returns the ports of their entries: in reverse, and forward."""
    tunnel, reverse, forward = free_port(socket.SOCK_DGRAM), free_port(), free_port()
    certs = folder / "certs"
    subprocess.run([adit, "certs", "--dir", certs, "--client", "client"], check=True, capture_output=True)
    (folder / f"server-{scheme}.toml").write_text(f"""
[tunnel]
listen = "127.0.0.1:{tunnel}"
cert = "{certs}/server.pem"
key = "{certs}/server.key"
client_ca = "{certs}/ca.pem"

[http]
listen = "127.0.0.1:{reverse}"

[groups.web]
clients = ["*"]

[[ingress]]
group = "web"
{egress(scheme, http, grpc_port)}""")
    (folder / f"client-{scheme}.toml").write_text(f"""
[tunnel]
connect = "127.0.0.1:{tunnel}"
server_name = "localhost"
ca = "{certs}/ca.pem"
cert = "{certs}/client.pem"
key = "{certs}/client.key"
group = "web"

[http]
listen = "127.0.0.1:{forward}"
{egress(scheme, http, grpc_port)}""")
    for side in ("server", "client"):
        log = open(folder / f"{side}-{scheme}.log", "w")
        children.append(subprocess.Popen([adit, side, "-c", folder / f"{side}-{scheme}.toml"], stderr=log))
    for port in (reverse, forward):
        wait_for(port)
        for _ in range(PATIENCE * 10):
            if requests.get(f"http://127.0.0.1:{port}/status/200", timeout=PATIENCE).status_code == 200:
                break
            time.sleep(0.1)
    return reverse, forward


def make_seed():
    """A repository of 50 MB."""
    with tempfile.TemporaryDirectory() as folder:
        git("init", "-q", cwd=folder)
        pathlib.Path(folder, "large").write_bytes(random.Random(4).randbytes(REPOSITORY_BYTES))
        git("add", ".", cwd=folder)
        git("commit", "-q", "-m", "seed", cwd=folder)
        git("clone", "-q", "--bare", folder, git_root / "seed.git")
    git("config", "http.receivepack", "true", cwd=git_root / "seed.git")


# --- the table ----------------------------------------------------------------------------------------------------


def look(run, entry):
    try:
        return run(entry)
    except Exception as error:  # What a client raises is what it saw.
        return f"{type(error).__name__}: {str(error).replace(entry.http, 'HOST')}"


def short(seen):
    return repr(seen)[:600]


def apart(expected, got, path=""):
    """Where two results differ first."""
    kinds = (list, tuple)
    if isinstance(expected, kinds) and isinstance(got, kinds) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got)):
            if one != other:
                return apart(one, other, f"{path}[{index}]")
    return f"  at {path or 'the top'}\n    direct: {short(expected)}\n    tunnel: {short(got)}"


def versions():
    curl_version = subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout.split()[1]
    chromium = subprocess.run(["chromium", "--version"], capture_output=True, text=True).stdout.split()
    return {
        "curl": curl_version, "requests": requests.__version__, "httpx": httpx.__version__, "aiohttp": aiohttp.__version__,
        "websockets": websockets.__version__, "grpcio": grpc.__version__, "Chromium": (chromium + ["?", "?"])[1],
        "git": git("--version").split()[2],
    }


def table(results, entries):
    lines = ["| client | what it does | " + " | ".join(entry.name for entry in entries) + " |"]
    lines.append("|---|---|" + "---|" * len(entries))
    known = versions()
    for client, what, same in results:
        marks = " | ".join("same" if one else "**differs**" for one in same)
        lines.append(f"| {client} {known[client]} | {what} | {marks} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("adit")
    parser.add_argument("--only", default="")
    parser.add_argument("--bless", type=pathlib.Path)
    parser.add_argument("--hold", action="store_true", help="start everything and wait to be stopped")
    options = parser.parse_args()
    adit = pathlib.Path(options.adit).resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="adit-clients-"))
    global git_root
    git_root = folder / "git"
    git_root.mkdir()
    make_seed()
    http, grpc_port = free_port(), free_port()
    log = open(folder / "backend.log", "w")
    children = [subprocess.Popen([sys.executable, HERE / "backend.py", str(http), str(grpc_port), git_root], stderr=log)]
    try:
        wait_for(http)
        wait_for(grpc_port)
        direct = Entry("direct", f"127.0.0.1:{http}", f"127.0.0.1:{grpc_port}")
        ports = [start_tunnel(adit, folder, scheme, http, grpc_port, children) for scheme in ("http", "h2c")]
        entries = [
            Entry(f"{way} →{version}", f"127.0.0.1:{pair[way == '⇉']}", f"127.0.0.1:{pair[way == '⇉']}")
            for way in "⇇⇉" for version, pair in zip("12", ports)
        ]
        if options.hold:
            print(*[direct, *entries], folder, sep="\n", flush=True)
            signal.pause()
        results = []
        for client, what, run in cases:
            if options.only.lower() not in f"{client} {what}".lower():
                continue
            expected = look(run, direct)
            same = []
            for entry in entries:
                got = look(run, entry)
                same.append(got == expected)
                if got != expected:
                    print(f"\n{client} {what}, {entry.name}:\n{apart(expected, got)}")
            print(f"{'same   ' if all(same) else 'DIFFERS'} {client}: {what}", flush=True)
            if isinstance(expected, str):
                print(f"  direct: {short(expected)}")
            results.append((client, what, same))
        if options.bless:
            before, rest = options.bless.read_text().split("<!-- clients -->\n")
            after = rest.split("<!-- /clients -->\n")[1]
            options.bless.write_text(f"{before}<!-- clients -->\n\n{table(results, entries)}<!-- /clients -->\n{after}")
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
        shutil.rmtree(folder)
    sys.exit(0 if results and all(all(same) for _, _, same in results) else 1)


main()
