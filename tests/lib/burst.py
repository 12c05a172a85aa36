#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""burst: what a browser does with a page of many parts.

    burst.py PORT HOST [HOST...]

Six keep-alive connections to each host at once, 25 requests on each, of the files that
real_test.sh serves (size in the name, body of wire.h's pattern). Every body is compared.
Prints "requests X good Y".
"""
import http.client
import sys
import threading

SIZES = (0, 1, 100, 1460, 5000, 40000, 300000)
PATTERN = bytes((i % 251) ^ (i // 251 % 241) for i in range(max(SIZES)))
lock = threading.Lock()
count = {"requests": 0, "good": 0}


def fetch_all(host, port, seed):
    conn = http.client.HTTPConnection(host, port, timeout=30)
    for i in range(25):
        size = SIZES[(seed + i) % len(SIZES)]
        good = False
        try:
            conn.request("GET", f"/part{size}")
            reply = conn.getresponse()
            good = reply.status == 200 and reply.read() == PATTERN[:size]
        except OSError as e:
            print(f"{host}: {e!r}", file=sys.stderr)
            conn.close()
        with lock:
            count["requests"] += 1
            count["good"] += good
    conn.close()


def main():
    if sys.argv[1] == "--write":
        for size in SIZES:
            with open(f"{sys.argv[2]}/part{size}", "wb") as f:
                f.write(PATTERN[:size])
        return
    port, hosts = int(sys.argv[1]), sys.argv[2:]
    threads = [threading.Thread(target=fetch_all, args=(h, port, 7 * n + i))
               for i, h in enumerate(hosts) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"requests {count['requests']} good {count['good']}")


main()
