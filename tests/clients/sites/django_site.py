#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""django_site: pages, fragments, sessions and counters that Django keeps in memcached.

    django_site.py BACKEND HOST PORT     BACKEND: a class of django.core.cache.backends.memcached

It serves one request after the other, by Django's own WSGI application, and prints where.
"""
import logging
import sys
import warnings
from wsgiref.simple_server import WSGIRequestHandler, make_server

try:
    import django
except ImportError:
    print("python3-django is not installed", file=sys.stderr)
    sys.exit(77)
from django.conf import settings
from django.core.cache import cache
from django.http import HttpResponse, JsonResponse
from django.template import engines
from django.urls import path
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_headers

rendered = {"pages": 0, "fragments": 0}


@vary_on_headers("Accept-Language")
def page(request, name):
    rendered["pages"] += 1
    return HttpResponse(f"page {name}, rendered as number {rendered['pages']}\n" + name * 5000)


def count_fragment():
    rendered["fragments"] += 1
    return rendered["fragments"]


def fragment(request, name):
    template = engines["django"].from_string(
        "{% load cache %}{% cache 600 side name %}<b>{{ name }}</b> number {{ count }}{% endcache %}")
    return HttpResponse(template.render({"name": name, "count": count_fragment}))


def basket(request, thing):
    things = request.session.setdefault("things", [])
    things.append(thing)
    request.session.modified = True
    return HttpResponse(", ".join(things))


def leave(request):
    request.session.flush()
    return HttpResponse("bye")


def tried(step):
    try:
        return step()
    except Exception as error:  # what Django makes of the server's refusal is part of the page
        return type(error).__name__


def drawer(request):
    """Everything that Django's own interface to a cache has, once."""
    many = {f"many{i}": list(range(i)) for i in range(100)}
    steps = [
        ("none", lambda: cache.get("none", "missed")),
        ("set", lambda: cache.set("a", {"text": "grün", "number": 1.5, "none": None})),
        ("get", lambda: cache.get("a")),
        ("none kept", lambda: [cache.set("nothing", None), cache.get("nothing", "missed")]),
        ("add", lambda: [cache.add("a", 1), cache.add("b", 1)]),
        ("get_or_set", lambda: [cache.get_or_set("c", lambda: "made"), cache.get_or_set("c", lambda: "again")]),
        ("incr", lambda: [cache.set("n", 5), cache.incr("n"), cache.incr("n", 10), cache.decr("n", 3), cache.get("n")]),
        ("incr none", lambda: cache.incr("none")),
        ("set_many", lambda: cache.set_many(many)),
        ("get_many", lambda: cache.get_many([*many, "none"]) == many),
        ("delete_many", lambda: [cache.delete_many(["many1", "many2", "none"]), cache.get_many(["many1", "many3"])]),
        ("touch", lambda: [cache.touch("a", 700), cache.touch("none", 700)]),
        ("delete", lambda: [cache.delete("b"), cache.delete("b")]),
        ("versions", lambda: [cache.set("v", "old"), cache.incr_version("v"), cache.get("v"), cache.get("v", version=2)]),
        ("in", lambda: ["a" in cache, "none" in cache]),
        ("never", lambda: [cache.set("never", 1, timeout=None), cache.get("never")]),
        ("at once", lambda: [cache.set("gone", 1, timeout=0), cache.get("gone", "missed")]),
        ("a year", lambda: [cache.set("year", 1, timeout=365 * 86400), cache.get("year")]),
        ("long", lambda: [cache.set("long", "x" * 900000), len(cache.get("long", ""))]),
        ("too long", lambda: [cache.set("large", "x" * 2000000), cache.get("large", "missed")]),
        ("bad key", lambda: cache.set("a key", 1)),
        ("long key", lambda: cache.set("k" * 300, 1)),
        ("last key", lambda: [cache.set("k" * 240, 1), cache.get("k" * 240)]),
    ]
    return JsonResponse({name: tried(step) for name, step in steps}, json_dumps_params={"ensure_ascii": True})


def clear(request):
    cache.clear()
    return HttpResponse(str(cache.get("a", "missed")))


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    backend, host, port = sys.argv[1:]
    warnings.simplefilter("ignore")
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="for a test", ROOT_URLCONF=__name__, USE_TZ=True,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                    "django.middleware.http.ConditionalGetMiddleware"],
        CACHES={"default": {"BACKEND": f"django.core.cache.backends.memcached.{backend}",
                            "LOCATION": f"{host}:{port}"}})
    globals()["urlpatterns"] = [
        path("page/<name>", cache_page(600)(page)), path("fragment/<name>", fragment), path("basket/<thing>", basket),
        path("leave", leave), path("drawer", drawer), path("clear", clear)]
    django.setup()
    logging.disable(logging.CRITICAL)
    from django.core.wsgi import get_wsgi_application
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


main()
