#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dnsd: a small DNS server for tests.

    dnsd.py ADDR[,ADDR...] PORT NAME=TYPE:VALUE...

Types: A, AAAA, CNAME (followed within the zone), TXT, BIG:N (TXT records of N bytes in all, so
that UDP answers are truncated). An optional ,TTL follows the value: www=A:10.0.0.1,30. Other
names give NXDOMAIN. Answers over UDP and TCP; prints "ready", then one line a query:
"udp|tcp ADDR NAME TYPE".
"""
import socket
import struct
import sys
import threading

TYPES = {"A": 1, "CNAME": 5, "TXT": 16, "AAAA": 28}
NAMES = {v: k for k, v in TYPES.items()}


def wire_name(name):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".") if l) + b"\0"


def read_name(msg, pos):
    labels = []
    while msg[pos]:
        labels.append(msg[pos + 1:pos + 1 + msg[pos]].decode("latin-1"))
        pos += 1 + msg[pos]
    return ".".join(labels).lower(), pos + 1


def rdata(kind, value):
    if kind == "A":
        return socket.inet_pton(socket.AF_INET, value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "CNAME":
        return wire_name(value)
    text = value.encode()
    return b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255]
                    for i in range(0, len(text), 255))


def parse_zone(items):
    zone = {}
    for item in items:
        name, rest = item.split("=", 1)
        kind, value = rest.split(":", 1)
        ttl = 60
        if kind == "BIG":
            kind, value = "TXT", "x" * int(value)
        elif "," in value:
            value, ttl = value.rsplit(",", 1)
        zone.setdefault(name.lower(), []).append((kind, value, int(ttl)))
    return zone


def records(zone, name, qtype):
    """The answer section: CNAMEs on the way and the records at the end of them."""
    out = []
    for _ in range(8):
        here = zone.get(name, [])
        out += [(name, k, v, t) for k, v, t in here if TYPES[k] == qtype or k == "CNAME"]
        names = [v for k, v, _ in here if k == "CNAME"]
        if not names or qtype == TYPES["CNAME"]:
            break
        name = names[0].lower()
    return out


def answer(zone, msg, limit):
    ident, flags, count = struct.unpack(">HHH", msg[:6])
    if count != 1 or flags & 0x8000:
        return None, None
    name, pos = read_name(msg, 12)
    qtype = struct.unpack(">H", msg[pos:pos + 2])[0]
    found = records(zone, name, qtype)
    rcode = 0 if name in zone else 3
    head = struct.pack(">HHHHHH", ident, 0x8580 | rcode, 1, len(found), 0, 0)
    body = msg[12:pos + 4]
    for owner, kind, value, ttl in found:
        data = rdata(kind, value)
        body += wire_name(owner) + struct.pack(">HHIH", TYPES[kind], 1, ttl, len(data)) + data
    if 12 + len(body) > limit:
        head = struct.pack(">HHHHHH", ident, 0x8780, 1, 0, 0, 0)
        body = msg[12:pos + 4]
    return head + body, f"{name} {NAMES.get(qtype, qtype)}"


def serve_udp(zone, sock):
    while True:
        msg, peer = sock.recvfrom(4096)
        reply, text = answer(zone, msg, 512)
        if reply:
            print("udp", peer[0], text, flush=True)
            sock.sendto(reply, peer)


def serve_connection(zone, conn, peer):
    stream = conn.makefile("rwb")
    while len(head := stream.read(2)) == 2:
        reply, text = answer(zone, stream.read(struct.unpack(">H", head)[0]), 65535)
        if not reply:
            break
        print("tcp", peer[0], text, flush=True)
        stream.write(struct.pack(">H", len(reply)) + reply)
        stream.flush()
    conn.close()


def serve_tcp(zone, sock):
    while True:
        conn, peer = sock.accept()
        threading.Thread(target=serve_connection, args=(zone, conn, peer), daemon=True).start()


def main():
    addrs, port, zone = sys.argv[1].split(","), int(sys.argv[2]), parse_zone(sys.argv[3:])
    threads = []
    for addr in addrs:
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        at = socket.getaddrinfo(addr, port)[0][4]  # with the zone of a link-local address
        udp.bind(at)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(at)
        tcp.listen(64)
        for target, sock in ((serve_udp, udp), (serve_tcp, tcp)):
            threads.append(threading.Thread(target=target, args=(zone, sock)))
            threads[-1].start()
    print("ready", flush=True)


main()
