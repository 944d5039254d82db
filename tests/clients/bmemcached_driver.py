#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bmemcached: pure Python, the binary protocol."""
import sys

import loop

try:
    import bmemcached
except ImportError:
    loop.missing("python3-binary-memcached")


def main():
    client = bmemcached.Client([f"{sys.argv[1]}:{sys.argv[2]}"], socket_timeout=60)

    def store(name):
        return lambda key, value, exptime=0: getattr(client, name)(key, value, time=exptime, compress_level=0)

    def typed():
        kept = {"int": 12345, "object": {"a": [1, 2, 3]}, "text": "ö", "long": "x" * 5000}
        return all(client.set(name, value) for name, value in kept.items()) and client.get_multi(list(kept)) == kept

    def delete(key):  # it does not tell whether there was one
        return client.get(key) is not None and client.delete(key)

    def stats():
        return {name: value.decode() for name, value in list(client.stats().values())[0].items()}

    unique = loop.Cas(client.gets, lambda key, value, cas: client.cas(key, value, cas))
    ops = {
        "get": client.get, "delete": delete, "gets": unique.gets, "cas": unique.cas,
        "get_many": lambda keys: loop.texts(client.get_multi(keys)),
        "set_many": lambda values: client.set_multi(values) == [],
        "delete_many": client.delete_multi,
        "incr": lambda key, delta: client.incr(key, delta), "decr": lambda key, delta: client.decr(key, delta),
        "incr_initial": lambda key, delta, initial: client.incr(key, delta, default=initial),
        "flush": client.flush_all, "stats": stats, "typed": typed,
    }
    for name in ("set", "add", "replace"):
        ops[name] = store(name)
    loop.run(f"bmemcached {getattr(bmemcached, '__version__', '')}".strip(), ops)


main()
