"""Adapters to libraries that people already use; each needs its library and nothing else.

tamis.integrations.langchain      TamisCompressor, TamisEmbeddings
tamis.integrations.llama_index    TamisPostprocessor, TamisEmbedding
tamis.integrations.haystack       TamisRanker, TamisTextEmbedder, TamisDocumentEmbedder
tamis.integrations.rerankers      TamisRanker
tamis.integrations.cross_encoder  CrossEncoder, with sentence-transformers' methods

Each takes a model (a directory or a name of the hub, with the options of tamis.Reranker or
tamis.Embedder) or one that is loaded already.
"""
