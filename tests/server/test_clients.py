"""The server with the clients that people have: those of Cohere, OpenAI, Voyage and infinity, and what LangChain,
LlamaIndex and Haystack have for these services and for Jina and TEI; none is told that it is not the
service itself. ./run test puts them into .cache/adapters; one that is not there skips its tests.

Scores are compared with the server's own route, whose numbers tests/server/routes compares with the
library's."""
import base64
import struct
import sys

import pytest

from conftest import FIXTURES, ROOT, Server

if str(ROOT / ".cache" / "adapters") not in sys.path:
    sys.path.append(str(ROOT / ".cache" / "adapters"))

QUERY = "what is a tamis"
DOCUMENTS = ["a drum sieve", "the sky", "fine horsehair", ""]
KEY = "a-key-of-a-user"


@pytest.fixture(scope="module")
def server():
    with Server("--model", FIXTURES / "xlmr-ce", "--model", FIXTURES / "xlmr-m3",
                env={"TAMIS_SERVE_API_KEY": KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def order(server):
    """[(index, score)] as the server's own route has them, best first."""
    answer = server.post("/v1/score", {"model": "xlmr-ce", "query": QUERY, "passages": DOCUMENTS},
                         headers={"x-api-key": KEY})
    return [(r["index"], r["score"]) for r in answer.json["results"]]


@pytest.fixture(scope="module")
def vectors(server):
    answer = server.post("/v1/encode", {"model": "xlmr-m3", "texts": DOCUMENTS[:3]},
                         headers={"x-api-key": KEY})
    return [d["dense"] for d in answer.json["data"]]


def same_order(got, order):
    assert [i for i, _ in got] == [i for i, _ in order]
    assert [s for _, s in got] == pytest.approx([s for _, s in order], abs=1e-6)


def same_vectors(got, want, tolerance=1e-6):
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert list(a) == pytest.approx(list(b), abs=tolerance)


# Cohere

@pytest.fixture(scope="module", params=["v1", "v2"])
def cohere_client(request, server):
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    make = cohere.Client if request.param == "v1" else cohere.ClientV2
    return make(api_key=KEY, base_url=server.url)


def test_cohere_reranks(cohere_client, order):
    response = cohere_client.rerank(model="xlmr-ce", query=QUERY, documents=DOCUMENTS)
    same_order([(r.index, r.relevance_score) for r in response.results], order)
    assert response.id and response.meta.billed_units.search_units == 1
    response = cohere_client.rerank(model="xlmr-ce", query=QUERY, documents=DOCUMENTS, top_n=2)
    same_order([(r.index, r.relevance_score) for r in response.results], order[:2])


def test_cohere_returns_documents_when_asked(server, order):
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    client = cohere.Client(api_key=KEY, base_url=server.url)
    response = client.rerank(model="xlmr-ce", query=QUERY, documents=DOCUMENTS, return_documents=True)
    assert [r.document.text for r in response.results] == [DOCUMENTS[i] for i, _ in order]


def test_cohere_embeds(server, vectors):
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    client = cohere.ClientV2(api_key=KEY, base_url=server.url)
    response = client.embed(model="xlmr-m3", texts=DOCUMENTS[:3], input_type="search_document",
                            embedding_types=["float", "int8", "ubinary"])
    same_vectors(response.embeddings.float_, vectors)
    assert len(response.embeddings.int8[0]) == len(vectors[0])


def test_cohere_is_told_what_is_wrong(server):
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    with pytest.raises(cohere.core.ApiError) as error:
        cohere.ClientV2(api_key=KEY, base_url=server.url).rerank(
            model="no-such-model", query=QUERY, documents=DOCUMENTS)
    assert error.value.status_code == 404 and "xlmr-ce" in str(error.value.body)
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2(api_key="not-the-key", base_url=server.url).rerank(
            model="xlmr-ce", query=QUERY, documents=DOCUMENTS)


# OpenAI

@pytest.fixture(scope="module")
def openai_client(server):
    openai = pytest.importorskip("openai", reason="openai is not installed")
    return openai.OpenAI(api_key=KEY, base_url=server.url + "/v1", max_retries=0)


def test_openai_embeds_in_base64_as_it_does_by_default(openai_client, vectors):
    response = openai_client.embeddings.create(model="xlmr-m3", input=DOCUMENTS[:3])
    same_vectors([d.embedding for d in response.data], vectors)
    assert response.usage.total_tokens > 0 and [d.index for d in response.data] == [0, 1, 2]


def test_openai_embeds_in_floats_and_one_text(openai_client, vectors):
    response = openai_client.embeddings.create(model="xlmr-m3", input=DOCUMENTS[0],
                                               encoding_format="float")
    same_vectors([response.data[0].embedding], vectors[:1])


def test_openai_dimensions(openai_client):
    response = openai_client.embeddings.create(model="xlmr-m3", input=DOCUMENTS[:1], dimensions=8)
    assert len(response.data[0].embedding) == 8
    assert sum(x * x for x in response.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_base64_is_little_endian_f32(server, vectors):
    answer = server.post("/v1/embeddings", {"model": "xlmr-m3", "input": DOCUMENTS[0],
                                            "encoding_format": "base64"}, headers={"x-api-key": KEY})
    data = base64.b64decode(answer.json["data"][0]["embedding"])
    same_vectors([struct.unpack(f"<{len(data) // 4}f", data)], vectors[:1])


def test_openai_lists_models(openai_client):
    assert {m.id for m in openai_client.models.list()} == {"xlmr-ce", "xlmr-m3"}
    assert openai_client.models.retrieve("xlmr-m3").id == "xlmr-m3"


def test_openai_is_told_what_is_wrong(server, openai_client):
    import openai
    with pytest.raises(openai.NotFoundError) as error:
        openai_client.embeddings.create(model="no-such-model", input="a")
    assert "xlmr-m3" in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.embeddings.create(model="xlmr-ce", input="a")
    assert "vector" in error.value.message
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="not-the-key", base_url=server.url + "/v1").models.list()


# Voyage

def test_voyage_reranks_and_embeds(server, order, vectors):
    voyageai = pytest.importorskip("voyageai", reason="voyageai is not installed")
    client = voyageai.Client(api_key=KEY, base_url=server.url + "/v1")
    response = client.rerank(QUERY, DOCUMENTS, model="xlmr-ce", top_k=3)
    same_order([(r.index, r.relevance_score) for r in response.results], order[:3])
    assert response.total_tokens > 0
    same_vectors(client.embed(DOCUMENTS[:3], model="xlmr-m3").embeddings, vectors)


# infinity

@pytest.fixture(scope="module")
def infinity(server):
    package = pytest.importorskip("infinity_client", reason="infinity_client is not installed")
    return package.AuthenticatedClient(base_url=server.url, token=KEY, raise_on_unexpected_status=True)


def test_infinity_reranks(infinity, order):
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput
    answer = rerank.sync(client=infinity, body=RerankInput(model="xlmr-ce", query=QUERY, documents=DOCUMENTS))
    same_order([(r.index, r.relevance_score) for r in answer.results], order)
    assert answer.model == "xlmr-ce" and answer.usage.total_tokens > 0
    answer = rerank.sync(client=infinity, body=RerankInput(model="xlmr-ce", query=QUERY, documents=DOCUMENTS,
                                                           top_n=2, return_documents=True))
    same_order([(r.index, r.relevance_score) for r in answer.results], order[:2])
    assert [r.document for r in answer.results] == [DOCUMENTS[i] for i, _ in order[:2]]


def test_infinity_embeds(infinity, vectors):
    from infinity_client.api.default import embeddings
    from infinity_client.models import OpenAIEmbeddingInputText
    answer = embeddings.sync(client=infinity, body=OpenAIEmbeddingInputText(model="xlmr-m3", input_=DOCUMENTS[:3]))
    same_vectors([d.embedding for d in answer.data], vectors)
    assert answer.usage.total_tokens > 0


# LangChain

def test_langchain_cohere_rerank(server, order):
    pytest.importorskip("langchain_cohere", reason="langchain-cohere is not installed")
    import cohere
    from langchain_cohere import CohereRerank
    ranker = CohereRerank(model="xlmr-ce", cohere_api_key=KEY, top_n=3,
                          client=cohere.ClientV2(api_key=KEY, base_url=server.url))
    same_order([(r["index"], r["relevance_score"]) for r in ranker.rerank(DOCUMENTS, QUERY)], order[:3])


def test_langchain_openai_embeddings(server, vectors):
    pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    from langchain_openai import OpenAIEmbeddings
    embeddings = OpenAIEmbeddings(model="xlmr-m3", api_key=KEY, base_url=server.url + "/v1",
                                  check_embedding_ctx_length=False)
    same_vectors(embeddings.embed_documents(DOCUMENTS[:3]), vectors)


def test_ids_of_another_vocabulary_are_refused_and_the_switch_is_named(openai_client):
    """What LangChain sends by default: ids of OpenAI's own tokenizer."""
    import openai
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.embeddings.create(model="xlmr-m3", input=[[64, 24074, 50776]])
    assert "check_embedding_ctx_length=False" in error.value.message


# LlamaIndex

def test_llama_index_tei_rerank(server, order):
    pytest.importorskip("llama_index.postprocessor.tei_rerank",
                        reason="llama-index-postprocessor-tei-rerank is not installed")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
    ranker = TextEmbeddingInference(base_url=server.url, top_n=4, auth_token=KEY, model_name="xlmr-ce")
    nodes = [NodeWithScore(node=TextNode(text=t, id_=str(i)), score=0) for i, t in enumerate(DOCUMENTS)]
    got = ranker.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    same_order([(int(n.node.id_), n.score) for n in got], order)


def test_llama_index_openai_like_embeddings(server, vectors):
    pytest.importorskip("llama_index.embeddings.openai_like",
                        reason="llama-index-embeddings-openai-like is not installed")
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding
    model = OpenAILikeEmbedding(model_name="xlmr-m3", api_base=server.url + "/v1", api_key=KEY)
    same_vectors(model.get_text_embedding_batch(DOCUMENTS[:3]), vectors)


# Haystack

def test_haystack_jina_ranker(server, order):
    pytest.importorskip("haystack_integrations.components.rankers.jina",
                        reason="jina-haystack is not installed")
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker
    ranker = JinaRanker(model="xlmr-ce", api_key=Secret.from_token(KEY), base_url=server.url + "/v1/rerank")
    result = ranker.run(query=QUERY, documents=[Document(content=t) for t in DOCUMENTS])
    got = [(DOCUMENTS.index(d.content), d.score) for d in result["documents"]]
    same_order(got, order)


def test_haystack_openai_embedder(server, vectors):
    pytest.importorskip("haystack", reason="haystack-ai is not installed")
    from haystack.components.embedders import OpenAITextEmbedder
    from haystack.utils import Secret
    embedder = OpenAITextEmbedder(model="xlmr-m3", api_key=Secret.from_token(KEY),
                                  api_base_url=server.url + "/v1")
    same_vectors([embedder.run(DOCUMENTS[0])["embedding"]], vectors[:1])
