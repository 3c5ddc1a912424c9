#!/usr/bin/env python3
"""Makes tests/golden/train.json and tests/fixtures/train: what torch and transformers give for gradients
and for whole runs of the tiny models, without dropout.

    PYTHON tools/golden/make_train_goldens.py

PYTHON needs torch, transformers and safetensors; their versions are written into the file. The losses are
written here from FlagEmbedding's definitions (AbsModeling.py, encoder_only/base/modeling.py): the group-wise
cross-entropy of rerankers with distillation, InfoNCE of embedders with its two distillations, Matryoshka.
Data are texts of our own. Each run takes all examples in each step, so that their order is no matter.
"""
from __future__ import annotations

import json
import random
from pathlib import Path

import safetensors.torch
import torch
import transformers
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/fixtures/models"
OUT = ROOT / "tests/fixtures/train"
STEPS, GROUP, QUERY_LEN, PASSAGE_LEN = 50, 4, 12, 30
WORDS = ("a tamis is a drum sieve of wood and cloth the cook rubs puree through fine mesh horsehair nylon steel "
         "flour sugar soup river mountain star engine model token batch query passage rank").split()


def examples(n=6):
    rng = random.Random(20261130)
    text = lambda low, high: " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))
    out = []
    for i in range(n):
        negatives = [text(2, 30) for _ in range(GROUP - 1)]
        out.append({"query": text(2, 9), "pos": [text(3, 40)], "neg": negatives,
                    "pos_scores": [round(rng.uniform(2, 6), 3)],
                    "neg_scores": [round(rng.uniform(-4, 3), 3) for _ in negatives]})
    return out


def load(name, kind, double=False):
    torch.manual_seed(0)
    model = kind.from_pretrained(MODELS / name, attn_implementation="eager")
    model = model.double() if double else model.float()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train(), transformers.AutoTokenizer.from_pretrained(MODELS / name)


def ids_of(tokenizer, text, limit):
    return tokenizer(text, add_special_tokens=False)["input_ids"][:limit]


def special(tokenizer):
    """Ids before, between and after the parts of a pair, and of a single text."""
    pair = tokenizer("a", "a")["input_ids"]
    a = tokenizer("a", add_special_tokens=False)["input_ids"]
    n = len(a)
    first = pair.index(a[0])
    second = pair.index(a[0], first + n)
    return pair[:first], pair[first + n:second], pair[second + n:]


def padded(tokenizer, rows):
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    types = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, (row, kinds) in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        types[i, :len(row)] = torch.tensor(kinds)
        mask[i, :len(row)] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def pairs(tokenizer, model, data):
    """[AbsRerankerTrainDataset.create_one_example]"""
    before, between, after = special(tokenizer)
    bert = model.config.model_type == "bert"
    rows = []
    for e in data:
        query = ids_of(tokenizer, e["query"], QUERY_LEN + PASSAGE_LEN // 4)
        for passage in e["pos"] + e["neg"]:
            p = ids_of(tokenizer, passage, PASSAGE_LEN + QUERY_LEN // 2)
            room = QUERY_LEN + PASSAGE_LEN - len(before + between + after) - len(query)
            p = p[:room]
            ids = before + query + between + p + after
            cut = len(before + query + between)
            rows.append((ids, [1 if bert and i >= cut else 0 for i in range(len(ids))]))
    return padded(tokenizer, rows)


def singles(tokenizer, texts, limit):
    before, _, after = special(tokenizer)
    room = limit - len(before + after)
    rows = [before + ids_of(tokenizer, t, room) + after for t in texts]
    return padded(tokenizer, [(r, [0] * len(r)) for r in rows])


def teacher(data):
    return torch.tensor([e["pos_scores"] + e["neg_scores"] for e in data], dtype=torch.double)


def reranker_loss(model, tokenizer, data, distil):
    logits = model(**pairs(tokenizer, model, data)).logits.view(-1, GROUP)
    loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
    if distil:
        target = torch.softmax(teacher(data), -1).to(logits.dtype)
        loss = loss - torch.mean(torch.sum(torch.log_softmax(logits, -1) * target, -1))
    return loss


def vectors(model, batch, pooling):
    hidden = model(**batch).last_hidden_state
    if pooling == "cls":
        return hidden[:, 0]
    mask = batch["attention_mask"][..., None].to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


def contrast(q, p, data, options):
    temperature = 0.05
    q, p = F.normalize(q, dim=-1), F.normalize(p, dim=-1)
    everything = q @ p.T / temperature
    own = torch.stack([everything[i, i * GROUP:(i + 1) * GROUP] for i in range(len(q))])
    if options.get("no_in_batch_neg"):
        scores, target = own, torch.zeros(len(q), dtype=torch.long)
    else:
        scores, target = everything, torch.arange(len(q)) * GROUP
    if options.get("kd") == "m3_kd_loss":
        t, loss, mask = torch.softmax(teacher(data), -1).to(q.dtype), 0.0, torch.zeros_like(scores)
        for i in range(GROUP):
            rows = F.cross_entropy(scores + mask, target + i, reduction="none")
            loss = loss + torch.mean(t[:, i] * rows)
            mask = mask.scatter(1, (target + i)[:, None], torch.finfo(scores.dtype).min)
        return loss
    loss = F.cross_entropy(scores, target)
    if options.get("kd") == "kl_div":
        t = torch.softmax(teacher(data), -1).to(q.dtype)
        loss = loss - torch.mean(torch.sum(torch.log_softmax(own, -1) * t, -1))
    return loss


def embedder_loss(model, tokenizer, data, options):
    q = vectors(model, singles(tokenizer, [e["query"] for e in data], QUERY_LEN), options["pooling"])
    p = vectors(model, singles(tokenizer, [t for e in data for t in e["pos"] + e["neg"]], PASSAGE_LEN),
                options["pooling"])
    dims = options.get("mrl") or [q.shape[-1]]
    return sum(contrast(q[:, :d], p[:, :d], data, options) for d in dims) / len(dims)


def m3_loss(model, tokenizer, data, options):
    """[finetune/embedder/encoder_only/m3/modeling.py], but that a query's token is not also matched with
    padding, whose score is 0."""
    temperature, heads = 0.05, model.m3_heads
    def encode(texts, limit):
        batch = singles(tokenizer, texts, limit)
        hidden = model(**batch).last_hidden_state
        weights = torch.relu(heads["sparse"](hidden))[..., 0] * batch["attention_mask"]
        lexical = torch.zeros((len(texts), model.config.vocab_size), dtype=hidden.dtype)
        rows = torch.zeros((len(texts), hidden.shape[1], model.config.vocab_size), dtype=hidden.dtype)
        lexical = rows.scatter(2, batch["input_ids"][..., None], weights[..., None]).max(1).values
        keep = torch.ones_like(lexical)
        keep[:, [tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id]] = 0
        vectors = F.normalize(heads["colbert"](hidden[:, 1:]), dim=-1)
        return F.normalize(hidden[:, 0], dim=-1), lexical * keep, vectors, batch["attention_mask"][:, 1:].bool()
    qd, qs, qc, qm = encode([e["query"] for e in data], QUERY_LEN)
    pd, ps, pc, pm = encode([t for e in data for t in e["pos"] + e["neg"]], PASSAGE_LEN)
    dense, sparse = qd @ pd.T / temperature, qs @ ps.T / temperature
    tokens = torch.einsum("qin,pjn->qipj", qc, pc).masked_fill(~pm[None, None], -torch.inf).max(-1).values
    colbert = (tokens * qm[..., None]).sum(1) / qm.sum(-1, keepdim=True) / temperature
    target = torch.arange(len(data)) * GROUP
    ensemble = dense + 0.3 * sparse + colbert
    parts = [F.cross_entropy(s, target) for s in (dense, ensemble, sparse, colbert)]
    loss = (parts[0] + parts[1] + 0.1 * parts[2] + parts[3]) / 4
    if options.get("self_distill"):
        t = torch.softmax(ensemble.detach(), -1)
        taught = [-torch.mean(torch.sum(torch.log_softmax(s, -1) * t, -1)) for s in (dense, sparse, colbert)]
        loss = (loss + (taught[0] + 0.1 * taught[1] + taught[2]) / 3) / 2
    return loss


def add_m3_heads(model, name):
    heads = torch.nn.ModuleDict()
    for key in ("sparse", "colbert"):
        state = torch.load(MODELS / name / f"{key}_linear.pt", weights_only=True)
        heads[key] = torch.nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
        heads[key].load_state_dict({k: v.float() for k, v in state.items()})
    model.m3_heads = heads.to(next(model.parameters()).dtype)


def loss_of(model, tokenizer, data, case):
    if case["task"] == "m3":
        return m3_loss(model, tokenizer, data, case)
    if case["task"] == "reranker":
        return reranker_loss(model, tokenizer, data, case.get("kd"))
    return embedder_loss(model, tokenizer, data, case)


CASES = [
    {"name": "xlmr-ce", "model": "xlmr-ce", "task": "reranker"},
    {"name": "bert-ce", "model": "bert-ce", "task": "reranker"},
    {"name": "xlmr-ce-kd", "model": "xlmr-ce", "task": "reranker", "kd": "kl_div"},
    {"name": "xlmr-cls", "model": "xlmr-bi-cls-norm", "task": "embedder", "pooling": "cls"},
    {"name": "bert-mean", "model": "bert-bi-mean-norm", "task": "embedder", "pooling": "mean"},
    {"name": "xlmr-kl", "model": "xlmr-bi-cls-norm", "task": "embedder", "pooling": "cls", "kd": "kl_div"},
    {"name": "xlmr-m3-kd", "model": "xlmr-bi-cls-norm", "task": "embedder", "pooling": "cls", "kd": "m3_kd_loss"},
    {"name": "xlmr-group", "model": "xlmr-bi-cls-norm", "task": "embedder", "pooling": "cls",
     "no_in_batch_neg": True},
    {"name": "m3", "model": "xlmr-m3", "task": "m3"},
    {"name": "m3-self", "model": "xlmr-m3", "task": "m3", "self_distill": True},
    {"name": "xlmr-mrl", "model": "xlmr-bi-cls-norm", "task": "embedder", "pooling": "cls", "mrl": [8, 32]},
]


def run(case, data):
    """Losses of STEPS steps of AdamW with warm-up, linear decay, weight decay and clipping, as
    transformers.Trainer makes them."""
    kind = (transformers.AutoModelForSequenceClassification if case["task"] == "reranker"
            else transformers.AutoModel)
    model, tokenizer = load(case["model"], kind)
    if case["task"] == "m3":
        add_m3_heads(model, case["model"])
    no_decay = lambda n: n.endswith("bias") or "LayerNorm" in n
    trained = [(n, p) for n, p in model.named_parameters()
               if case["task"] == "reranker" or "pooler" not in n]
    groups = [{"params": [p for n, p in trained if not no_decay(n)], "weight_decay": 0.01},
              {"params": [p for n, p in trained if no_decay(n)], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 5, STEPS)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, tokenizer, data, case)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in trained], 1.0).item())
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses, norms


def gradients(case, data):
    """Of the first step, in double."""
    kind = (transformers.AutoModelForSequenceClassification if case["task"] == "reranker"
            else transformers.AutoModel)
    model, tokenizer = load(case["model"], kind, double=True)
    if case["task"] == "m3":
        add_m3_heads(model, case["model"])
    loss = loss_of(model, tokenizer, data, case)
    loss.backward()
    grads = {n.replace("m3_heads.sparse", "sparse_linear").replace("m3_heads.colbert", "colbert_linear"):
             p.grad.float().contiguous() for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), grads


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    data = examples()
    (OUT / "data.jsonl").write_text("".join(json.dumps(e) + "\n" for e in data))
    goldens = {"torch": torch.__version__, "transformers": transformers.__version__, "group": GROUP,
               "query_max_len": QUERY_LEN, "passage_max_len": PASSAGE_LEN, "steps": STEPS,
               "temperature": 0.05, "cases": []}
    for case in CASES:
        loss, grads = gradients(case, data)
        losses, norms = run(case, data)
        if case["name"] in ("xlmr-ce", "bert-ce", "bert-mean", "xlmr-cls", "m3"):
            safetensors.torch.save_file(grads, OUT / f"{case['name']}.safetensors")
        goldens["cases"].append({**case, "loss": loss, "losses": losses, "norms": norms})
        print(case["name"], loss, losses[-1])
    (ROOT / "tests/golden/train.json").write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
