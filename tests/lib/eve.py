#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""eve: checks a flow log.

    eve.py FILE EXPRESSION [NAME=VALUE...]

The Python expression sees `flows` (every line as an object that answers f.a.b for nested keys,
None for what is missing), and the NAMEs as strings. Exit status 0 when it is true. A line that is
not one JSON object makes every check fail.
"""
import json
import sys


class Record(dict):
    def __getattr__(self, name):
        return self.get(name)


def main():
    try:
        with open(sys.argv[1], encoding="utf-8") as f:
            flows = [json.loads(line, object_hook=Record) for line in f]
    except (OSError, ValueError) as e:
        sys.exit(f"{sys.argv[1]}: {e}")
    names = dict(a.split("=", 1) for a in sys.argv[3:])
    try:
        # one namespace for all, so that comprehensions see the names; lines may be broken anywhere
        value = eval("(" + sys.argv[2] + ")", {"flows": flows, **names})
    except (AttributeError, IndexError, TypeError) as e:
        value = print(f"{type(e).__name__}: {e}")
    if not value:
        print(f"not true: {sys.argv[2]}")
        for flow in flows[:20]:
            print(json.dumps(flow)[:600])
    sys.exit(0 if value else 1)


main()
