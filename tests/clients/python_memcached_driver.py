#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""python-memcached: pure Python, the text protocol, the oldest of them."""
import sys

import loop

try:
    import memcache
except ImportError:
    loop.missing("python3-memcache")


def main():
    client = memcache.Client([f"{sys.argv[1]}:{sys.argv[2]}"], cache_cas=True, dead_retry=1, server_max_value_length=0)

    def store(name):
        return lambda key, value, exptime=0: bool(getattr(client, name)(key, value, exptime))

    def delete(key):  # it does not tell whether there was one
        return client.get(key) is not None and client.delete(key) == 1

    def delete_many(keys):
        return client.delete_multi(keys) == 1

    def cas(key, value, exptime):  # it remembers the unique by itself
        return bool(client.cas(key, value, exptime))

    def flush():
        client.flush_all()
        return True

    def typed():
        kept = {"int": 12345, "bool": True, "object": {"a": [1, 2, 3]}, "text": "ö", "long": "x" * 5000}
        client.set_multi(kept, min_compress_len=1000)
        return client.get_multi(list(kept)) == kept

    def own():
        client.set_multi({"1": b"a", "2": b"b"}, key_prefix="many-")
        return client.get_multi(["1", "2"], key_prefix="many-") == {"1": b"a", "2": b"b"}

    ops = {
        "get": client.get, "delete": delete, "gets": client.gets, "cas": cas,
        "get_many": lambda keys: loop.texts(client.get_multi(keys)),
        "set_many": lambda values: client.set_multi(values) == [], "delete_many": delete_many,
        "incr": client.incr, "decr": client.decr,
        "touch": lambda key, exptime: client.touch(key, exptime) == 1,
        "flush": flush, "stats": lambda: client.get_stats()[0][1], "typed": typed, "own": own,
    }
    for name in ("set", "add", "replace", "append", "prepend"):
        ops[name] = store(name)
    loop.run(f"python-memcached {memcache.__version__}", ops)


main()
