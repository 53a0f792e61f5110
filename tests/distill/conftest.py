"""A teacher's server on 127.0.0.1 that answers by hash of what it is sent, and fails as it is told."""

import hashlib
import json
import math
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import reward.video
from reward.video import read_video, write_video

KEY = "sk-test-0123456789abcdef"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.fake.get(self)

    def do_DELETE(self):
        self.server.fake.deleted.append(self.path)
        self.json(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.fake.post(self, body)

    def json(self, status, value, headers=()):
        self.send(status, json.dumps(value).encode(), "application/json", headers)

    def send(self, status, content, kind, headers=(), length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class FakeTeacher:
    """`plan(number, question)` returns what goes wrong with a request, counted from 0; None answers it.

    Faults: a status, (status, headers), "half", "garbage", "close", "hang", or a whole body to send with status 200.
    """

    def __init__(self):
        self.plan = lambda number, question: None
        self.logprobs = True
        self.seconds = 0.0
        self.questions, self.bodies, self.headers, self.deleted, self.uploads = [], [], [], [], []
        self.polls_until_active = 0
        self.upload_state = "ACTIVE"
        self.in_flight = self.most_in_flight = 0
        self.times = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.fake = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def get(self, handler):
        self.polls_until_active -= 1
        state = "PROCESSING" if self.polls_until_active >= 0 else self.upload_state
        handler.json(200, self._file(state))

    def post(self, handler, body):
        if handler.path.startswith("/upload/"):
            self._upload(handler, body)
            return
        sent = json.loads(body)
        gemini = "contents" in sent
        parts = sent["contents"][0]["parts"] if gemini else sent["messages"][0]["content"]
        question = parts[-1]["text"]
        with self._lock:
            number = len(self.questions)
            self.questions.append(question)
            self.bodies.append(sent)
            self.headers.append(dict(handler.headers))
            self.times.append(time.monotonic())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            time.sleep(self.seconds)
            fault = self.plan(number, question)
            media = json.dumps(parts[:-1])
            if fault is not None:
                self._fail(handler, fault)
            elif gemini:
                handler.json(200, self._gemini(media, question, sent))
            else:
                handler.json(200, self._completion(media, question, sent))
        finally:
            with self._lock:
                self.in_flight -= 1

    def _fail(self, handler, fault):
        if isinstance(fault, dict):
            handler.json(200, fault)
        elif fault == "half":
            handler.send(200, b'{"choices": [{"message": {"con', "application/json", length=5000)
            handler.close_connection = True
        elif fault == "garbage":
            handler.send(200, b"<html>the proxy is tired</html>", "text/html")
        elif fault == "close":
            handler.close_connection = True
        elif fault == "hang":
            time.sleep(3)
            handler.close_connection = True
        else:
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            message = f"told to fail with {status}; your key was {KEY}"
            handler.json(status, {"error": {"message": message, "code": status, "status": "FAULT"}}, headers)

    def _completion(self, media, question, sent):
        text, p_yes = answer(media, question)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if sent.get("logprobs") and self.logprobs:
            top = [{"token": t, "logprob": math.log(p)} for t, p in spellings(p_yes).items()]
            choice["logprobs"] = {"content": [{"token": text, "logprob": -0.1, "top_logprobs": top}]}
        usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
        return {"id": "x", "object": "chat.completion", "created": 1, "model": "fake-1", "choices": [choice]} | {
            "usage": usage
        }

    def _gemini(self, media, question, sent):
        text, p_yes = answer(media, question)
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
        if sent["generationConfig"].get("responseLogprobs"):
            top = [{"token": t, "logProbability": math.log(p)} for t, p in spellings(p_yes).items()]
            chosen = [{"token": text, "logProbability": -0.1}]
            candidate["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": [{"candidates": top}]}
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 4, "thoughtsTokenCount": 6}
        return {"candidates": [candidate], "modelVersion": "gemini-fake-001", "usageMetadata": usage}

    def _upload(self, handler, body):
        if handler.headers["X-Goog-Upload-Command"] == "start":
            handler.json(200, {}, {"X-Goog-Upload-URL": f"{self.address}/upload/here"})
            return
        self.uploads.append(body)
        state = "PROCESSING" if self.polls_until_active > 0 else self.upload_state
        handler.json(200, {"file": self._file(state)}, {"X-Goog-Upload-Status": "final"})

    def _file(self, state):
        return {"name": "files/abc", "uri": f"{self.address}/files/abc", "state": state, "mimeType": "video/mp4"}


def spellings(p_yes):
    """The probabilities listed in place of the first token: 0.9 of Yes and No in several spellings, and a rest."""
    return {"Yes": 0.6 * p_yes, " yes": 0.3 * p_yes, "No": 0.9 * (1 - p_yes), "Well": 0.1}


def answer(media, question):
    """Text and p_yes: a function of what is shown and asked."""
    value = int.from_bytes(hashlib.sha256((media + question).encode()).digest()[:4]) / 2**32
    if "Answer with Yes or No." in question:
        p_yes = 0.05 + 0.9 * value
        return ("Yes" if p_yes >= 0.5 else "No"), p_yes
    letters = re.findall(r"^([A-Z]): ", question, re.MULTILINE)
    return (" ".join(reversed(letters)) if value < 0.5 else "None"), None


@pytest.fixture
def fake():
    server = FakeTeacher()
    yield server
    server.close()


@pytest.fixture
def key(monkeypatch):
    """A key in the environment, and no proxy between us and 127.0.0.1."""
    monkeypatch.setenv("TEACHER_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return KEY


PROMPTS = {
    "ball": {"events": ["It falls.", "It bounces."], "checks": ["Does it fall?", "Is it round?"]},
    "lamp": {"events": ["It turns on."], "checks": ["Is it bright?"]},
    "tree": {"events": [], "checks": ["Is it a tree?"]},
}


class ReadersHere:
    """Reads videos in this process, since starting a child for every test takes most of its time."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, path, sampling):
        return read_video(path, sampling)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Three prompts with four videos and nine questions, in the current folder; videos are read without a child."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reward.video, "VideoReaders", ReadersHere)
    rows = [
        {
            "prompt_id": name,
            "prompt": f"A {name}.",
            "events": record["events"],
            "checks": [{"dimension": "mechanics", "question": question} for question in record["checks"]],
        }
        for name, record in PROMPTS.items()
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed, name in enumerate(("ball/a.mp4", "ball/b.mp4", "lamp.mp4", "tree.mp4")):
        pictures = np.random.default_rng(seed).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        write_video(tmp_path / "videos" / name, pictures, fps=8)
    return tmp_path
