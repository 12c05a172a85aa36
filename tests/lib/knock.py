#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""knock: one connection or datagram, and what became of it, in a line.

    knock.py tcp HOST PORT [send=TEXT] [pieces] [read] [wait=S] [limit=S] [bytes=N]
    knock.py udp HOST PORT [count=N] [size=N]

tcp: "connected", or the name of the error, and the time in tenths of a second; read: also what the
peer says first; send: after wait; pieces: byte by byte; bytes: read N bytes, print how many came and how
it ended.
"""
import errno
import socket
import sys
import time


def name(e):
    if isinstance(e, socket.timeout):
        return "timeout"
    return errno.errorcode.get(e.errno, str(e)) if e.errno else str(e)


def options(words):
    return dict(w.split("=", 1) if "=" in w else (w, "1") for w in words)


def connect(host, port, limit):
    family, kind, proto, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    s = socket.socket(family, kind, proto)
    s.settimeout(limit)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.connect(at)
    return s


def receive(s, most):
    got = 0
    try:
        while got < most:
            chunk = s.recv(65536)
            if not chunk:
                return f"{got} EOF"
            got += len(chunk)
    except OSError as e:
        return f"{got} {name(e)}"
    return f"{got} all"


def tcp(host, port, o):
    start = time.monotonic()
    out = []
    try:
        s = connect(host, port, float(o.get("limit", 10)))
        out.append("connected")
        if "read" in o:
            out.append(repr(s.recv(1000)))
        time.sleep(float(o.get("wait", 0)))
        data = o.get("send", "").encode().decode("unicode_escape").encode("latin-1")
        for piece in ([data[i:i + 1] for i in range(len(data))] if "pieces" in o else [data]):
            s.send(piece)
            if "pieces" in o:
                time.sleep(0.001)
        if data:
            out.append(repr(s.recv(1000)))
        if "bytes" in o:
            out.append(receive(s, int(o["bytes"])))
    except OSError as e:
        out.append(name(e))
    out.append(f"{time.monotonic() - start:.1f}")
    print(" ".join(out), flush=True)


def udp(host, port, o):
    family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect(at)
    out = []
    for _ in range(int(o.get("count", 1))):
        try:
            s.send(b"x" * int(o.get("size", 1)))
            out.append(f"{len(s.recv(65536))}")
        except OSError as e:
            out.append(name(e))
    print(" ".join(out), flush=True)


{"tcp": tcp, "udp": udp}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), options(sys.argv[4:]))
