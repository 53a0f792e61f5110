import base64
import hashlib
import json
import re
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from worldcritic import main

VOID = {"meta", "link", "img", "br", "source", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed by its own end tag."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts.append((self._open[-1], data))

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def text(self):
        shown = (text for tag, text in self.texts if tag not in ("style", "script"))
        return " ".join(" ".join(shown).split())

    def inside(self, tag):
        return "".join(text for each, text in self.texts if each == tag)


def report(out, *options):
    code = main(["report", "--out", str(out), *map(str, options)])
    return code, Page(out.read_text()) if out.exists() else None


@pytest.fixture(scope="module")
def full(everything):
    """The page of everything."""
    made = everything
    code, page = report(
        made.root / "pages" / "full.html", "--scores", made.wan, made.ltx, "--prompts", made.prompts, "--pairs",
        made.pairs, "--calibration", made.calibration, "--training", made.training, "--before", made.wan, "--after",
        made.ltx, "--plots", made.root / "plots", "--workers", 1,
    )  # fmt: skip
    assert code == 0
    return page


def test_every_section_is_there_with_its_numbers(full):
    text = full.text
    headings = [t for tag, t in full.texts if tag == "h2"]
    assert headings == [
        "Leaderboard", "Best of n", "Calibration", "Preference pairs", "Training", "Before and after", "Worst cases",
        "Failures", "Prompts",
    ]  # fmt: skip
    # ltx: mean of 0.8, 0.9, 0.3; wan: mean of (0.9 + 0.4 + 0.6) / 3, (0.2 + 0.7) / 2 and 0.
    assert text.index("ltx 0.667") < text.index("wan 0.361")
    assert "1 pair of 1 prompt and 2 videos, 0 ties kept apart" in text
    assert "2: margin < 0.2 <of> noise" in text
    assert "step 20: the judge fell by 0.100 <b>" in text
    assert "0.361 before, 0.667 after; change +0.306" in text
    assert "error: no video stream <in it>" in text
    assert "order of events, asked AB" in text
    assert "paid nothing: frozen" in text
    assert "Not shown" not in text


def test_every_candidate_plays_from_a_relative_path_that_exists(full, everything):
    folder = everything.root / "pages"
    sources = [each["src"] for each in full.all("source")]
    assert len(sources) > 10
    for source in sources:
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", source)
        assert (folder / urllib.parse.unquote(source)).is_file()
    assert any("javascript%3Aalert%281%29.mp4" in source for source in sources)
    videos = full.all("video")
    assert len(videos) == len(sources)
    assert {each["preload"] for each in videos} == {"none"}
    assert not any("autoplay" in each for each in videos)
    posters = [each["poster"] for each in videos if "poster" in each]
    assert len(posters) >= len(videos) - 2
    assert all(each.startswith("data:image/jpeg;base64,") for each in posters)
    assert "the file does not exist" in full.text
    assert "cannot be decoded" in full.text


def test_hostile_texts_stay_texts(full):
    assert '<script>alert("x")</script> & \'"><img src=x onerror=alert(1)>' in full.text
    assert full.all("img") == []
    assert len(full.all("script")) == 1
    assert "src" not in full.all("script")[0]
    for tag, attributes in full.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    for link in full.all("a"):
        assert re.fullmatch(r"#\w+", link["href"])


def test_the_policy_lets_in_our_style_and_script_and_videos_only(full):
    policy = next(each["content"] for each in full.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        digest = hashlib.sha256(full.inside(tag).encode()).digest()
        assert rules[rule] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert rules["media-src"] == "'self' file:"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_page_is_usable_without_sight_and_mouse(full):
    ids = [attributes["id"] for _, attributes in full.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {each["href"][1:] for each in full.all("a")} <= set(ids)
    assert full.elements[[tag for tag, _ in full.elements].index("body") + 1][1]["class"] == "skip"
    assert [tag for tag, _ in full.elements if tag == "h1"] == ["h1"]
    assert full.all("html")[0]["lang"] == "en"
    assert all(each["aria-label"] for each in full.all("video"))
    named = [each for each in full.all("svg") if each.get("role") == "img"]
    assert len(named) + sum(each.get("aria-hidden") == "true" for each in full.all("svg")) == len(full.all("svg"))
    assert all(each.get("aria-label") for each in full.all("div") if each.get("role") == "region")
    assert all("scope" in each for each in full.all("th"))


def test_plots_are_files_of_their_formats(full, everything):
    plots = everything.root / "plots"
    names = {"leaderboard", "best-of-n", "reliability-before", "reliability-after", "training-reward"}
    assert names <= {path.stem for path in plots.iterdir()}
    for path in plots.iterdir():
        start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF-"}[path.suffix]
        assert path.read_bytes().startswith(start)
    root = ElementTree.parse(plots / "best-of-n.svg").getroot()
    assert "candidates n" in " ".join(root.itertext())


def test_format_chooses_the_formats_of_the_plots(everything, tmp_path, capsys):
    given = ["--scores", everything.wan, "--no-stills", "--plots", tmp_path / "p"]
    assert report(tmp_path / "r.html", *given, "--format", "svg,png")[0] == 0
    assert {path.suffix for path in (tmp_path / "p").iterdir()} == {".svg", ".png"}
    capsys.readouterr()
    arguments = ["report", *map(str, given), "--out", str(tmp_path / "s.html"), "--format", "svg,jpg"]
    assert main(arguments) == 2
    assert "format" in capsys.readouterr().err


def test_what_is_missing_is_left_out_with_a_reason(everything, tmp_path, capsys):
    out = tmp_path / "small.html"
    code, page = report(out, "--scores", everything.ltx, "--no-stills")
    said = capsys.readouterr().err
    assert code == 0
    assert [t for tag, t in page.texts if tag == "h2"] == ["Leaderboard", "Worst cases", "Prompts", "Not shown"]
    for reason in (
        "Prompt texts and events: --prompts was not given.",
        "Best of n: no prompt has two candidates with a reward from one generator.",
        "Calibration: --calibration was not given.",
        "Preference pairs: --pairs was not given.",
        "Training: --training was not given.",
        "Before and after: --before and --after were not given.",
    ):
        assert reason in page.text
        assert f"left out: {reason}" in said
    assert not [each for each in page.all("video") if "poster" in each]
    assert json.loads((tmp_path / "small.html.run.json").read_text())["config"]["title"] == "worldcritic report"
    assert main(["report", "--scores", str(everything.ltx), "--out", str(out)]) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err


def test_a_training_run_shows_its_own_samples_before_and_after(everything, tmp_path):
    _, page = report(tmp_path / "r.html", "--scores", everything.ltx, "--training", everything.training, "--no-stills")
    assert "step 0 against step 20: held-out judge 0.314 before, 0.863 after" in page.text
    assert "20 optimiser steps" in page.text
    sources = [urllib.parse.unquote(each["src"]) for each in page.all("source")]
    assert any(source.endswith("run/samples/step-000000/ball/000.mp4") for source in sources)


def test_max_prompts_says_what_it_leaves_out(everything, tmp_path):
    options = ("--scores", everything.wan, "--max_prompts", 1, "--max_examples", 2, "--no-stills")
    _, page = report(tmp_path / "r.html", *options)
    assert "The first 1 of 3 prompts are shown" in page.text
    assert [each["id"] for each in page.all("div") if "id" in each] == ["p1"]
    assert [each["aria-label"] for each in page.all("figure", "div") if "Candidates" in each.get("aria-label", "")] == [
        "Candidates of ball"
    ]
    # The worst case is of a prompt that is not shown: no link leads there.
    assert [
        each["href"] for each in page.all("a") if each["href"].startswith("#p") and each["href"][2:].isdigit()
    ] == []


def test_a_manifest_names_the_generators(everything, tmp_path):
    manifest = tmp_path / "manifest.jsonl"
    rows = [
        {"prompt_id": "ball", "video": "ball.mp4", "generator": "A & B"},
        {"prompt_id": "evil", "video": "evil.mp4"},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--scores", everything.ltx, "--manifest", manifest, "--names", "rest", "--no-stills")
    _, page = report(tmp_path / "r.html", *options)
    assert "1 A & B 0.800" in page.text
    assert "2 rest 0.600" in page.text


def test_copied_videos_travel_with_the_page(everything, tmp_path):
    _, page = report(tmp_path / "r.html", "--scores", everything.ltx, "--copy_videos", "--no-stills")
    sources = {each["src"] for each in page.all("source")}
    assert len(sources) == 3
    for source in sources:
        assert re.fullmatch(r"r_videos/[0-9a-f]{64}\.mp4", source)
        digest = hashlib.sha256((tmp_path / source).read_bytes()).hexdigest()
        assert digest == Path(source).stem


@pytest.mark.parametrize(
    ("change", "options", "fault"),
    [
        ({}, ["--before", "x.jsonl"], "--before and --after go together"),
        ({}, ["--names", "a", "b"], "--names gives 2 names for 1 score files"),
        ({}, ["--training", "."], "holds no measurements in training.json and no rows in log.jsonl"),
        ({}, ["--training", "critic"], "holds no measurements"),
        ({}, ["--calibration", "broken.json"], "not a report of `worldcritic calibrate`"),
        ({}, ["--pairs", "nowhere"], "folder of pairs nowhere does not exist"),
        ({"video": "../x.mp4"}, [], "leaves the folder"),
        ({"video": "/etc/passwd"}, [], "must be relative"),
        ({"prompt_id": "a b"}, [], "bad id"),
        ({"prompt_id": '"><b>'}, [], "bad id"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    everything, tmp_path, monkeypatch, capsys, change, options, fault
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text('{"table": 3}')
    (tmp_path / "critic").mkdir()
    (tmp_path / "critic" / "training.json").write_text('{"prompts": []}')  # what SFT leaves beside a critic
    first = json.loads(everything.ltx.read_text().splitlines()[0]) | change
    (tmp_path / "s.jsonl").write_text(json.dumps(first) + "\n")
    assert main(["report", "--scores", "s.jsonl", "--out", "r.html", *options]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_scores_of_other_questions_or_another_critic_are_refused(everything, tmp_path, capsys):
    row = json.loads(everything.ltx.read_text().splitlines()[0])
    scores, out = tmp_path / "s.jsonl", tmp_path / "r.html"
    scores.write_text(json.dumps(row | {"prompt_sha256": "0" * 64}) + "\n")
    assert main(["report", "--scores", str(scores), "--prompts", str(everything.prompts), "--out", str(out)]) == 2
    assert "asked other questions" in capsys.readouterr().err
    scores.write_text(json.dumps(row | {"critic": {"name": "another"}}) + "\n")
    assert main(["report", "--scores", str(scores), str(everything.ltx), "--out", str(out)]) == 2
    assert "scored by another critic" in capsys.readouterr().err


def test_nothing_scored_is_a_page_too(everything, tmp_path):
    row = json.loads(everything.wan.read_text().splitlines()[3])
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    code, page = report(tmp_path / "r.html", "--scores", tmp_path / "s.jsonl", "--no-stills", "--plots", tmp_path / "p")
    assert code == 0
    assert "All 1, with reasons" in page.text
    assert "Worst cases" not in page.text
    assert not (tmp_path / "p").exists()


def test_plots_without_matplotlib_are_refused_with_the_command(everything, tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; from worldcritic import main;"
        f"sys.exit(main(['report', '--scores', {str(everything.ltx)!r}, '--out', {str(tmp_path / 'r.html')!r},"
        f" '--plots', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'worldcritic[plots]'" in done.stderr
