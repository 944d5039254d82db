#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pymemcache: pure Python, the text protocol."""
import sys

import loop

try:
    import pymemcache
    from pymemcache.client.base import Client
except ImportError:
    loop.missing("python3-pymemcache")


def main():
    client = Client((sys.argv[1], int(sys.argv[2])), default_noreply=False)

    def store(name):
        return lambda key, value, exptime=0: getattr(client, name)(key, value, expire=exptime)

    def typed():
        return client.set("t", "word", noreply=True) and client.get("t") == b"word"

    def own():
        client.set_many({"a": b"1", "b": b"2"})
        found = client.gets_many(["a", "b", "none"])
        return (sorted(found) == ["a", "b"] and client.cas("a", b"3", found["a"][1]) and b"item_size_max" in
                client.stats("settings") and client.flush_all(delay=1000) and client.flush_all() and
                client.get("a") is None and client.quit() is None and client.set("a", b"4"))

    def stats():
        return {name.decode(): value.decode() if isinstance(value, bytes) else str(value)
                for name, value in client.stats().items()}

    def set_many(values):
        quiet = {key: values[key] for key in list(values)[::2]}
        return client.set_many(quiet, noreply=True) == [] and client.set_many(values) == []

    unique = loop.Cas(client.gets, client.cas)
    ops = {
        "get": client.get, "delete": client.delete,
        "get_many": client.get_many, "set_many": set_many,
        "delete_many": client.delete_many, "gets": unique.gets, "cas": unique.cas,
        "incr": lambda key, delta: client.incr(key, delta), "decr": lambda key, delta: client.decr(key, delta),
        "touch": lambda key, exptime: client.touch(key, exptime), "flush": client.flush_all, "stats": stats,
        "version": lambda: client.version().decode(), "typed": typed, "own": own,
    }
    for name in ("set", "add", "replace", "append", "prepend"):
        ops[name] = store(name)
    if hasattr(client, "gat"):  # from pymemcache 4 on
        ops["gat"] = lambda key, exptime: client.gat(key, exptime)
    loop.run(f"pymemcache {pymemcache.__version__}", ops)


main()
