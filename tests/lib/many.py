#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""many: N connections to an echo server, open at the same time.

    many.py N PORT ADDR [ADDR...]

Opens all (at most 200 handshakes under way), then sends two different messages on each and
compares the echoes, then closes all. PATIENCE in the environment is the longest wait for each
step, in seconds (30). Prints "opened X echoed Y errors: NAME count ...".
"""
import asyncio
import collections
import errno
import os
import sys

patience = float(os.environ.get("PATIENCE", 30))
errors = collections.Counter()


def note(e):
    code = getattr(e, "errno", None)
    errors[errno.errorcode.get(code, type(e).__name__)] += 1


async def open_one(gate, addr, port):
    async with gate:
        try:
            return await asyncio.wait_for(asyncio.open_connection(addr, port), patience)
        except (OSError, asyncio.TimeoutError) as e:
            note(e)
            return None


async def echo_one(i, reader, writer):
    try:
        for turn in range(2):
            message = f"connection {i} turn {turn};".encode() * 10
            writer.write(message)
            if await asyncio.wait_for(reader.readexactly(len(message)), patience) != message:
                errors["mixed up"] += 1
                return 0
        return 1
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as e:
        note(e)
        return 0


async def main():
    n, port, addrs = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    gate = asyncio.Semaphore(200)
    opened = await asyncio.gather(*(open_one(gate, addrs[i % len(addrs)], port)
                                    for i in range(n)))
    live = [(i, c) for i, c in enumerate(opened) if c]
    echoed = await asyncio.gather(*(echo_one(i, *c) for i, c in live))
    for _, (_, writer) in live:
        writer.close()
    text = " ".join(f"{k} {v}" for k, v in sorted(errors.items())) or "none"
    print(f"opened {len(live)} echoed {sum(echoed)} errors: {text}")


asyncio.run(main())
