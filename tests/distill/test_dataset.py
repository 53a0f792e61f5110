import json
import time
from collections import Counter, defaultdict

import pytest

from distill.balance import balance_rows, masses
from distill.formats import as_messages
from distill.mismatched import may_be_asked_elsewhere, mismatched_rows, words
from distill.rows import Row, load_rows
from distill.split import check_disjoint, split_rows
from reward.errors import InputError
from reward.wording import check_text, order_text
from worldcritic import main

EVENTS = ["the ball falls", "the lamp glows"]


def label(prompt, video="v.mp4", question="Does the ball fall?", answer="yes", p_yes=None, **more):
    row = {
        "prompt_id": prompt,
        "video": f"{prompt}/{video}",
        "video_path": f"videos/{prompt}/{video}",
        "sha256": f"{prompt}/{video}",
        "generator": None,
        "t2v_prompt": f"A ball falls in {prompt}.",
        "kind": "check",
        "dimension": "mechanics",
        "question": question,
        "events": None,
        "state": "answer",
        "p_yes": p_yes,
        "answer": answer,
        "teacher": {"name": "teacher"},
    }
    return row | more


def order_label(prompt, answer, video="v.mp4", **more):
    asked = {"kind": "order", "dimension": "event_following", "events": EVENTS, "question": "Order?"}
    return label(prompt, video, **asked) | {"answer": answer} | more


def many_labels(prompts=40):
    rows = []
    for i in range(prompts):
        rows.append(label(f"p{i}", answer="yes" if i % 4 else "no"))
        rows.append(label(f"p{i}", question="Does the lamp glow?", answer="no", dimension="3d_depth"))
        rows.append(order_label(f"p{i}", ["AB", "BA", ""][i % 3]))
    return rows


@pytest.fixture
def dataset(tmp_path):
    """Write label files, run `worldcritic dataset`, and give exit code and rows by split."""

    def run(*files, options=()):
        paths = []
        for i, rows in enumerate(files):
            path = tmp_path / f"labels{i}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            paths.append(str(path))
        out = tmp_path / "out"
        code = main(["dataset", "--labels", *paths, "--out", str(out), *options])
        names = ("train", "validation", "test")
        splits = {
            name: [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
            for name in names
            if (out / f"{name}.jsonl").exists()
        }
        return code, splits

    return run


def test_labels_become_rows_of_the_shared_format(dataset, tmp_path, capsys):
    code, splits = dataset(many_labels())
    assert code == 0
    rows = [row for each in splits.values() for row in each]
    assert len(rows) == 120
    check = next(row for row in rows if row["dimension"] == "depth_3d")
    assert (check["target"], check["teacher_p"], check["kind"]) == ("No", 0.0, "check")
    orders = [row for row in rows if row["kind"] == "order"]
    assert Counter(row["target"] for row in orders) == {"A B": 14, "B A": 13, "None": 13}
    assert all(row["question"] == order_text(EVENTS) and row["teacher_p"] is None for row in orders)
    assert len(load_rows(tmp_path / "out" / "train.jsonl")) == len(splits["train"])
    out = capsys.readouterr()
    assert "mechanics" in out.out
    assert "WARNING: only one answer to learn in depth_3d" in out.err
    run = json.loads((tmp_path / "out" / "dataset.run.json").read_text())
    assert run["inputs"]["labels_0"]["sha256"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == run["summary"]


def test_splits_share_no_prompt_and_all_are_filled(dataset):
    _, splits = dataset(many_labels(), options=["--validation", "0.2", "--test", "0.2"])
    prompts = {name: {row["prompt_id"] for row in rows} for name, rows in splits.items()}
    assert all(prompts.values())
    assert sum(map(len, prompts.values())) == len(set.union(*prompts.values())) == 40
    assert len(prompts["train"]) > 15


def test_more_labels_move_no_prompt_to_another_split(dataset):
    _, few = dataset(many_labels(40))
    _, more = dataset(many_labels(80), options=["--overwrite"])
    for name, rows in few.items():
        assert {row["prompt_id"] for row in rows} <= {row["prompt_id"] for row in more[name]}


def test_the_same_video_bytes_and_the_same_prompt_text_keep_prompts_together(dataset):
    rows = many_labels(12)
    for i in (3, 5):
        rows += [label(f"p{i}", "copy.mp4", sha256="shared")]
    for row in rows:
        if row["prompt_id"] in ("p7", "p8"):
            row["t2v_prompt"] = "The same  text" if row["prompt_id"] == "p7" else "the same text"
    for seed in range(6):
        _, splits = dataset(rows, options=["--overwrite", "--seed", str(seed)])
        home = {row["prompt_id"]: name for name, each in splits.items() for row in each}
        assert home["p3"] == home["p5"]
        assert home["p7"] == home["p8"]


def sft(prompt, video="a", target="Yes", **more):
    known = {"video_path": video, "t2v_prompt": f"Prompt {prompt}.", "dimension": "mechanics", "question": "Q?"}
    return Row(**(known | {"target": target, "kind": "check", "prompt_id": prompt} | more))


def test_what_crosses_splits_is_refused():
    with pytest.raises(InputError, match="video 'a' is in the splits train and test"):
        check_disjoint({"train": [sft("p")], "test": [sft("q")]}, False)
    with pytest.raises(InputError, match="prompt text"):
        check_disjoint({"train": [sft("p")], "test": [sft("q", "b", t2v_prompt="prompt  P.")]}, False)
    with pytest.raises(InputError, match="generator 'g'"):
        check_disjoint({"train": [sft("p", generator="g")], "test": [sft("q", "b", generator="g")]}, True)


def test_splits_by_generator_share_neither_prompts_nor_generators():
    rows = [sft(f"p{i}", f"{i} {g}", generator=f"g{g}") for i in range(60) for g in range(8)]
    split = split_rows(rows, (0.6, 0.2, 0.2), 0, True)
    assert all(split.rows.values())
    assert sum(map(len, split.rows.values())) + split.crossing == 480
    for key in ("prompt_id", "generator"):
        values = [{getattr(row, key) for row in each} for each in split.rows.values()]
        assert sum(map(len, values)) == len(set.union(*values))
    with pytest.raises(InputError, match="names no generator"):
        split_rows([*rows, sft("x", "y")], (0.6, 0.2, 0.2), 0, True)


def test_too_few_prompts_cannot_be_split(dataset, capsys):
    assert dataset(many_labels(2))[0] == 2
    assert "2 groups of prompts cannot fill the splits train, validation, test" in capsys.readouterr().err
    code, splits = dataset(many_labels(2), options=["--test", "0"])
    assert code == 0
    assert splits["test"] == []


def test_only_answers_become_rows(dataset, capsys):
    rows = many_labels(6)
    for state in ("refusal", "unparsed", "error"):
        rows.append(label("p0", question=f"{state}?", answer=None, state=state, raw="I cannot say."))
    _, splits = dataset(rows)
    assert sum(map(len, splits.values())) == 18
    assert "labels: 18 answers; no rows from 1 error, 1 refusal, 1 unparsed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "target", "p"),
    [("drop", None, None), ("mean", "No", 0.4), ("first", "Yes", 0.6)],
)
def test_conflicting_teachers_are_resolved_by_the_stated_rule(dataset, rule, target, p):
    one = [label("p0", p_yes=0.6), label("p1", p_yes=0.8), label("p2"), label("p3")]
    two = [label("p0", answer="no", p_yes=0.2), label("p1", p_yes=0.6)]
    for row in two:
        row["teacher"] = {"name": "other"}
    _, splits = dataset(one, two, options=["--conflicts", rule, "--balance", "none"])
    rows = {row["prompt_id"]: row for each in splits.values() for row in each}
    assert rows["p1"]["teacher_p"] == pytest.approx(0.7)
    assert rows["p1"]["teacher"] == "teacher+other"
    assert (rows["p0"]["target"] if "p0" in rows else None) == target
    if target:
        assert rows["p0"]["teacher_p"] == pytest.approx(p)


def test_conflicting_orders_go_by_votes_and_ties_are_dropped(dataset):
    files = [
        [order_label("p0", first), order_label("p1", "AB"), order_label("p2", "AB"), order_label("p3", second)]
        for first, second in (("AB", "A"), ("BA", "B"), ("BA", ""))
    ]
    for i, rows in enumerate(files):
        for row in rows:
            row["teacher"] = {"name": f"teacher {i}"}
    _, splits = dataset(*files, options=["--conflicts", "mean"])
    rows = {row["prompt_id"]: row["target"] for each in splits.values() for row in each}
    assert rows == {"p0": "B A", "p1": "A B", "p2": "A B"}


def test_weights_balance_answers_and_dimensions():
    rows = [sft("p", target="Yes")] * 6 + [sft("p", target="No")] * 2
    rows += [sft("p", dimension="depth_3d", target="Yes")] * 2 + [sft("p", dimension="depth_3d", target="No")] * 2
    mass = masses(balance_rows(rows, "weights", 5.0, 0))
    assert all(each == pytest.approx(3.0) for each in mass.values())
    capped = balance_rows(rows, "weights", 1.0, 0)
    assert max(row.weight for row in capped) / min(row.weight for row in capped) == pytest.approx(2.0)
    assert sum(row.weight for row in capped) == pytest.approx(12)


def test_subsampling_keeps_as_many_of_each_answer_and_one_sided_dimensions_whole():
    rows = [sft("p", str(i), target="Yes" if i < 6 else "No") for i in range(8)]
    rows += [sft("p", str(i), dimension="depth_3d") for i in range(3)]
    kept = balance_rows(rows, "subsample", 5.0, 0)
    assert Counter((row.dimension, row.target) for row in kept) == {
        ("mechanics", "Yes"): 2,
        ("mechanics", "No"): 2,
        ("depth_3d", "Yes"): 3,
    }
    assert kept == balance_rows(rows, "subsample", 5.0, 0)


def test_held_out_rows_are_not_balanced(dataset):
    _, splits = dataset(many_labels())
    assert {row["weight"] for name in ("validation", "test") for row in splits[name]} == {1.0}
    by_cell = defaultdict(float)
    for row in splits["train"]:
        if row["dimension"] == "mechanics":
            by_cell[row["target"]] += row["weight"]
    assert by_cell["Yes"] == pytest.approx(by_cell["No"])


@pytest.mark.parametrize(
    ("question", "dimension", "fits"),
    [
        ("Does the vinegar bubble on the soda?", "material_properties", True),
        ("Is the vinegar bottle left of the plate?", "layout_2d", True),
        ("Does the camera follow the vinegar?", "camera_control", False),
        ("Is the vinegar plausible?", "common_sense", False),
        ("Do all drops of vinegar fall?", "mechanics", False),
        ("Does the vinegar fall without splashing?", "mechanics", False),
        ("Does no vinegar leave the plate?", "mechanics", False),
        ("How does the vinegar fall?", "mechanics", False),
        ("Does it fall?", "mechanics", False),
    ],
)
def test_only_questions_whose_absent_thing_means_no_are_asked_elsewhere(question, dimension, fits):
    row = sft("p", question=question, dimension=dimension, t2v_prompt="Vinegar is poured onto soda on a plate.")
    assert may_be_asked_elsewhere(row) is fits


def test_mismatched_questions_share_no_word_with_the_video():
    kitchen = "A cook pours vinegar onto soda."
    rows = [
        sft("p", "kitchen", question="Does the vinegar bubble?", t2v_prompt=kitchen),
        sft("q", "street", question="Does the car stop?", t2v_prompt="A car drives down a street."),
        sft("r", "bottles", question="Does the bottle break?", t2v_prompt="A bottle of VINEGARS falls."),
    ]
    made = mismatched_rows(rows, 5, 0.3, 0.05, 0)
    assert {(row.video_path, row.question) for row in made} == {
        ("street", "Does the vinegar bubble?"),
        ("street", "Does the bottle break?"),
        ("kitchen", "Does the car stop?"),
        ("kitchen", "Does the bottle break?"),
        ("bottles", "Does the car stop?"),
    }
    assert {(row.target, row.teacher_p, row.weight, row.mismatched) for row in made} == {("No", 0.05, 0.3, True)}
    assert {row.prompt_id for row in made if row.video_path == "street"} == {"q"}
    assert len(mismatched_rows(rows, 1, 0.3, 0.05, 0)) == 3


def test_words_are_compared_without_their_endings():
    assert words("The balls bounce") == words("a ball bouncing")
    assert words("Is the camera still in this video?") == frozenset()


def test_mismatched_rows_of_thousands_of_videos_take_seconds():
    """Comparing every video with every question by hash took minutes for 3,000 videos."""
    names = ["ball falls", "box melts", "cone glows", "lamp breaks", "tree burns", "pillar bends"]
    rows = [
        Row(
            video_path=f"v{i}.mp4",
            t2v_prompt=f"A {names[i % 6]}, number {i}.",
            dimension="mechanics",
            question=f"Does the {names[i % 6]}?",
            target="Yes",
            kind="check",
            prompt_id=f"p{i}",
        )
        for i in range(4000)
    ]
    started = time.process_time()
    made = mismatched_rows(rows, 1, 0.3, 0.05, 0)
    assert len(made) == 4000
    assert time.process_time() - started < 10


def test_mismatched_rows_are_in_the_training_split_only(dataset):
    rows = []
    for i in range(30):
        thing, does = (("vinegar", "bubble"), ("car", "stop"), ("cactus", "bloom"))[i % 3]
        rows.append(
            label(f"p{i}", question=f"Does the {thing} {does}?", t2v_prompt=f"A {thing} in place {chr(97 + i)}.")
        )
    _, splits = dataset(rows, options=["--mismatched", "1"])
    assert sum(row["mismatched"] for row in splits["train"]) == len({row["sha256"] for row in splits["train"]})
    assert not any(row["mismatched"] for name in ("validation", "test") for row in splits[name])


def test_rows_are_exported_in_the_documented_shapes(dataset, tmp_path):
    for form in ("ms-swift", "llama-factory"):
        assert dataset(many_labels(12), options=["--format", form, "--overwrite"])[0] == 0
        rows = [json.loads(line) for line in (tmp_path / "out" / form / "train.jsonl").read_text().splitlines()]
        ours = load_rows(tmp_path / "out" / "train.jsonl")
        assert len(rows) == len(ours)
        for row, one in zip(rows, ours, strict=True):
            assert set(row) == {"messages", "videos"}
            user, assistant = row["messages"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            assert user["content"].count("<video>") == len(row["videos"]) == 1
            text = check_text(one.question) if one.kind == "check" else one.question
            assert user["content"] == "<video>" + text
            assert assistant["content"] == one.target
            assert row["videos"] == [one.video_path]
    info = json.loads((tmp_path / "out" / "llama-factory" / "dataset_info.json").read_text())
    train = info["worldcritic_train"]
    assert (train["file_name"], train["formatting"]) == ("train.jsonl", "sharegpt")
    assert train["columns"] == {"messages": "messages", "videos": "videos"}
    assert train["tags"] == {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
    }


def test_a_question_with_a_placeholder_is_not_exported():
    with pytest.raises(InputError, match="holds <video>"):
        as_messages(sft("p", question="Does <video> show it?"))


def test_nothing_is_written_over(dataset, tmp_path, capsys):
    assert dataset(many_labels(12))[0] == 0
    before = (tmp_path / "out" / "train.jsonl").read_bytes()
    assert dataset(many_labels(20))[0] == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "maybe"}, "the answer to a check is 'yes' or 'no'"),
        ({"p_yes": 0.1}, "answer 'yes' contradicts p_yes 0.1"),
        ({"state": "done"}, "field 'state'"),
        ({"kind": "order"}, "does not go with dimension"),
        ({"prompt_id": "../x"}, "bad id"),
        ({"question": ""}, "field 'question'"),
    ],
)
def test_a_bad_label_is_one_line_and_writes_nothing(dataset, tmp_path, capsys, change, message):
    assert dataset([label("p0"), label("p1") | change])[0] == 2
    error = capsys.readouterr().err
    assert message in error
    assert "labels0.jsonl:2" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_same_label_twice_and_no_label_at_all_are_errors(dataset, capsys):
    assert dataset([label("p0"), label("p0")])[0] == 2
    assert "the same label as" in capsys.readouterr().err
    assert dataset([label("p0", answer=None, state="refusal")])[0] == 2
    assert "no label becomes a row" in capsys.readouterr().err
    assert dataset(many_labels(5), options=["--validation", "0.6", "--test", "0.5"])[0] == 2
    assert "leave no prompt to train on" in capsys.readouterr().err
