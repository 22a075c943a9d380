"""The chat page in a headless Chromium, against the real server."""

import os
import re
import urllib.request
from pathlib import Path

import pytest

import chromium
from conftest import wait_until

pytestmark = pytest.mark.skipif(chromium.executable() is None,
                                reason="Chromium is not installed (Debian: chromium; or set OUTRIDER_CHROMIUM)")

# With OUTRIDER_SCREENSHOTS=docs/images the tests write the documentation's pictures.
SCREENSHOTS = os.environ.get("OUTRIDER_SCREENSHOTS")
QUESTION = "The LORD is my"
SEND_ENABLED = "!document.getElementById('send').hidden"


@pytest.fixture(scope="module")
def served(serve):
    return serve("--max-model-len", 8192, "--speculative-config", '{"method":"mtp","num_speculative_tokens":3}')


@pytest.fixture(scope="module")
def browser():
    running = chromium.Chromium()
    yield running
    running.close()


@pytest.fixture
def page(browser, served):
    browser.complaints.clear()
    browser.open(served.url + "/")
    browser.wait_for("document.getElementById('model').textContent.includes('kjv')")
    yield browser
    assert browser.complaints == []


def set_field(page, name, value):
    page.evaluate(f"""(() => {{ const field = document.getElementById({name!r}); field.value = {str(value)!r};
                       field.dispatchEvent(new Event('input', {{bubbles: true}})); }})()""")


def ask(page, text, **settings):
    for name, value in settings.items():
        set_field(page, name, value)
    page.evaluate("document.getElementById('prompt').focus()")
    page.type(text)
    page.press("Enter", 13)


def answers(page):
    return page.evaluate("[...document.querySelectorAll('.message.assistant')].map((m) => m.innerText)")


def picture(page, name):
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(Path(SCREENSHOTS) / name)


def test_is_a_single_file(served):
    with urllib.request.urlopen(served.url + "/") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        text = answer.read().decode()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert "innerHTML" not in text


def test_shows_the_models_output(page, served):
    ask(page, QUESTION, temperature=0, max_tokens=40)
    page.wait_for("document.querySelector('.assistant .note')?.textContent.includes('tokens')")
    status, expected = served.post("/v1/chat/completions", {
        "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 40})
    assert status == 200
    shown = page.evaluate("document.querySelector('.assistant .body').innerText")
    content = expected["choices"][0]["message"]["content"]
    assert " ".join(shown.split()) == " ".join(content.split())
    assert "cut off" in answers(page)[0]


def test_streams_and_stops(page, served):
    ask(page, QUESTION, temperature=0.7, max_tokens=6000, seed=1)
    page.wait_for("document.querySelector('.assistant .body').innerText.length > 50")
    assert page.evaluate("!document.getElementById('stop').hidden")
    page.evaluate("document.getElementById('stop').click()")
    page.wait_for(SEND_ENABLED)
    assert "stopped" in answers(page)[0]
    length = len(answers(page)[0])
    # The server has stopped generating, too.
    wait_until(lambda: served.metrics()["vllm:num_requests_running"] == 0)
    assert len(answers(page)[0]) == length
    # Also by keyboard.
    ask(page, "Go on")
    page.wait_for("document.querySelectorAll('.assistant .body')[1]?.innerText.length > 20")
    page.press("Escape", 27)
    page.wait_for(SEND_ENABLED)
    assert "stopped" in answers(page)[1]


def test_shows_drafts_and_their_acceptance(page):
    page.evaluate("document.getElementById('drafts').click()")
    ask(page, QUESTION, temperature=0, max_tokens=120)
    page.wait_for("document.querySelector('.assistant .note')?.textContent.includes('of drafts accepted')")
    tokens = page.evaluate("document.querySelectorAll('.tokens span').length")
    drafted = page.evaluate("document.querySelectorAll('.tokens span.drafted').length")
    assert 0 < drafted < tokens == 120
    rates = page.evaluate("[...document.querySelectorAll('#plot .rate')].map((bar) => +bar.dataset.rate)")
    assert len(rates) == 3 and 1 > rates[0] > rates[2] > 0
    accepted = int(re.match(r"(\d+) of (\d+) drafted",
                            page.evaluate("document.getElementById('acceptance').textContent"))[1])
    # A draft may be accepted beyond max_tokens.
    assert drafted <= accepted <= drafted + 3
    picture(page, "chat-page-drafts.png")
    page.evaluate("document.getElementById('drafts').click()")
    assert page.evaluate("document.querySelector('.tokens').hidden")
    picture(page, "chat-page.png")


def test_shows_reasoning_separately(page):
    page.evaluate("document.getElementById('thinking').click()")
    ask(page, "Why?", temperature=0, max_tokens=30)
    page.wait_for(SEND_ENABLED + " && document.querySelector('.assistant .note').textContent !== ''")
    assert not page.evaluate("document.querySelector('.assistant .thinking').hidden")
    assert len(page.evaluate("document.querySelector('.assistant .thinking div').textContent")) > 20


def test_continues_and_clears_a_conversation(page):
    ask(page, QUESTION, temperature=0, max_tokens=5)
    page.wait_for(SEND_ENABLED + " && document.querySelectorAll('.assistant .note').length === 1")
    ask(page, "And then?")
    page.wait_for(SEND_ENABLED + " && document.querySelectorAll('.assistant .note').length === 2")
    assert page.evaluate("conversation.map((message) => message.role)") == ["user", "assistant"] * 2
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate("document.querySelectorAll('.message').length") == 0
    assert page.evaluate("document.activeElement.id") == "prompt"


def test_output_is_not_interpreted_as_html(page):
    text = "**bold** `a<b` <img src=x onerror=alert(1)>\n\n```\n<script>\n```\n- one\n- *two*\n\n1. three"
    html = page.evaluate(f"(() => {{ const d = document.createElement('div'); d.append(markdown({text!r})); "
                         "return d.innerHTML; })()")
    assert html == ("<p><strong>bold</strong> <code>a&lt;b</code> &lt;img src=x onerror=alert(1)&gt;</p>"
                    '<pre tabindex="0"><code>&lt;script&gt;</code></pre>'
                    '<ul><li>one</li><li><em>two</em></li></ul><ol start="1"><li>three</li></ol>')


def test_shows_errors_and_lets_the_user_retry(browser, served):
    browser.complaints.clear()
    browser.open(served.url + "/")
    browser.wait_for("document.getElementById('model').textContent.includes('kjv')")
    ask(browser, QUESTION, max_tokens=100000)
    browser.wait_for("document.getElementById('error').innerText.includes('100000')")
    assert browser.evaluate("document.getElementById('prompt').value") == QUESTION
    assert answers(browser) == []
    # A field that the page itself rejects.
    set_field(browser, "prompt", "")
    ask(browser, QUESTION, max_tokens=10, temperature=9)
    browser.wait_for("document.getElementById('error').innerText.includes('Temperature')")
    # Chromium reports responses with status 400 itself.
    assert all("status of 400" in complaint["entry"]["text"] for complaint in browser.complaints)


def test_asks_for_the_api_key_if_the_server_requires_it(browser, serve):
    guarded = serve("--max-model-len", 512, "--api-key", "sesame")
    browser.complaints.clear()
    browser.open(guarded.url + "/")
    browser.wait_for("!document.getElementById('key-section').hidden")
    browser.evaluate("(() => { const key = document.getElementById('key'); key.value = 'sesame'; "
                     "key.dispatchEvent(new Event('change')); })()")
    browser.wait_for("document.getElementById('model').textContent.includes('kjv')")
    assert all("status of 401" in complaint["entry"]["text"] for complaint in browser.complaints)


def test_supports_narrow_and_dark_screens(page):
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 21)"
        page.evaluate("document.getElementById('panel-button').click()")
        assert page.evaluate("getComputedStyle(document.getElementById('panel')).display") == "flex"
    finally:
        page.call("Emulation.setEmulatedMedia", features=[])
        page.call("Emulation.setDeviceMetricsOverride", width=1200, height=800, deviceScaleFactor=1, mobile=False)
