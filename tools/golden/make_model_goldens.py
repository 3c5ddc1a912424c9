#!/usr/bin/env python3
"""Makes the tiny models under tests/fixtures/models and their golden values.

    PYTHON tools/golden/make_model_goldens.py [NAME ...]

PYTHON needs torch, transformers, tokenizers, numpy and safetensors; the versions used are written
into every golden.json. Each fixture is a complete Hugging Face directory with random weights from a
seed (spread widely enough that scores differ), a tiny tokenizer, and golden.json: what transformers
computes from it on the CPU in eager f32, and again in f64.

Pairs are cut as FlagReranker does it with transformers 4 (ids of the query to 3/4 of max_length,
then the passage's end); where that rule would leave a pair over-long, the query's end goes too.

The tokenizers are trained once (--train-tokenizers) and then kept in tests/fixtures/tokenizers,
since training need not be reproducible.
"""
from __future__ import annotations

import argparse
import copy
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM
from transformers import AutoModelForSequenceClassification

import texts

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
VERSIONS = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                         "tokenizers": tokenizers.__version__}}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Fixture:
    """One model directory. `heads` x head size = `hidden`; `positions` as in config.json."""
    name: str
    family: str                        # xlmr | bert
    kind: str                          # cross_encoder | bi_encoder
    hidden: int
    heads: int
    layers: int
    ffn: int
    dtype: str = "f32"
    eps: float = 1e-5
    positions: int = 66
    labels: tuple[str, ...] = ("LABEL_0",)
    pooling: str = ""                  # cls | mean | lasttoken
    normalize: bool = False
    storage: str = "safetensors"       # safetensors | sharded | torch
    extra_rows: int = 0                # rows of the word table beyond the tokenizer's ids
    drop_pooler: bool = False
    old_names: bool = False            # LayerNorm.gamma/beta
    masked_lm: bool = False            # a BertForMaskedLM checkpoint: "bert." prefix, cls.* tensors
    position_ids: bool = False         # the I64 buffer that old checkpoints carry
    m3: bool = False                   # with BGE-M3's colbert_linear.pt and sparse_linear.pt
    tokenizer: str = ""                # default: unigram for xlmr, wordpiece for bert
    seed: int = 1

    @property
    def usable(self) -> int:
        return self.positions - 2 if self.family == "xlmr" else self.positions

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer or ("unigram" if self.family == "xlmr" else "wordpiece")


FIXTURE_LIST = [
    Fixture("xlmr-ce", "xlmr", "cross_encoder", 32, 4, 2, 56, seed=11),
    Fixture("xlmr-ce-torch", "xlmr", "cross_encoder", 32, 4, 2, 56, storage="torch", seed=11),
    Fixture("xlmr-ce-sharded", "xlmr", "cross_encoder", 32, 2, 2, 40, storage="sharded",
            eps=1e-12, seed=12),
    Fixture("xlmr-ce-f16", "xlmr", "cross_encoder", 48, 3, 2, 96, "f16", eps=1e-12,
            positions=130, tokenizer="unigram-strip", seed=13),
    Fixture("xlmr-ce-bf16-labels3", "xlmr", "cross_encoder", 64, 2, 1, 128, "bf16",
            labels=("contradiction", "entailment", "neutral"), seed=14),
    Fixture("xlmr-ce-extra-rows", "xlmr", "cross_encoder", 48, 2, 3, 40, "f16", extra_rows=13,
            drop_pooler=True, seed=15),
    Fixture("xlmr-ce-long", "xlmr", "cross_encoder", 32, 1, 1, 48, "f16", positions=514, seed=16),
    Fixture("bert-ce", "bert", "cross_encoder", 32, 4, 2, 40, eps=1e-12, positions=64, seed=21),
    Fixture("bert-ce-labels2", "bert", "cross_encoder", 48, 2, 1, 64, "f16", eps=1e-12,
            positions=96, labels=("irrelevant", "relevant"), tokenizer="wordpiece-cased", seed=22),
    Fixture("bert-ce-old-names", "bert", "cross_encoder", 32, 2, 1, 40, eps=1e-12, positions=64,
            old_names=True, position_ids=True, seed=23),
    Fixture("xlmr-bi-cls-norm", "xlmr", "bi_encoder", 32, 2, 2, 64, "f16", pooling="cls",
            normalize=True, drop_pooler=True, tokenizer="unigram-strip", seed=31),
    Fixture("xlmr-bi-mean", "xlmr", "bi_encoder", 32, 4, 1, 64, pooling="mean", seed=32),
    Fixture("xlmr-bi-lasttoken-norm", "xlmr", "bi_encoder", 48, 3, 1, 40, "bf16",
            pooling="lasttoken", normalize=True, seed=33),
    Fixture("bert-bi-mean-norm", "bert", "bi_encoder", 32, 2, 2, 44, eps=1e-12, positions=64,
            pooling="mean", normalize=True, position_ids=True, seed=34),
    Fixture("bert-bi-cls", "bert", "bi_encoder", 32, 4, 1, 64, eps=1e-12, positions=64,
            pooling="cls", masked_lm=True, tokenizer="wordpiece-cased", seed=35),
    Fixture("xlmr-bi-mlm", "xlmr", "bi_encoder", 32, 2, 1, 48, "f16", pooling="mean",
            masked_lm=True, seed=36),
    Fixture("xlmr-m3", "xlmr", "bi_encoder", 32, 4, 2, 64, "f16", pooling="cls", normalize=True,
            positions=130, drop_pooler=True, m3=True, seed=41),
]


# --- tokenizers -----------------------------------------------------------------------------------

def special(content: str) -> tokenizers.AddedToken:
    return tokenizers.AddedToken(content, special=True, normalized=False,
                                 lstrip=content == "<mask>")


def train_unigram(strip: bool) -> Tokenizer:
    """XLM-R's ids and template; `strip` = bge-reranker-v2-m3's normaliser, else bge-m3's."""
    tokenizer = Tokenizer(models.Unigram())
    spaces = Regex(" {2,}")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(left=False, right=True), normalizers.Replace(spaces, "▁")] if strip
        else [normalizers.Replace(spaces, " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(texts.TRAINING, trainers.UnigramTrainer(
        vocab_size=360, special_tokens=names, unk_token="<unk>", show_progress=False,
        max_piece_length=8))
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"].append(["<mask>", 0.0])
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([special(name) for name in [*names, "<mask>"]])
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return tokenizer


def train_wordpiece(lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts.TRAINING, trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=names, show_progress=False))
    tokenizer.add_special_tokens([special(name) for name in names])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


TRAINERS = {
    "unigram": lambda: train_unigram(strip=False),
    "unigram-strip": lambda: train_unigram(strip=True),
    "wordpiece": lambda: train_wordpiece(lowercase=True),
    "wordpiece-cased": lambda: train_wordpiece(lowercase=False),
}


def load_tokenizer(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(FIXTURES / "tokenizers" / f"{name}.json"))


def tokenizer_configs(fixture: Fixture) -> dict[str, dict]:
    if fixture.family == "xlmr":
        tokens = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
                  "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
        extra = {"tokenizer_class": "XLMRobertaTokenizer"}
    else:
        tokens = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]",
                  "unk_token": "[UNK]", "mask_token": "[MASK]"}
        extra = {"tokenizer_class": "BertTokenizer", "tokenize_chinese_chars": True,
                 "strip_accents": None, "do_lower_case": fixture.tokenizer_name == "wordpiece"}
    return {"tokenizer_config.json": {**tokens, **extra, "model_max_length": fixture.usable},
            "special_tokens_map.json": tokens}


# --- models ---------------------------------------------------------------------------------------

def make_config(fixture: Fixture, vocab: int):
    xlmr = fixture.family == "xlmr"
    head = {"cross_encoder": "ForSequenceClassification", "bi_encoder": "Model"}[fixture.kind]
    if fixture.masked_lm:
        head = "ForMaskedLM"
    return AutoConfig.for_model(
        "xlm-roberta" if xlmr else "bert", hidden_size=fixture.hidden,
        num_attention_heads=fixture.heads, num_hidden_layers=fixture.layers,
        intermediate_size=fixture.ffn, layer_norm_eps=fixture.eps, vocab_size=vocab,
        max_position_embeddings=fixture.positions, type_vocab_size=1 if xlmr else 2,
        hidden_act="gelu", pad_token_id=1 if xlmr else 0, bos_token_id=0 if xlmr else None,
        eos_token_id=2 if xlmr else None,
        architectures=[("XLMRoberta" if xlmr else "Bert") + head],
        id2label=dict(enumerate(fixture.labels)),
        label2id={label: i for i, label in enumerate(fixture.labels)},
        dtype=str(DTYPES[fixture.dtype]).removeprefix("torch."))


def randomize(model: torch.nn.Module, fixture: Fixture) -> None:
    """Seeded weights, rounded to the storage type, so that f32 and stored weights are equal."""
    generator = torch.Generator().manual_seed(fixture.seed)

    def normal(like: torch.Tensor, mean: float, std: float) -> torch.Tensor:
        return mean + std * torch.randn(like.shape, generator=generator)

    for name, parameter in sorted(model.named_parameters()):
        if "LayerNorm" in name:
            value = normal(parameter, 1.0, 0.2) if name.endswith("weight") else normal(
                parameter, 0.0, 0.1)
        elif name.endswith("bias"):
            value = normal(parameter, 0.0, 0.1)
        elif "embeddings" in name:
            value = normal(parameter, 0.0, 0.5)
        elif "query" in name or "key" in name:
            value = normal(parameter, 0.0, 0.3)
        elif "out_proj" in name or name == "classifier.weight":
            value = normal(parameter, 0.0, 0.5)
        else:
            value = normal(parameter, 0.0, 0.2)
        parameter.data.copy_(value.to(DTYPES[fixture.dtype]).float())


def stored_tensors(model: torch.nn.Module, fixture: Fixture) -> dict[str, torch.Tensor]:
    out = {}
    for name, parameter in model.named_parameters():
        if fixture.drop_pooler and "pooler" in name:
            continue
        if fixture.old_names:
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta")
        out[name] = parameter.detach().to(DTYPES[fixture.dtype]).clone().contiguous()
    if fixture.position_ids:
        prefix = "" if fixture.kind == "bi_encoder" else "bert."
        out[prefix + "embeddings.position_ids"] = torch.arange(fixture.positions)[None]
    return out


def write_weights(tensors: dict[str, torch.Tensor], fixture: Fixture, folder: Path) -> None:
    metadata = {"format": "pt"}
    if fixture.storage == "torch":
        torch.save(tensors, folder / "pytorch_model.bin")
    elif fixture.storage == "sharded":
        names, shards = sorted(tensors), 3
        weight_map = {}
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = {name: tensors[name] for name in names[i::shards]}
            save_file(part, folder / file, metadata=metadata)
            weight_map.update({name: file for name in part})
        total = sum(t.numel() * t.element_size() for t in tensors.values())
        write_json(folder / "model.safetensors.index.json", {
            "metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
    else:
        save_file(tensors, folder / "model.safetensors", metadata=metadata)


def write_m3_heads(fixture: Fixture, folder: Path) -> None:
    """Both as FlagEmbedding saves them: a state dict of an nn.Linear, f16."""
    generator = torch.Generator().manual_seed(fixture.seed + 1)
    for name, outputs in (("colbert_linear", fixture.hidden), ("sparse_linear", 1)):
        torch.save({"weight": (0.3 * torch.randn(outputs, fixture.hidden, generator=generator)).half(),
                    "bias": (0.1 * torch.randn(outputs, generator=generator)).half()},
                   folder / f"{name}.pt")


def sentence_transformer_files(fixture: Fixture) -> dict[str, object]:
    prefix = "sentence_transformers.models."
    modules = [{"idx": 0, "name": "0", "path": "", "type": prefix + "Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": prefix + "Pooling"}]
    if fixture.normalize:
        modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": prefix + "Normalize"})
    pooling = {"word_embedding_dimension": fixture.hidden}
    for mode, key in (("cls", "cls_token"), ("mean", "mean_tokens"), ("max", "max_tokens"),
                      ("mean_sqrt", "mean_sqrt_len_tokens"), ("lasttoken", "lasttoken")):
        pooling[f"pooling_mode_{key}"] = mode == fixture.pooling
    return {"modules.json": modules, "1_Pooling/config.json": pooling,
            "sentence_bert_config.json": {"max_seq_length": fixture.usable, "do_lower_case": False}}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# --- golden values --------------------------------------------------------------------------------

@dataclass
class Input:
    ids: list[int]
    type_ids: list[int]
    truncated: bool


class Templates:
    """A tokenizer with truncation on ids: one text, or a pair by FlagReranker's rule."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.open, self.close = tokenizer.encode("").ids
        self.pair_specials = len(tokenizer.encode("", "").ids)
        self.second_type = tokenizer.encode("", "").type_ids[-1]

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def single(self, text: str, max_length: int) -> Input:
        ids = self.ids(text)
        kept = ids[:max_length - 2]
        out = [self.open, *kept, self.close]
        return Input(out, [0] * len(out), len(kept) < len(ids))

    def pair(self, query: str, passage: str, max_length: int) -> Input:
        query_ids, passage_ids = self.ids(query), self.ids(passage)
        room = max_length - self.pair_specials
        kept_query = query_ids[:min(max_length * 3 // 4, room)]
        kept_passage = passage_ids[:room - len(kept_query)]
        first = [self.open, *kept_query, *[self.close] * (self.pair_specials - 2)]
        second = [*kept_passage, self.close]
        truncated = len(kept_query) < len(query_ids) or len(kept_passage) < len(passage_ids)
        return Input(first + second, [0] * len(first) + [self.second_type] * len(second), truncated)


def check_templates(templates: Templates) -> None:
    """What is not cut must be what `tokenizers` itself makes of it."""
    for query, passage in texts.PAIRS:
        ours = templates.pair(query, passage, 10 ** 6)
        theirs = templates.tokenizer.encode(query, passage)
        assert (ours.ids, ours.type_ids) == (theirs.ids, theirs.type_ids), (query, passage)
        assert templates.single(query, 10 ** 6).ids == templates.tokenizer.encode(query).ids


def pool(hidden: torch.Tensor, pooling: str, normalize: bool) -> torch.Tensor:
    """Hidden states [tokens, hidden] of one text to its embedding [hidden]."""
    out = {"cls": lambda: hidden[0], "mean": lambda: hidden.mean(0),
           "lasttoken": lambda: hidden[-1]}[pooling]()
    return out / out.norm().clamp_min(1e-12) if normalize else out


def model_arguments(item: Input, with_types: bool) -> dict[str, torch.Tensor]:
    arguments = {"input_ids": torch.tensor([item.ids]),
                 "attention_mask": torch.ones(1, len(item.ids), dtype=torch.long)}
    if with_types:
        arguments["token_type_ids"] = torch.tensor([item.type_ids])
    return arguments


def forward(model: torch.nn.Module, item: Input, fixture: Fixture) -> torch.Tensor:
    with torch.no_grad():
        out = model(**model_arguments(item, fixture.family == "bert"))
    if fixture.kind == "cross_encoder":
        return out.logits[0]
    return pool(out.last_hidden_state[0], fixture.pooling, fixture.normalize)


def numbers(values: torch.Tensor) -> list[float]:
    """f32 with the 9 digits that name it exactly, f64 with 12."""
    digits = 9 if values.dtype == torch.float32 else 12
    return [float(f"{value:.{digits}g}") for value in values.tolist()]


def write_golden(path: Path, head: dict, cases: list[dict]) -> None:
    """One line a case, so that a change is readable."""
    lines = ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in cases)
    start = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    path.write_text(f'{start},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def make_cases(model: torch.nn.Module, tokenizer: Tokenizer, fixture: Fixture) -> list[dict]:
    templates = Templates(tokenizer)
    check_templates(templates)
    cases = []
    if fixture.kind == "cross_encoder":
        wanted = [(pair, fixture.usable) for pair in texts.PAIRS]
        wanted += [(texts.PAIRS[0], 16), (texts.PAIRS[21], 16), (texts.PAIRS[23], 13),
                   (texts.PAIRS[23], 32)]
        if fixture.usable > 256:  # attention over many row blocks, and a cut at the far end
            wanted += [((texts.ENGLISH, " ".join(texts.TRAINING)), fixture.usable),
                       ((texts.GERMAN, " ".join(texts.TRAINING)[:900]), fixture.usable)]
    else:
        wanted = [(text, fixture.usable) for text in texts.TEXTS] + [(texts.ENGLISH, 16)]
    double = copy.deepcopy(model).double()
    key = "logits" if fixture.kind == "cross_encoder" else "embedding"
    for text, max_length in wanted:
        if fixture.kind == "cross_encoder":
            case = {"query": text[0], "passage": text[1]}
            item = templates.pair(*text, max_length)
        else:
            case = {"text": text}
            item = templates.single(text, max_length)
        case |= {"max_length": max_length, "truncated": item.truncated, "ids": item.ids}
        if fixture.family == "bert":
            case["type_ids"] = item.type_ids
        case[key] = numbers(forward(model, item, fixture))
        reference = forward(double, item, fixture)
        if fixture.kind == "cross_encoder":
            case["logits_f64"] = numbers(reference)
        error = (torch.tensor(case[key], dtype=torch.float64) - reference).abs().max().item()
        assert error < 2e-5, (fixture.name, text, error)
        cases.append(case)
    return cases


def check_reload(folder: Path, model: torch.nn.Module, fixture: Fixture, item: Input) -> str:
    """How far the model is from what transformers reads out of the directory."""
    auto = AutoModelForSequenceClassification if fixture.kind == "cross_encoder" else AutoModel
    again = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    difference = (forward(again, item, fixture) - forward(model, item, fixture)).abs().max().item()
    return f"reload differs by {difference:.1e}"


def make(fixture: Fixture) -> None:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(fixture.tokenizer_name)
    vocab = tokenizer.get_vocab_size() + fixture.extra_rows
    config = make_config(fixture, vocab)
    config._attn_implementation = "eager"
    auto = (AutoModelForSequenceClassification if fixture.kind == "cross_encoder" else
            AutoModelForMaskedLM if fixture.masked_lm else AutoModel)
    stored = auto.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    randomize(stored, fixture)
    model = stored.base_model if fixture.masked_lm else stored

    config.dtype = DTYPES[fixture.dtype]

    folder = FIXTURES / "models" / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json",
               {key: value for key, value in config.to_dict().items() if value is not None})
    shutil.copyfile(FIXTURES / "tokenizers" / f"{fixture.tokenizer_name}.json",
                    folder / "tokenizer.json")
    for name, value in tokenizer_configs(fixture).items():
        write_json(folder / name, value)
    if fixture.kind == "bi_encoder":
        for name, value in sentence_transformer_files(fixture).items():
            write_json(folder / name, value)
    write_weights(stored_tensors(stored, fixture), fixture, folder)
    if fixture.m3:
        write_m3_heads(fixture, folder)

    cases = make_cases(model, tokenizer, fixture)
    golden = {"made_by": "tools/golden/make_model_goldens.py", "kind": fixture.kind, **VERSIONS,
              "arithmetic": "f32 on the CPU, eager attention, one input at a time"}
    if fixture.kind == "cross_encoder":
        golden["labels"] = list(fixture.labels)
    else:
        golden |= {"pooling": fixture.pooling, "normalized": fixture.normalize}
    write_golden(folder / "golden.json", golden, cases)

    item = Input(cases[0]["ids"], cases[0].get("type_ids", []), False)
    reload = check_reload(folder, model, fixture, item)
    key = "logits" if fixture.kind == "cross_encoder" else "embedding"
    first = torch.tensor([case[key][0] for case in cases])
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{fixture.name:24} {size:7} bytes, {len(cases)} cases, first value {first.min():.2f} to "
          f"{first.max():.2f}, sd {first.std():.2f}; {reload}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: all fixtures")
    parser.add_argument("--train-tokenizers", action="store_true")
    args = parser.parse_args()
    known = {fixture.name: fixture for fixture in FIXTURE_LIST}
    if unknown := [name for name in args.names if name not in known]:
        sys.exit(f"unknown fixtures: {', '.join(unknown)}; known: {', '.join(known)}")
    (FIXTURES / "tokenizers").mkdir(parents=True, exist_ok=True)
    for name, train in TRAINERS.items():
        path = FIXTURES / "tokenizers" / f"{name}.json"
        if args.train_tokenizers or not path.exists():
            path.write_text(json.dumps(json.loads(train().to_str()), ensure_ascii=False) + "\n",
                            encoding="utf-8")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name in args.names or known:
        make(known[name])


if __name__ == "__main__":
    main()
