"""The pages of tamis eval --report and of tamis train: one file each, whole, with the numbers of the other outputs.
With TAMIS_SHOTS=DIR a browser photographs them, light and dark, wide and narrow."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest
from conftest import FIXTURES, ROOT

DATA = ROOT / "tests" / "fixtures" / "train" / "data.jsonl"
EVIL = "<img src=x onerror=alert(1)>&amp;'\""


class Page(HTMLParser):
    """Checks that tags are balanced and that nothing is asked for elsewhere; keeps texts and elements."""
    VOID = {"meta"}

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert not re.search(r"@import|url\(|javascript:", text)

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
        assert not {name for name in names if name in {"src", "href", "srcset", "style"} or name.startswith("on")}
        self.elements.append((tag, names))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag):
        return [text for where, text in self.texts if where == tag]

    def count(self, tag, name=""):
        return sum(t == tag and name in a.get("class", "") for t, a in self.elements)


def read_page(path) -> Page:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and text.endswith("</html>\n")
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text
    return Page(text)


@pytest.fixture
def runs(tmp_path):
    """Judgements, and two runs of 60 queries of which the second is better in most."""
    rng = random.Random(7)
    judged, old, new = [], [], []
    for q in range(60):
        documents = [f"d{i}" for i in range(30)]
        relevant = set(rng.sample(documents, 3))
        judged += [f"q{q} 0 {d} {int(d in relevant)}" for d in documents]
        for lines, gain in ((old, .3), (new, .6)):
            ranked = sorted(documents, key=lambda d: -(rng.random() + gain * (d in relevant)))
            lines += [f"q{q} Q0 {d} {i + 1} {30 - i} x" for i, d in enumerate(ranked)]
    for name, lines in (("qrels", judged), ("old.trec", old), ("new.trec", new)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_page_has_the_numbers_of_the_table(tamis, runs):
    page = runs / "report.html"
    depths = ["1", "3", "5", "10", "30"]
    arguments = ["eval", "--qrels", "qrels", "old.trec", "new.trec", "--format", "json"]
    answer = tamis(*arguments, "--report", page, "--k_values", *depths, "--eval_name", "mine & yours", cwd=runs).json
    curves = tamis(*arguments, "--metrics", *(f"{m}@{k}" for m in ("ndcg", "recall") for k in depths), cwd=runs).json
    read = read_page(page)
    assert read.all("h1") == ["mine & yours"]
    cells = read.all("td")
    for run in answer["runs"]:
        for name, metric in run["metrics"].items():
            at = next(i for i in range(len(cells)) if cells[i:i + 2] == [run["run"], name])
            assert cells[at + 2:at + 6] == ["60", *(f"{metric[key]:.4f}" for key in ("mean", "low", "high"))]
    titles = read.all("title")
    for run in curves["runs"]:
        best = run["metrics"]["ndcg@10"]
        assert f"{run['run']}: {best['mean']:.4f} ({best['low']:.4f} to {best['high']:.4f})" in titles
        for k in depths:
            assert f"{run['run']}: k {k}, nDCG@k {run['metrics'][f'ndcg@{k}']['mean']:.4g}" in titles
            assert f"{run['run']}: k {k}, Recall@k {run['metrics'][f'recall@{k}']['mean']:.4g}" in titles
    [main] = [c for c in answer["comparison"] if c["metric"] == "ndcg@10"]
    [caption] = [c for c in read.all("figcaption") if "p = " in c]
    assert f"better for {main['better']}, worse for {main['worse']} of 60" in caption
    assert caption.endswith(f"differs by {main['second'] - main['first']:+.4f}, p = {main['p_value']:.4f}")
    assert read.count("svg") == 4 and read.count("rect", "fill") == 2 and read.count("path", "interval") == 2


def test_one_run_and_many_data_sets(tamis, runs):
    tamis("eval", "--qrels", "qrels", "new.trec", "--report", "one.html", cwd=runs)
    one = read_page(runs / "one.html")
    assert one.count("svg") == 3 and not any("p = " in c for c in one.all("figcaption"))
    sets = ROOT / "tests" / "fixtures" / "eval" / "miracl"
    tamis("eval", "--dataset", sets, "--split", "dev", "--embedder", FIXTURES / "xlmr-bi-cls-norm", "--reranker",
          FIXTURES / "xlmr-ce", "--report", "many.html", cwd=runs)
    many = read_page(runs / "many.html")
    assert many.all("h2") == ["Mean over the data sets", "de-dev", "en-dev"] and many.count("svg") == 8


def test_names_are_text(tamis, runs):
    evil = EVIL.replace(" ", "_")
    for name in ("qrels", "old.trec", "new.trec"):
        path = runs / name
        path.write_text(path.read_text().replace("q1 ", evil + " "))
    (runs / "new.trec").rename(runs / EVIL)
    tamis("eval", "--qrels", "qrels", "old.trec", EVIL, "--report", "page.html", "--eval_name", EVIL, cwd=runs)
    read = read_page(runs / "page.html")
    assert read.all("h1") == [EVIL] and EVIL in read.all("td")
    assert any(EVIL in title for title in read.all("title"))


def test_a_page_is_whole_or_not_there(tamis, runs):
    result = tamis("eval", "--qrels", "qrels", "none.trec", "--report", "page.html", cwd=runs, status=66)
    assert "none.trec" in result.err and not list(runs.glob("*page.html*"))
    result = tamis("eval", "--dataset", runs, "--embedder", "no model", "--report", "none/page.html", cwd=runs, status=66)
    assert "none/page.html: cannot be written: no such folder" in result.err, "told before anything is loaded"
    assert "expected whole numbers of at least 1" in tamis(
        "eval", "--qrels", "qrels", "old.trec", "--report", "page.html", "--k_values", "0", cwd=runs, status=64).err


@pytest.fixture
def common(tmp_path):
    return ["--model_name_or_path", FIXTURES / "xlmr-ce", "--train_data", DATA, "--output_dir", tmp_path / "out",
            "--train_group_size", "3", "--per_device_train_batch_size", "2", "--passage_max_len", "30",
            "--query_max_len", "12", "--learning_rate", "1e-3", "--logging_steps", "1"]


def line_of(read: Page, number: int) -> list[tuple[float, float]]:
    lines = [a["points"] for tag, a in read.elements if tag == "polyline"]
    return [tuple(map(float, point.split(","))) for point in lines[number].split()]


def test_a_run_of_training_has_a_page(tamis, common, tmp_path):
    common[5] = tmp_path / EVIL
    tamis("train", "reranker", *common, "--max_steps", "6", "--warmup_steps", "2", "--query_instruction_for_rerank", EVIL)
    read = read_page(tmp_path / EVIL / "training.html")
    assert read.all("h1") == [f"tamis train reranker: {EVIL}"]
    assert read.all("figcaption") == ["Loss", "Learning rate", "Gradient norm, before clipping"]
    rows = [json.loads(line) for line in (tmp_path / EVIL / "metrics.jsonl").read_text().splitlines()]
    for number, key in enumerate(("loss", "learning_rate", "grad_norm")):
        points = line_of(read, number)
        assert len(points) == 6
        # The pixels are the numbers, but for a factor and 0.1 of rounding.
        zero = max(float(a["y"]) for tag, a in read.elements if tag == "text" and a.get("text-anchor") == "end"
                   and float(a["y"]) < 260) - 4
        highest = max(range(6), key=lambda i: rows[i][key])
        scale = (zero - points[highest][1]) / rows[highest][key]
        for row, (_, y) in zip(rows, points):
            assert zero - y == pytest.approx(scale * row[key], abs=0.25)
    cells = read.all("td")
    options = dict(zip(cells[0::2], cells[1::2]))
    assert options["learning_rate"] == "0.001" and options["max_steps"] == "6" and options["warmup_steps"] == "2"
    assert options["query_instruction"] == EVIL and options["train_group_size"] == "3"
    assert "adam_beta1" not in options and "seed" not in options and "report_to" not in options
    assert options["steps"] == "6" and options["last step"] == "6" and options["examples"] == "6"
    assert float(options["last loss"]) == pytest.approx(rows[-1]["loss"], abs=6e-5)


def test_a_run_that_was_stopped_says_so_and_the_next_one_has_all_of_it(tamis, common, tmp_path):
    process = tamis.start("train", "reranker", *common, "--max_steps", "1500", stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (tmp_path / "out" / "metrics.jsonl").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    page = tmp_path / "out" / "training.html"
    assert "stopped, with a checkpoint to go on from" in page.read_text()
    tamis("train", "reranker", *common, "--max_steps", "1500", "--resume_from_checkpoint")
    read = read_page(page)
    assert "stopped, with a checkpoint" not in page.read_text()
    cells = read.all("td")
    options = dict(zip(cells[0::2], cells[1::2]))
    assert options["last step"] == "1500" and 0 < int(options["went on after step"]) < 1500
    assert len(line_of(read, 0)) == 1500


# ---- in a browser

if str(ROOT / ".cache" / "adapters") not in sys.path:
    sys.path.append(str(ROOT / ".cache" / "adapters"))
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("there is no chromium (apt: chromium-headless-shell)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


def look_at(browser, path, name):
    """Opens a page in each way, without scripts; whatever it asks for beside itself, and any complaint, fails."""
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900},
                                          java_script_enabled=False)
            page = context.new_page()
            asked, complaints = [], []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.goto(path.as_uri())
            assert asked == [path.as_uri()] and complaints == []
            # Only what scrolls by itself may be wider than the window.
            assert page.locator("body").bounding_box()["width"] <= width
            for text in page.locator("h1, h2, h3, p, figcaption, footer").all():
                box = text.bounding_box()
                assert box["x"] >= 0 and box["x"] + box["width"] <= width
            for svg in page.locator("svg").all():
                assert svg.bounding_box()["height"] > 50
            if os.environ.get("TAMIS_SHOTS"):
                page.screenshot(path=f"{os.environ['TAMIS_SHOTS']}/{name}-{scheme}-{width}.png", full_page=True)
            context.close()


def test_the_page_of_an_evaluation_in_a_browser(tamis, runs, browser):
    tamis("eval", "--qrels", "qrels", "old.trec", "new.trec", "--report", "report.html", cwd=runs)
    look_at(browser, runs / "report.html", "eval")


def test_the_page_of_a_training_in_a_browser(tamis, common, tmp_path, browser):
    tamis("train", "reranker", *common, "--max_steps", "40")
    look_at(browser, tmp_path / "out" / "training.html", "train")
