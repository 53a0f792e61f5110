import json

import numpy as np
import pytest
from scipy import stats

from reward.agreement import kendall, spearman, weighted_pearson, weighted_spearman
from reward.dimensions import dimension_name
from reward.preferences import ComparedPair, Pair, best_margin
from reward.training import TrainingRecord, write_training
from reward.wording import order_text
from worldcritic import main

EVENTS = ["it falls", "it glows"]
CRITIC = {"name": "c", "trained": True, "min_answer_mass": 0.1}


def label(prompt, video, dimension="mechanics", yes=True, **more):
    row = {
        "prompt_id": prompt,
        "video": video,
        "sha256": f"{prompt} {video}",
        "generator": None,
        "t2v_prompt": "A ball falls.",
        "kind": "check",
        "dimension": dimension,
        "question": f"What of {dimension_name(dimension)}?",
        "state": "answer",
        "p_yes": None,
        "answer": "yes" if yes else "no",
        "teacher": {"name": "truth"},
    }
    return row | more


def order_label(prompt, video, answer, **more):
    asked = {"kind": "order", "dimension": "event_following", "events": EVENTS, "question": order_text(EVENTS)}
    return label(prompt, video, **asked) | {"answer": answer} | more


def score(prompt, video, p, order=None, reward=0.5, **more):
    """`p` by dimension; `order` is a letter string and E[LCS]."""
    questions = [
        {"dimension": name, "question": f"What of {name}?", "p_yes": each, "answer_mass": 0.9}
        for name, each in p.items()
    ]
    row = {"prompt_id": prompt, "video": video, "sha256": f"{prompt} {video}", "status": "ok", "reward": reward}
    events = order and {"n": 2, "order": order[0], "expected_lcs": order[1], "answer_mass": 0.9}
    return row | {"questions": questions, "events": events, "critic": CRITIC} | more


@pytest.fixture
def evaluate(tmp_path):
    def run(scores, labels=None, *options, **files):
        arguments = ["--scores", str(_lines(tmp_path / "scores.jsonl", scores))]
        if labels is not None:
            arguments += ["--labels", str(_lines(tmp_path / "labels.jsonl", labels))]
        for name, value in files.items():
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(value))
            arguments += [f"--{name}", str(path)]
        out = tmp_path / "report.json"
        out.unlink(missing_ok=True)
        code = main(["evaluate", *arguments, "--out", str(out), "--overwrite", "--resamples", "1000", *options])
        return code, json.loads(out.read_text()) if out.exists() else {}

    return run


def _lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


HAND_SCORES = [
    score("p1", "a.mp4", {"mechanics": 0.9, "depth_3d": 0.8}, ("AB", 1.8), 0.8),
    score("p2", "a.mp4", {"mechanics": 0.7, "depth_3d": 0.9}, ("A", 1.0), 0.6),
    score("p3", "a.mp4", {"mechanics": 0.6}, ("", 0.2), 0.5),
    score("p4", "a.mp4", {"mechanics": 0.2}, None, 0.1),
]
HAND_LABELS = [
    label("p1", "a.mp4"),
    label("p1", "a.mp4", "3d_depth"),
    order_label("p1", "a.mp4", "AB"),
    label("p2", "a.mp4"),
    label("p2", "a.mp4", "3d_depth"),
    order_label("p2", "a.mp4", "BA"),
    label("p3", "a.mp4", yes=False),
    order_label("p3", "a.mp4", ""),
    label("p4", "a.mp4", yes=False),
]


def test_agreement_by_hand(evaluate, capsys):
    code, report = evaluate(HAND_SCORES, HAND_LABELS)
    assert code == 0
    found = report["agreement"]
    depth, mechanics, both = ({**line, "name": line["dimension"]} for line in reversed_order(found["checks"]))
    assert (mechanics["n"], mechanics["yes"], mechanics["majority"]) == (4, 2, 0.5)
    assert mechanics["accuracy"]["value"] == 0.75
    assert mechanics["balanced_accuracy"]["value"] == 0.75
    assert mechanics["kappa"]["value"] == pytest.approx(0.5)
    assert mechanics["auroc"]["value"] == 1.0
    assert depth["majority"] == depth["accuracy"]["value"] == 1.0
    assert depth["kappa"]["value"] is None
    assert depth["auroc"] == {"value": None, "reason": "only one kind of answer"}
    assert both["n"] == 6
    order = found["event_order"]
    assert order["exact_match"]["value"] == pytest.approx(2 / 3)
    assert order["always_all_in_order"] == pytest.approx(1 / 3)
    assert order["always_none"] == pytest.approx(1 / 3)
    assert order["lcs_mean_absolute_error"]["value"] == pytest.approx((0.1 + 0 + 0.1) / 3)
    assert order["lcs_pearson"]["value"] == pytest.approx(np.corrcoef([0.9, 0.5, 0.1], [1, 0.5, 0])[0, 1])
    videos = found["videos"]
    rewards = [0.8, 0.6, 0.5, 0.1], [4 / 4, 3 / 4, 0 / 3, 0 / 1]
    assert videos["spearman"]["value"] == pytest.approx(stats.spearmanr(*rewards).statistic)
    assert videos["kendall"]["value"] == pytest.approx(stats.kendalltau(*rewards).statistic)
    assert [line["accuracy"] for line in found["prompts"]] == [1.0, 1.0, 0.0, 1.0]
    out = capsys.readouterr().out
    assert "agreement with truth" in out
    assert "event order (3 videos): exact 0.667" in out


def reversed_order(lines):
    """depth_3d, mechanics, all checks, whatever the order of the file."""
    by_name = {line["dimension"]: line for line in lines}
    assert list(by_name) == ["mechanics", "depth_3d", "all checks"]
    return by_name["depth_3d"], by_name["mechanics"], by_name["all checks"]


def many(n=60, seed=0, generators=("good", "middle", "bad")):
    """Videos of three generators of different quality, four candidates a prompt, and a critic that mostly sees it."""
    rng = np.random.default_rng(seed)
    scores, labels = [], []
    for i in range(n):
        for k in range(4):
            generator = generators[k % 3]
            quality = {"good": 0.8, "middle": 0.5, "bad": 0.2}[generator]
            p, yes = {}, {}
            for name in ("mechanics", "interaction", "depth_3d"):
                yes[name] = rng.random() < quality
                p[name] = float(np.clip(0.5 + (0.3 if yes[name] else -0.3) + rng.normal(0, 0.2), 0.01, 0.99))
                labels.append(label(f"p{i}", f"{k}.mp4", name, yes[name], generator=generator))
            scores.append(score(f"p{i}", f"{k}.mp4", p, reward=float(np.mean(list(p.values())))))
    return scores, labels


def test_generators_and_candidates_are_told_apart(evaluate, capsys):
    _, report = evaluate(*many())
    found = report["agreement"]
    assert found["videos"]["kendall_within_prompts"]["value"] > 0.5
    assert found["videos"]["kendall_within_prompts"]["prompts"] > 40
    assert found["videos"]["spearman_of_generators"] == pytest.approx(1)
    lines = {line["generator"]: line for line in found["generators"]}
    assert lines["good"]["label_reward"] > lines["middle"]["label_reward"] > lines["bad"]["label_reward"]
    assert lines["good"]["videos"] == 120
    assert "middle" in capsys.readouterr().out
    for line in found["checks"]:
        for measure in ("accuracy", "kappa", "auroc"):
            interval = line[measure]["interval"]
            assert interval["low"] < line[measure]["value"] < interval["high"]


def test_a_majority_guesser_agrees_without_kappa(evaluate):
    scores = [score(f"p{i}", "a.mp4", {"depth_3d": 0.9}) for i in range(50)]
    labels = [label(f"p{i}", "a.mp4", "3d_depth", i % 5 > 0) for i in range(50)]
    _, report = evaluate(scores, labels)
    line = report["agreement"]["checks"][0]
    assert line["accuracy"]["value"] == line["majority"] == 0.8
    assert line["kappa"]["value"] == pytest.approx(0)
    assert line["balanced_accuracy"]["value"] == 0.5
    assert line["auroc"]["value"] == 0.5


def test_the_threshold_moves_answers_and_not_the_ranking(evaluate):
    _, report = evaluate(HAND_SCORES, HAND_LABELS, "--threshold", "0.65")
    line = report["agreement"]["checks"][0]
    assert (line["accuracy"]["value"], line["auroc"]["value"]) == (1.0, 1.0)


def test_what_cannot_be_compared_is_counted(evaluate):
    labels = [
        *HAND_LABELS,
        label("p1", "a.mp4", "camera_control"),
        label("p9", "a.mp4"),
        label("p5", "a.mp4", sha256="other bytes"),
        label("p6", "a.mp4"),
        label("p7", "a.mp4"),
        order_label("p4", "a.mp4", "A"),
        label("p4", "a.mp4", question="Refused?", state="refusal", answer=None),
    ]
    scores = [
        *HAND_SCORES,
        score("p5", "a.mp4", {"mechanics": 0.9}),
        score("p6", "a.mp4", {"mechanics": 0.9}, status="error", reward=None, error="broken"),
        score("p7", "a.mp4", {"mechanics": 0.9}),
    ]
    scores[-1]["questions"][0]["answer_mass"] = 0.05
    _, report = evaluate(scores, labels)
    assert report["agreement"]["unmatched"] == {
        "the critic was not asked this question": 1,
        "no score of this video": 1,
        "the scored file is another than the labelled one": 1,
        "the video has no reward (error)": 1,
        "the critic's answer does not count": 1,
        "the critic was asked about other events": 1,
    }
    assert report["agreement"]["labels_by_state"] == {"answer": 15, "refusal": 1}
    assert report["agreement"]["checks"][0]["n"] == 4


def test_labels_that_the_critic_was_trained_on_are_left_out(evaluate, tmp_path, capsys):
    critic = tmp_path / "critic"
    critic.mkdir()
    assert evaluate(HAND_SCORES, HAND_LABELS, "--critic", str(critic))[0] == 2
    assert "has no training.json" in capsys.readouterr().err
    write_training(critic, TrainingRecord(frozenset({"p1"}), frozenset({"p3 a.mp4"})))
    _, report = evaluate(HAND_SCORES, HAND_LABELS, "--critic", str(critic))
    assert report["agreement"]["unmatched"] == {"the critic was trained on the prompt or the video": 5}
    assert {line["prompt_id"] for line in report["agreement"]["prompts"]} == {"p2", "p4"}


def test_several_teachers_must_be_told_apart(evaluate, capsys):
    others = [row | {"teacher": {"name": "gemini", "model_version": "2"}, "key": "k"} for row in HAND_LABELS[:2]]
    others[0]["answer"] = "no"
    labels = [*HAND_LABELS, *others]
    assert evaluate(HAND_SCORES, labels)[0] == 2
    assert "several teachers (gemini 2, truth); name one with --teacher" in capsys.readouterr().err
    _, report = evaluate(HAND_SCORES, labels, "--teacher", "gemini")
    assert report["agreement"]["checks"][0]["accuracy"]["value"] == 0
    assert evaluate(HAND_SCORES, labels, "--teacher", "nobody")[0] == 2


@pytest.mark.parametrize(("ours", "theirs"), [(spearman, stats.spearmanr), (kendall, stats.kendalltau)])
def test_correlations_are_nan_where_there_is_none(ours, theirs):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 40).astype(float), rng.integers(0, 9, 40).astype(float)
    assert ours(x, y) == pytest.approx(theirs(x, y).statistic)
    assert np.isnan(ours(x, np.ones(40)))
    assert weighted_pearson(x, y, np.ones(40)) == pytest.approx(stats.pearsonr(x, y).statistic)


def test_the_weighted_spearman_counts_rows_as_often():
    rng = np.random.default_rng(2)
    x, y, w = rng.integers(0, 9, 50), rng.random(50), rng.integers(0, 4, 50)
    expected = stats.spearmanr(np.repeat(x, w), np.repeat(y, w)).statistic
    assert weighted_spearman(x, y, w.astype(float)) == pytest.approx(expected)
    assert np.isnan(weighted_spearman(x, np.ones(50), np.ones(50)))


def test_soft_labels_are_compared_as_probabilities(evaluate):
    p = np.linspace(0.05, 0.95, 12)
    scores = [score(f"p{i}", "a.mp4", {"mechanics": float(each)}) for i, each in enumerate(p)]
    soft = np.where(p > 0.5, p, p**2).tolist()
    labels = [label(f"p{i}", "a.mp4", yes=each > 0.5, p_yes=each) for i, each in enumerate(soft)]
    _, report = evaluate(scores, labels)
    assert report["agreement"]["checks"][0]["spearman_p"]["value"] == pytest.approx(1)
    hard = [row | {"p_yes": None} for row in labels]
    assert "spearman_p" not in evaluate(scores, hard)[1]["agreement"]["checks"][0]


def kendall_tau_b(x, y):
    """By counting pairs."""
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i in range(len(x)) for j in range(i)]
    tied = [sum(v[i] != v[j] for i in range(len(v)) for j in range(i)) for v in (x, y)]
    return sum(signs) / np.sqrt(tied[0] * tied[1])


def test_kendall_is_tau_b():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
    assert kendall(x, y) == pytest.approx(kendall_tau_b(x, y))


PREFERENCES = {
    "source": "people",
    "pairs": [
        {"prompt_id": "p1", "A": "A.mp4", "B": "B.mp4", "VQ": "B", "TA": "A"},
        {"prompt_id": "p2", "A": "A.mp4", "B": "B.mp4", "VQ": "same", "TA": "A"},
        {"prompt_id": "p3", "A": "A.mp4", "B": "B.mp4", "VQ": "A", "TA": "A"},
    ],
}
PAIR_SCORES = [
    score("p1", "p1/A.mp4", {}, reward=0.8),
    score("p1", "p1/B.mp4", {}, reward=0.3),
    score("p2", "A.mp4", {}, reward=0.52),
    score("p2", "B.mp4", {}, reward=0.50),
    score("p3", "run/A.mp4", {}, reward=0.6),
    score("p3", "run/B.mp4", {}, reward=0.6),
]


def aspect(report, name):
    return next(line for line in report["preferences"]["aspects"] if line["aspect"] == name)


def test_preferences_by_hand(evaluate, capsys):
    code, report = evaluate(PAIR_SCORES, None, preferences=PREFERENCES)
    assert code == 0
    alignment, quality = aspect(report, "TA"), aspect(report, "VQ")
    assert alignment["accuracy_without_ties"]["value"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert alignment["accuracy_with_ties"]["value"] == pytest.approx(2 / 3)
    assert (quality["pairs"], quality["ties"], quality["always_same"]) == (3, 1, pytest.approx(1 / 3))
    assert quality["accuracy_without_ties"]["value"] == pytest.approx((0 + 0.5) / 2)
    assert quality["accuracy_with_ties"]["value"] == 0
    assert report["preferences"]["tie_margin_source"] == "given"
    assert "TA" in capsys.readouterr().out


def test_a_tie_margin_is_given_or_tuned_on_other_prompts_only(evaluate, capsys):
    _, report = evaluate(PAIR_SCORES, None, "--tie_margin", "0.05", preferences=PREFERENCES)
    assert aspect(report, "VQ")["accuracy_with_ties"]["value"] == pytest.approx(1 / 3)
    own = {"preferences": {"pairs": PREFERENCES["pairs"][:1]}, "tie_preferences": {"pairs": PREFERENCES["pairs"][1:]}}
    _, report = evaluate(PAIR_SCORES, None, **own)
    assert report["preferences"]["tie_margin_source"] == "tuned on 2 pairs of other prompts"
    assert evaluate(PAIR_SCORES, None, preferences=PREFERENCES, tie_preferences=PREFERENCES)[0] == 2
    assert "may not be tuned on prompts that are reported: p1, p2, p3" in capsys.readouterr().err


def test_the_best_margin_by_hand():
    def pair(difference, choice):
        return ComparedPair(Pair("p", "a", "b", {"VQ": choice}), 0.5 + difference, 0.5)

    assert best_margin([pair(0.1, "same"), pair(-0.3, "B"), pair(0.5, "A")]) == pytest.approx(0.2)
    assert best_margin([pair(0.1, "A"), pair(-0.3, "B")]) == 0
    assert best_margin([pair(0.1, "same"), pair(-0.3, "same")]) == pytest.approx(0.3)


def test_pairs_without_two_rewards_are_listed(evaluate):
    _, report = evaluate(PAIR_SCORES[1:], None, preferences=PREFERENCES)
    assert report["preferences"]["compared"] == 2
    assert report["preferences"]["without_reward"] == ["p1: no reward of A.mp4"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "needs 'pairs'"),
        ([{"prompt_id": "p1", "A": "A.mp4", "B": "B.mp4"}], "says nothing of which video is better"),
        ([{"prompt_id": "p1", "A": "A.mp4", "B": "B.mp4", "VQ": "C"}], "field 'VQ' must be 'A', 'B' or 'same'"),
        ([{"prompt_id": "p1", "A": "A.mp4", "B": "A.mp4", "VQ": "A"}], "the same video"),
        ([{"prompt_id": "p1", "A": "A.mp4", "VQ": "A"}], "field 'B' must be a string"),
        ([PREFERENCES["pairs"][0], PREFERENCES["pairs"][0]], "compared twice"),
        ([{"prompt_id": "p8", "A": "A.mp4", "B": "B.mp4", "VQ": "A"}], "no pair of the preferences has two rewards"),
    ],
)
def test_bad_preferences_are_one_line(evaluate, capsys, pairs, message):
    assert evaluate(PAIR_SCORES, None, preferences={"pairs": pairs}) == (2, {})
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_labels_and_preferences_stand_in_one_report(evaluate):
    _, report = evaluate([*HAND_SCORES, *PAIR_SCORES], HAND_LABELS, preferences=PREFERENCES)
    assert set(report) == {"critic", "agreement", "preferences", "intervals"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scores", "s"], "--scores needs --prompts"),
        (["--results", "r", "--labels", "l"], "--labels goes with --scores"),
        (["--results", "r", "--preferences", "p"], "--preferences goes with --scores"),
        (["--scores", "s", "--labels", "l", "--prompts", "p"], "--prompts goes with VideoVerse's totals"),
        (["--scores", "s", "--labels", "l", "--write_results", "w"], "go with VideoVerse's totals"),
        (["--scores", "s", "--labels", "l", "--tie_margin", "0.1"], "--tie_margin goes with --preferences"),
        (["--scores", "s", "--preferences", "p", "--teacher", "t"], "--teacher goes with --labels"),
        (["--scores", "s", "--prompts", "p", "--critic", "c"], "--critic goes with --counterfactual or --labels"),
        (["--scores", "s", "--counterfactual"], "exactly one of --results"),
        (["--counterfactual", "--critic", "fake"], "--counterfactual needs --critic, --prompts and --videos"),
        (["--scores", "gone", "--labels", "l"], "gone does not exist"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(arguments, message, capsys):
    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
