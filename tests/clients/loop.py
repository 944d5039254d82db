# SPDX-License-Identifier: Apache-2.0
"""loop: what the drivers in Python share; steps.py says what they are."""
import base64
import json
import sys

SKIPPED = 77


def missing(what):
    print(f"{what} is not installed", file=sys.stderr)
    sys.exit(SKIPPED)


def run(name, ops):
    """Serve requests until there are no more. Each op is a function of the request."""
    print(json.dumps({"client": name, "ops": list(ops)}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "value" in request:
            request["value"] = base64.b64decode(request["value"])
        if "values" in request:
            request["values"] = {key: base64.b64decode(value) for key, value in request["values"].items()}
        try:
            answer = {"result": ops[request.pop("op")](**request)}
        except Exception as error:  # whatever the client raises is for the step to judge
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=text), flush=True)


def text(value):
    return base64.b64encode(value).decode("ascii")


def texts(values):
    return {key: text(value) for key, value in values.items()}


class Cas:
    """gets and cas of clients that hand the unique out: it is kept here between the two."""

    def __init__(self, gets, cas):
        self.ask, self.store = gets, cas
        self.unique = {}

    def gets(self, key):
        value, self.unique[key] = self.ask(key)
        return value

    def cas(self, key, value, exptime=0):
        return self.store(key, value, self.unique[key])
