#!/usr/bin/env python3
"""A download whose client gets another address five times, in network namespaces of its own. Linux, as root.

    run.py ADIT [--gibibytes N]

The client stands in one namespace, the server and its upstream in another. The visitor asks the client's entry, so that
it is the client that receives and has little to send. Succeeds when every byte arrived, the session stayed the same, and
the client said five times that it moved.
"""

import argparse
import hashlib
import http.client
import http.server
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

MOVES = 5
MIB = 1 << 20
CLIENT, SERVER = "adit-roam-client", "adit-roam-server"
SERVER_ADDRESS = "10.99.0.1"
UPSTREAM, ENTRY = 3000, 8081
PATIENCE = 60


def content(mebibytes):
    """Yields bytes that are the same every time, and no piece twice."""
    noise = random.Random(7).randbytes(MIB)
    for number in range(mebibytes):
        yield number.to_bytes(8, "big") + noise[8:]


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        mebibytes = int(self.path.strip("/"))
        self.send_response(200)
        self.send_header("content-length", str(mebibytes * MIB))
        self.end_headers()
        for piece in content(mebibytes):
            self.wfile.write(piece)

    def log_message(self, *_):
        pass


def upstream():
    http.server.ThreadingHTTPServer(("127.0.0.1", UPSTREAM), Upstream).serve_forever()


def download(mebibytes):
    """Downloads, says after each mebibyte how many there were, and last what their sum is."""
    connection = http.client.HTTPConnection("127.0.0.1", ENTRY, timeout=PATIENCE)
    connection.request("GET", f"/{mebibytes}")
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"status {response.status}: {response.read()!r}")
    digest, received = hashlib.sha256(), 0
    while piece := response.read(MIB):
        digest.update(piece)
        received += len(piece)
        print(received // MIB, flush=True)
    print(digest.hexdigest(), flush=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def inside(namespace, *command, **how):
    return subprocess.Popen(["ip", "netns", "exec", namespace, *command], **how)


def address(number):
    return f"10.99.0.{10 + number}/24"


def network():
    for namespace in (CLIENT, SERVER):
        ip("netns", "add", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
    ip("link", "add", "roam0", "netns", CLIENT, "type", "veth", "peer", "name", "roam0", "netns", SERVER)
    ip("-n", CLIENT, "addr", "add", address(0), "dev", "roam0")
    ip("-n", SERVER, "addr", "add", f"{SERVER_ADDRESS}/24", "dev", "roam0")
    for namespace in (CLIENT, SERVER):
        ip("-n", namespace, "link", "set", "roam0", "up")


def take_down():
    for namespace in (CLIENT, SERVER):
        subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)


def configure(home, adit):
    subprocess.run([adit, "certs", "--dir", home / "certs"], check=True, stdout=subprocess.DEVNULL)
    (home / "server.toml").write_text(f"""
[tunnel]
listen = "{SERVER_ADDRESS}:4433"
cert = "{home}/certs/server.pem"
key = "{home}/certs/server.key"
client_ca = "{home}/certs/ca.pem"
[groups.web]
clients = ["client"]
[[egress]]
upstream = "app"
[upstreams.app]
servers = ["http://127.0.0.1:{UPSTREAM}"]
""")
    (home / "client.toml").write_text(f"""
[tunnel]
connect = "{SERVER_ADDRESS}:4433"
server_name = "localhost"
ca = "{home}/certs/ca.pem"
cert = "{home}/certs/client.pem"
key = "{home}/certs/client.key"
group = "web"
[http]
listen = "127.0.0.1:{ENTRY}"
""")


def said(log, words):
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())
    return [line for line in text.splitlines() if words in line]


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {PATIENCE} s for {what}")
        time.sleep(0.05)


def run(adit, mebibytes, home, started):
    configure(home, adit)
    logs = {name: home / f"{name}.log" for name in ("server", "client")}
    here = [sys.executable, os.path.abspath(__file__)]
    started.append(inside(SERVER, *here, "upstream"))
    for name, namespace in (("server", SERVER), ("client", CLIENT)):
        started.append(inside(namespace, adit, name, "-c", home / f"{name}.toml", stderr=logs[name].open("w")))
    wait_for("the link", lambda: said(logs["client"], "connected"))
    began = time.monotonic()
    visitor = inside(CLIENT, *here, "download", str(mebibytes), stdout=subprocess.PIPE, text=True)
    started.append(visitor)
    moves, last = 0, ""
    for line in visitor.stdout:
        last = line.strip()
        if moves < MOVES and last.isdigit() and int(last) >= mebibytes * (moves + 1) // (MOVES + 1):
            ip("-n", CLIENT, "addr", "del", address(moves), "dev", "roam0")
            ip("-n", CLIENT, "addr", "add", address(moves + 1), "dev", "roam0")
            moves += 1
            # Each move is to be seen, also where the download is faster than the client looks.
            wait_for("the client to notice", lambda: len(said(logs["client"], "address of this node changed")) == moves)
    took = time.monotonic() - began
    expected = hashlib.sha256()
    for piece in content(mebibytes):
        expected.update(piece)
    sessions = {name: len(said(logs[name], words)) for name, words in (("server", "client joined"), ("client", " connected"))}
    print(*said(logs["client"], "address of this node changed"), sep="\n")
    print(*said(logs["server"], "peer's address changed"), sep="\n")
    print(f"{mebibytes} MiB in {took:.1f} s, {moves} moves, sha256 {last}, sessions {sessions}")
    if visitor.wait() != 0 or last != expected.hexdigest() or moves != MOVES or set(sessions.values()) != {1}:
        print(*(f"{name}: {line}" for name, log in logs.items() for line in log.read_text().splitlines()[-30:]), sep="\n")
        sys.exit(f"FAILED: expected sha256 {expected.hexdigest()}, {MOVES} moves and one session")
    print("ok: the same bytes, the same session")


def main():
    if sys.argv[1:2] == ["upstream"]:
        return upstream()
    if sys.argv[1:2] == ["download"]:
        return download(int(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adit", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--gibibytes", type=float, default=1)
    arguments = parser.parse_args()
    started = []
    with tempfile.TemporaryDirectory(prefix="adit-roam-") as home:
        try:
            network()
            run(arguments.adit, int(arguments.gibibytes * 1024), pathlib.Path(home), started)
        finally:
            for process in started:
                process.kill()
            take_down()


main()
