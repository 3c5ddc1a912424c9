"""Rerankers on many machines: a Ray Serve deployment on the Python package.

    serve run serve_app:app model=BAAI/bge-reranker-v2-m3 replicas=4 cpus=8 dtype=int8
    curl localhost:8000/v1/rerank -d '{"query": "a sieve", "documents": ["tamis", "sky"]}'

A replica loads the model once and answers many requests at a time: the engine joins what waits into
batches of its own, so that @serve.batch would only delay them. Other deployments call the handle:

    ranked = await handle.rerank.remote("a sieve", ["tamis", "sky"])

The package and the model have to be on each node: a path that all of them see, or a name of the
Hugging Face hub. On one machine `tamis serve` does the same and more, without Python.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

import tamis


@dataclass
class Refusal(Exception):
    """What a client is told."""

    status: int
    message: str


def strings(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise Refusal(400, f"{name}: expected a list of strings that is not empty")
    return value


def read(raw: bytes) -> dict[str, Any]:
    """query, documents and top_n of a body in the form of Jina and Cohere."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise Refusal(400, "query: expected a string")
    top_n = body.get("top_n")
    if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
        raise Refusal(400, "top_n: expected a whole number from 1")
    return {"query": body["query"], "passages": strings(body, "documents"), "top_n": top_n}


@serve.deployment
class Reranker:
    """One replica: one model on this node's cores. Scores are the package's own."""

    def __init__(self, model: str, threads: int, **options: Any) -> None:
        self.name = model
        self.model = tamis.Reranker(model, threads=threads, **options)
        self.model.warmup()  # a replica counts as ready when this has returned

    async def rerank(self, query: str, passages: list[str], top_n: int | None = None,
                     **options: Any) -> list[dict[str, Any]]:
        """[{"index", "relevance_score", "logit"}], best first."""
        ranked = await self.model.rerank_async(query, passages, top_n=top_n, **options)
        return [{"index": r.index, "relevance_score": r.score, "logit": r.logit} for r in ranked]

    async def __call__(self, request: Request) -> JSONResponse:
        if request.method != "POST" or request.url.path not in ("/rerank", "/v1/rerank", "/v2/rerank"):
            return JSONResponse({"message": "POST /v1/rerank is what there is"}, status_code=404)
        try:
            results = await self.rerank(**read(await request.body()))
        except Refusal as refusal:
            return JSONResponse({"message": refusal.message}, status_code=refusal.status)
        except tamis.InvalidArgumentError as error:
            return JSONResponse({"message": str(error)}, status_code=400)
        return JSONResponse({"model": self.name, "results": results})

    def check_health(self) -> None:
        """Ray Serve replaces a replica of which this raises."""
        if self.model.closed:
            raise RuntimeError("the model is closed")


def app(arguments: dict[str, str]) -> serve.Application:
    """model; replicas (1); cpus of each (1), which are its threads as well; ongoing (64) requests at a
    time of each; dtype; device ("cpu"). Autoscaling: give max_replicas, and replicas is where it starts."""
    known = {"model", "replicas", "max_replicas", "cpus", "ongoing", "dtype", "device"}
    if "model" not in arguments or not set(arguments) <= known:
        raise ValueError(f"arguments: expected model=DIR and any of {', '.join(sorted(known))}; "
                         f"got {', '.join(sorted(arguments)) or 'none'}")
    cpus = int(arguments.get("cpus", 1))
    replicas = int(arguments.get("replicas", 1))
    scale: dict[str, Any] = {"num_replicas": replicas}
    if "max_replicas" in arguments:
        scale = {"autoscaling_config": {"min_replicas": replicas, "target_ongoing_requests": 4,
                                        "max_replicas": int(arguments["max_replicas"])}}
    options = {name: arguments[name] for name in ("dtype", "device") if name in arguments}
    return Reranker.options(**scale, max_ongoing_requests=int(arguments.get("ongoing", 64)),
                            ray_actor_options={"num_cpus": cpus}).bind(
                                arguments["model"], threads=cpus, **options)
