#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pylibmc: Python over libmemcached, text or binary."""
import sys

import loop

try:
    import pylibmc
except ImportError:
    loop.missing("python3-pylibmc")


def main():
    client = pylibmc.Client([f"{sys.argv[1]}:{sys.argv[2]}"], binary="binary" in sys.argv,
                            behaviors={"cas": True, "tcp_nodelay": True, "retry_timeout": 1, "dead_timeout": 1})

    def store(name):
        def ask(key, value, exptime):
            try:
                return getattr(client, name)(key, value, exptime)
            except pylibmc.NotFound:  # replace, by the binary protocol
                return False
        return ask

    def count(name):
        def ask(key, delta):
            try:
                return getattr(client, name)(key, delta)
            except pylibmc.NotFound:
                return None
        return ask

    def cas(key, value, unique):
        try:
            return client.cas(key, value, unique)
        except pylibmc.NotFound:
            return False

    def typed():
        kept = {"int": 12345, "bool": True, "object": {"a": [1, 2, 3]}, "text": "ö"}
        client.set_multi(kept)
        return client.get_multi(list(kept)) == kept

    def stats():
        return {name.decode() if isinstance(name, bytes) else name:
                value.decode() if isinstance(value, bytes) else value
                for name, value in client.get_stats()[0][1].items()}

    unique = loop.Cas(lambda key: client.gets(key), cas)
    ops = {
        "get": lambda key: client.get(key), "delete": lambda key: client.delete(key), "gets": unique.gets, "cas": unique.cas,
        "get_many": lambda keys: loop.texts(client.get_multi(keys)),
        "set_many": lambda values: client.set_multi(values) == [],
        "delete_many": lambda keys: client.delete_multi(keys),
        "incr": count("incr"), "decr": count("decr"),
        "touch": lambda key, exptime: client.touch(key, exptime),
        "flush": client.flush_all, "stats": stats, "typed": typed,
    }
    for name in ("set", "add", "replace"):
        ops[name] = store(name)
    for name in ("append", "prepend"):
        ops[name] = lambda key, value, exptime=0, name=name: getattr(client, name)(key, value)
    loop.run(f"pylibmc {pylibmc.__version__}", ops)


main()
