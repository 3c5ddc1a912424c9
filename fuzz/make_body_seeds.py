#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus/server_DIALECT: the examples of the OpenAPI document, and bodies that
are wrong in ways of their own.

    python3 fuzz/make_body_seeds.py       # standard library only
"""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
CORPUS = ROOT / "fuzz/corpus"
DOCUMENT = json.loads((ROOT / "apps/server/web/openapi.json").read_text(encoding="utf-8"))


def resolved(part):
    if "$ref" not in part:
        return part
    out = DOCUMENT
    for key in part["$ref"][2:].split("/"):
        out = out[key]
    return out


def examples():
    """(path, body) of each example of a POST."""
    for path, methods in DOCUMENT["paths"].items():
        if "requestBody" not in methods.get("post", {}):
            continue
        body = resolved(methods["post"]["requestBody"])["content"]["application/json"]
        given = [body["example"]] if "example" in body else [e["value"] for e in body["examples"].values()]
        for example in given:
            yield path, json.dumps({key: value for key, value in example.items() if key != "model"})


def nasty():
    options = {"top_n": 1, "max_length": 9, "query_max_length": 2, "long": "chunk", "priority": -1,
               "timeout_ms": 60000, "return_documents": True, "raw_scores": True, "truncation_side": "left",
               "max_tokens_per_doc": 3, "truncate_prompt_tokens": -1, "max_doc_length": None}
    documents = ["", "a b c d e f g h i j k l m n o p q r s t u v w x y z", {"text": "b", "title": "T"}]
    yield "/v1/rerank", json.dumps({"query": "a", "documents": documents, **options})
    yield "/v1/rerank", json.dumps({"query": "a", "documents": [{"x": "1", "y": "2"}], "rank_fields": ["x", "y"],
                                    "top_k": 1, "truncation": True})
    yield "/v1/rerank", '{"query":"a","query":"b","documents":["c"]}'
    yield "/v1/rerank", '{"query":"\\ud800","documents":["c"]}'
    yield "/v1/rerank", "[" * 300
    yield "/v1/rerank", '{"query":"a","documents":["b"],"top_n":18446744073709551615}'
    yield "/v1/embeddings", json.dumps({"input": [0, 5, 2], "encoding_format": "base64", "dimensions": 4})
    yield "/v1/embeddings", json.dumps({"input": [[0, 2], [0, 1, 2]]})
    yield "/v1/embeddings", json.dumps({"input": [0, -1, 2.5, 99999999999, 2]})
    yield "/v2/embed", json.dumps({"texts": ["a"], "output_dimension": 3, "truncate": "START", "max_tokens": 2,
                                   "embedding_types": ["float", "int8", "uint8", "binary", "ubinary", "base64"]})
    yield "/predict", json.dumps({"inputs": [["a"], ["b", "c"]]})
    yield "/decode", json.dumps({"ids": [[0, 2], [2000000000]], "skip_special_tokens": False})
    yield "/v1/hybrid", json.dumps({"pairs": [["a", "b"]], "weights": [1e308, 1e308, 1e-308]})
    for path in ("/rerank", "/reranking"):
        yield path, json.dumps({"query": "a", "documents": documents, "top_n": 2, "return_text": True})
        yield path, json.dumps({"query": "a", "texts": ["b", ""], "raw_scores": True, "return_text": True})
        yield path, json.dumps({"query": "a", "texts": ["b"], "documents": ["b"]})
        yield path, '{"query":null,"documents":{}}'
    yield "/v2/rerank", json.dumps({"query": "a", "documents": documents, "top_n": 0, "max_tokens_per_doc": 1})
    yield "/v2/rerank", '{"query":"a","documents":[1e999,NaN]}'
    yield "/v1/embed", json.dumps({"texts": ["a", ""], "input_type": "search_query", "truncate": "NONE"})


def dialects(path):
    """As fuzz/server_body_fuzz.cc has them."""
    last = path.rsplit("/", 1)[-1]
    if path in ("/rerank", "/reranking"):
        return ["tei", "llamacpp"]
    if path in ("/v1/embed", "/v2/embed", "/v2/rerank"):
        return ["cohere"]
    if last == "embeddings":
        return ["openai"]
    if last in ("rerank", "reranking", "ranking"):
        return ["jina"]
    if path in ("/v1/score", "/v1/encode", "/v1/hybrid"):
        return ["own"]
    return ["tei"] if path.count("/") == 1 else []  # what remains changes models


def main():
    seeds = {}
    for path, body in [*examples(), *nasty()]:
        for dialect in dialects(path):
            seeds.setdefault(dialect, []).append((path, body))
    for dialect, bodies in seeds.items():
        folder = CORPUS / f"server_{dialect}"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for number, (path, body) in enumerate(bodies):
            (folder / f"{number:02}{path.replace('/', '_')}").write_bytes(f"{path}\n{body}".encode())


if __name__ == "__main__":
    main()
