"""The page, in a real browser (Debian's chromium-headless-shell, driven by Playwright) against a real
server. With TAMIS_SHOTS=DIR each view is photographed, light and dark, wide and narrow."""
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from conftest import FIXTURES, ROOT, Server

if str(ROOT / ".cache" / "adapters") not in sys.path:
    sys.path.append(str(ROOT / ".cache" / "adapters"))
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
if BROWSER is None:
    pytest.skip("there is no chromium (apt: chromium-headless-shell)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

KEY = "a-key-of-a-user"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server():
    with Server("--model", FIXTURES / "xlmr-ce", "--model", FIXTURES / "xlmr-m3", "--model",
                f"bert={FIXTURES / 'bert-ce'}") as running:
        yield running


@pytest.fixture()
def open_page(browser):
    """Function: a page whose every complaint fails the test."""
    contexts, complaints = [], []

    def opened(url, expected=(), **more):
        context = browser.new_context(**more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" and
                not any(part in message.text for part in expected) else None)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def until(condition):
    """Polls, for the page's policy forbids what Playwright would evaluate."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ranks(page, view="rerank"):
    page.wait_for_selector(f"#{view}-result .ranking li")
    return page.locator(f"#{view}-result .ranking .text").all_inner_texts()


def test_passages_are_ranked_as_the_server_ranks_them(server, open_page):
    page = open_page(server.url)
    page.fill("#query", "what is a tamis")
    page.fill("#passages", "a drum sieve\nthe sky\nfine horsehair")
    page.wait_for_selector("#rerank-model option", state="attached")
    page.click("#rerank-form button.main")
    answer = server.post("/v1/score", {"model": "xlmr-ce", "query": "what is a tamis",
                                       "passages": ["a drum sieve", "the sky", "fine horsehair"]}).json
    want = [["a drum sieve", "the sky", "fine horsehair"][r["index"]] for r in answer["results"]]
    assert ranks(page) == want
    first = page.locator("#rerank-result .facts").first.inner_text()
    assert f"logit {answer['results'][0]['logit']:.4f}" in first and "tokens" in first


def test_everything_can_be_done_with_the_keyboard(server, open_page):
    page = open_page(server.url)
    page.wait_for_selector("#rerank-model option", state="attached")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-rerank"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-compare"
    assert page.is_visible("#view-compare") and not page.is_visible("#view-rerank")
    page.keyboard.press("ArrowLeft")
    page.focus("#query")
    page.keyboard.press("Control+Enter")
    assert len(ranks(page)) == 7


def test_text_is_text_and_never_html(server, open_page):
    page = open_page(server.url)
    page.wait_for_selector("#rerank-model option", state="attached")
    page.fill("#passages", "<img src=x onerror=alert(1)>\n<b>bold</b>")
    page.click("#rerank-form button.main")
    assert sorted(ranks(page)) == ["<b>bold</b>", "<img src=x onerror=alert(1)>"]


def test_an_error_is_shown_in_words(server, open_page):
    page = open_page(server.url, expected=("status of 400", "status of 422"))
    page.wait_for_selector("#rerank-model option", state="attached")
    page.fill("#passages", "word " * 400)
    page.fill("#max-length", "16")
    page.select_option("#long", "error")
    page.click("#rerank-form button.main")
    page.wait_for_selector("#rerank-result [role=alert]")
    assert "tokens" in page.inner_text("#rerank-result")


def test_two_models_side_by_side(server, open_page):
    page = open_page(server.url + "/#compare")
    page.wait_for_selector("#model-right option", state="attached")
    page.select_option("#model-left", "xlmr-ce")
    page.select_option("#model-right", "bert")
    page.click("#compare-form button.main")
    page.wait_for_selector("#compare-result .pair .ranking")
    assert page.locator("#compare-result .ranking").count() == 2
    assert "Kendall" in page.inner_text("#compare-result .summary >> nth=0")


def test_embeddings_are_a_map_of_similarity(server, open_page):
    page = open_page(server.url + "/#embed")
    page.wait_for_selector("#embed-model option", state="attached")
    page.fill("#texts", "a drum sieve\na drum sieve\nthe sky")
    page.click("#embed-form button.main")
    page.wait_for_selector("table.heat")
    cells = page.locator("table.heat td").all_inner_texts()
    assert len(cells) == 9 and cells[0] == cells[1] == "1.000" and float(cells[2]) < 1
    assert "Lexical weights" in page.inner_text("#embed-result")


def test_the_live_view_follows_and_survives_the_end_of_the_server(open_page):
    with Server("--model", FIXTURES / "xlmr-ce") as own:
        page = open_page(own.url + "/#live", expected=("ERR_CONNECTION_REFUSED",))
        page.wait_for_selector(".tile")
        for _ in range(3):
            own.post("/rerank", {"query": "a", "documents": ["b", "c"]})
        until(lambda: re.search(r" (?!96)\d", page.get_attribute("#chart-requests .line-1", "d")))
        assert "xlmr-ce" in page.inner_text("#models") and "cpu" in page.inner_text("#devices")
        own.stop()
        until(lambda: "lost" in page.inner_text("#live-state"))


def test_a_key_is_asked_for_and_kept_in_the_page_only(open_page):
    with Server("--model", FIXTURES / "xlmr-ce", env={"TAMIS_SERVE_API_KEY": KEY}) as own:
        page = open_page(own.url, expected=("status of 401",))
        page.wait_for_selector("#key-form:not([hidden])")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-form", state="hidden")
        page.click("#rerank-form button.main")
        assert len(ranks(page)) == 7
        assert KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie")


def test_large_inputs_are_drawn_in_part(server, open_page):
    page = open_page(server.url)
    page.wait_for_selector("#rerank-model option", state="attached")
    page.fill("#passages", "\n".join(f"passage {i}" for i in range(1000)))
    page.click("#rerank-form button.main")
    assert len(ranks(page)) == 100
    page.click("text=Show all 1000")
    assert page.locator("#rerank-result .ranking li").count() == 1000


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_its_window(server, open_page, width, scheme, tmp_path):
    shots = Path(os.environ.get("TAMIS_SHOTS") or tmp_path)
    page = open_page(server.url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.wait_for_selector("#rerank-model option", state="attached")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    for view, ready in (("rerank", "#rerank-result .ranking"), ("compare", "#compare-result .pair"),
                        ("embed", "table.heat"), ("live", "#devices .memory")):
        page.click(f"#tab-{view}")
        if view != "live":
            page.click(f"#{view}-form button.main")
        page.wait_for_selector(ready)
        page.screenshot(path=shots / f"{view}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{view} is too wide"
