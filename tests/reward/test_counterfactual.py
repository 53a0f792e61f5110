import json
import shutil

import numpy as np
import pytest

from reward import FakeCritic, InputError, RewardModel
from reward.answers import Answer, Judgement, Order
from reward.candidates import find_candidates
from reward.counterfactual import Judging, measure_changes, report, report_text
from reward.perturbations import EXPECTED, PERTURBATIONS, applies, other_prompts
from reward.prompts import Check, Prompt
from reward.video import Clip, FrameSampling, VideoReaders, write_video
from worldcritic import main

COLOURS = {"red": 0, "green": 1, "blue": 2}


def asked(name, colour):
    """A square of one colour that moves to the right and then down."""
    checks = (
        Check("attribution_correctness", f"Is there a {colour} square?"),
        Check("mechanics", f"Does the {colour} square move right, then down?"),
        Check("depth_3d", f"Is the {colour} square in front?"),
        Check("camera_control", "Does the camera stay still?"),
    )
    return Prompt(name, f"A {colour} square.", (f"{colour} moves right", f"{colour} moves down"), checks)


def frames_of(colour, start):
    frames = np.full((16, 64, 64, 3), 128, np.uint8)
    for t in range(16):
        x, y = start + 2 * min(t, 8), 8 + 3 * max(0, t - 8)
        frames[t, y : y + 16, x : x + 16] = 0
        frames[t, y : y + 16, x : x + 16, COLOURS[colour]] = 255
    return frames


class Honest:
    """Finds the square by the colour that a question names, and follows its middle."""

    identity = {"name": "honest", "trained": True, "manifest_sha256": None}  # noqa: RUF012
    sampling = FrameSampling(num_frames=16)

    def judge(self, clips, prompts):
        return [self._judge(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]

    def _judge(self, clip, prompt):
        answers = tuple(Answer(self.p_yes(clip, check.question), 1.0) for check in prompt.asked_checks)
        letters = zip("AB", self.moves(clip, prompt.events[0]), strict=True)
        order = "".join(letter for letter, happens in letters if happens)
        return Judgement(answers, Order(2, {order: 1.0}))

    def p_yes(self, clip, question):
        if "camera" in question:
            return 0.95
        yes = all(self.moves(clip, question)) if "move" in question else self.middle(clip, question) is not None
        return 0.95 if yes else 0.05

    def middle(self, clip, text):
        """The square's middle (T, 2), None where no square of the colour is there in every frame."""
        channel = next(i for name, i in COLOURS.items() if name in text)
        seen = clip.frames[..., channel].astype(int) - clip.frames.min(axis=-1) > 128
        if not seen.any(axis=(1, 2)).all():
            return None
        return np.array([np.argwhere(each).mean(axis=0) for each in seen])

    def moves(self, clip, text):
        """Whether it goes right in the first half, step by step, and down in the second."""
        middle = self.middle(clip, text)
        if middle is None:
            return [False, False]
        steps = np.diff(middle, axis=0)
        return [bool(np.all(steps[:7, 1] > 1)), bool(np.all(steps[8:, 0] > 1))]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Prompts and candidates: six prompts in three colours, whose videos are as asked."""
    videos = tmp_path_factory.mktemp("videos")
    prompts = {}
    for colour in COLOURS:
        for k in range(2):
            name = f"{colour}{k}"
            prompts[name] = asked(name, colour)
            write_video(videos / f"{name}.mp4", frames_of(colour, 4 + 8 * k), 8.0, crf=5)
    return prompts, videos


def judged(critic, world, **judging):
    prompts, videos = world
    with VideoReaders(1) as readers:
        *_, changes = measure_changes(RewardModel(critic), find_candidates(prompts, videos).found, readers, 0)
    return report(changes, Judging(**judging))


def line(found, name, dimension):
    return next(each for each in found["changes"][name] if each["dimension"] == dimension)


def test_an_honest_critic_does_what_is_expected(world):
    found = judged(Honest(), world)
    assert found["videos"] == found["prompts"] == 6
    assert found["as_is"]["mechanics"] == pytest.approx(0.95)
    assert found["as_is"]["event_following"] == 1
    for name, expected in EXPECTED.items():
        for dimension in expected:
            one = line(found, name, dimension)
            assert one["as_expected"] in (("yes",) if one["n"] else (None,)), (name, dimension, one)
    assert line(found, "frozen", "mechanics")["mean_change"]["value"] == pytest.approx(-0.9)
    assert line(found, "reversed", "event_following")["mean_change"]["value"] == -1
    assert line(found, "reversed", "camera_control")["n"] == 0
    assert found["depends_on_prompt"]["verdict"] == found["depends_on_video"]["verdict"] == "yes"
    assert found["gates_closed"]["frozen"] == 6
    assert found["gates_closed"]["reversed"] == 0
    text = report_text(found)
    assert " NO" not in text.split("\n\n")[0]
    assert "WARNING" not in text


def test_a_critic_that_ignores_the_question_is_seen(world):
    found = judged(FakeCritic(lambda clip, question: float(clip.frames[:, 10:26, 10:26].mean() / 255)), world)
    assert found["depends_on_prompt"]["verdict"] == "no"
    assert found["depends_on_prompt"]["mean_size"]["value"] == 0
    for dimension in EXPECTED["other prompt"]:
        assert line(found, "other prompt", dimension)["as_expected"] in ("no", None)
    assert "WARNING: the critic ignores its prompt" in report_text(found)


def test_a_critic_that_ignores_the_video_is_seen(world):
    found = judged(FakeCritic(lambda clip, question: len(question) % 7 / 7), world)
    assert found["depends_on_video"]["verdict"] == "no"
    assert line(found, "frozen", "mechanics")["as_expected"] == "no"
    assert line(found, "frozen", "depth_3d")["as_expected"] == "yes"
    assert "WARNING: the critic ignores its video" in report_text(found)


def test_a_critic_of_a_single_frame_is_seen(world):
    found = judged(FakeCritic(lambda clip, question: float(clip.frames[0].mean() / 255)), world)
    assert line(found, "frozen", "mechanics")["as_expected"] == "no"
    assert line(found, "frozen", "attribution_correctness")["as_expected"] == "yes"


def test_a_guessing_critic_moves_what_should_stay(world):
    found = judged(FakeCritic(), world)
    for name, dimension in (("frozen", "depth_3d"), ("reversed", "attribution_correctness")):
        assert line(found, name, dimension)["as_expected"] == "no"
    assert line(found, "frozen", "mechanics")["as_expected"] in ("no", "unclear")


def test_a_wide_margin_makes_small_movements_stay(world):
    shaky = FakeCritic(lambda clip, question: 0.5 + 0.05 * float(clip.frames[0, 0, 0, 0] / 255))
    assert line(judged(shaky, world, margin=0.5), "recoloured", "camera_control")["as_expected"] == "yes"


def clip_of(frames):
    times = np.arange(len(frames)) / 8
    return Clip(frames, times, np.arange(len(frames)), len(frames) / 8, 8.0, len(frames))


def test_perturbations_by_hand():
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    changed = {
        name: perturb(clip_of(frames), np.random.default_rng(1)).frames for name, perturb in PERTURBATIONS.items()
    }
    assert np.array_equal(changed["reversed"], frames[::-1])
    assert np.array_equal(changed["frozen"], np.stack([frames[0]] * 5))
    assert sorted(each.tobytes() for each in changed["shuffled"]) == sorted(each.tobytes() for each in frames)
    assert not np.array_equal(changed["shuffled"], frames)
    red = np.zeros((1, 1, 1, 3), np.uint8)
    red[..., 0] = 200
    green = PERTURBATIONS["recoloured"](clip_of(red), np.random.default_rng(0)).frames
    assert green.ravel().tolist() == [0, 200, 0]
    assert np.array_equal(changed["recoloured"].max(axis=-1), frames.max(axis=-1))


def test_shuffling_two_frames_always_swaps_them():
    frames = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    for seed in range(8):
        assert np.array_equal(
            PERTURBATIONS["shuffled"](clip_of(frames), np.random.default_rng(seed)).frames, frames[::-1]
        )


def test_a_hue_turn_equals_that_of_colorsys():
    import colorsys

    rgb = np.random.default_rng(2).integers(0, 256, 3, dtype=np.uint8)
    hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
    turned = colorsys.hsv_to_rgb((hue + 1 / 3) % 1, saturation, value)
    ours = PERTURBATIONS["recoloured"](clip_of(rgb.reshape(1, 1, 1, 3)), np.random.default_rng(0)).frames.ravel() / 255
    assert ours == pytest.approx(turned, abs=1e-9)


def test_the_other_prompt_shares_the_fewest_words():
    prompts = {name: asked(name, name) for name in ("red", "green")} | {
        "far": Prompt("far", "Vinegar bubbles over soda", (), (Check("mechanics", "Does vinegar bubble?"),))
    }
    assert {name: other.id for name, other in other_prompts(prompts).items()} == {
        "red": "far",
        "green": "far",
        "far": "red",
    }


def test_expectations_hold_for_the_prompts_that_they_are_about():
    still, pan = (
        Prompt("p", "t", ("one event",), (Check("camera_control", question),))
        for question in ("Does the camera stay still?", "Does the camera pan left?")
    )
    assert not applies("reversed", "camera_control", still)
    assert applies("reversed", "camera_control", pan)
    assert applies("recoloured", "camera_control", still)
    assert not applies("reversed", "event_following", pan)
    assert applies("frozen", "event_following", pan)


@pytest.fixture
def files(world, tmp_path):
    prompts, videos = world
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({name: prompt.to_videoverse() for name, prompt in prompts.items()}))
    return path, videos


def test_the_command_writes_a_report_and_says_what_was_expected(files, tmp_path, capsys):
    prompts, videos = files
    out = tmp_path / "report.json"
    arguments = ["--critic", "fake", "--counterfactual", "--prompts", str(prompts), "--videos", str(videos)]
    assert main(["evaluate", *arguments, "--out", str(out), "--workers", "1"]) == 0
    found = json.loads(out.read_text())["counterfactual"]
    assert set(found["changes"]) == set(EXPECTED)
    assert found["failed"] == []
    printed = capsys.readouterr()
    assert "other prompt" in printed.out
    assert "never trained" in printed.out
    assert main(["evaluate", *arguments, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["evaluate", *arguments, "--limit", "1"]) == 2
    assert "needs videos of two prompts or more" in capsys.readouterr().err


def test_a_limit_takes_candidates_of_many_prompts(files, tmp_path):
    """Three candidates of each prompt, two videos in all: one of each of two prompts."""
    prompts, videos = files
    for path in sorted(videos.rglob("*.mp4")):
        if path.parent == videos:
            (tmp_path / "many" / path.stem).mkdir(parents=True)
            for name in "abc":
                shutil.copy(path, tmp_path / "many" / path.stem / f"{name}.mp4")
    arguments = ["--critic", "fake", "--counterfactual", "--prompts", str(prompts), "--videos", str(tmp_path / "many")]
    out = tmp_path / "r.json"
    assert main(["evaluate", *arguments, "--out", str(out), "--workers", "1", "--limit", "2"]) == 0
    found = json.loads(out.read_text())["counterfactual"]
    assert (found["videos"], found["prompts"]) == (2, 2)


def test_a_broken_video_is_listed_and_left_out(files, tmp_path):
    prompts, videos = files
    (tmp_path / "some").mkdir()
    for name in ("red0", "green0"):
        (tmp_path / "some" / f"{name}.mp4").write_bytes((videos / f"{name}.mp4").read_bytes())
    (tmp_path / "some" / "blue0.mp4").write_bytes(b"no video")
    out = tmp_path / "report.json"
    arguments = ["--critic", "fake", "--prompts", str(prompts), "--videos", str(tmp_path / "some"), "--workers", "1"]
    assert main(["evaluate", "--counterfactual", *arguments, "--out", str(out)]) == 0
    found = json.loads(out.read_text())["counterfactual"]
    assert found["videos"] == 2
    assert [each["video"] for each in found["failed"]] == ["blue0.mp4"]
    for name in ("red0", "green0"):
        (tmp_path / "some" / f"{name}.mp4").write_bytes(b"no video either")
    assert main(["evaluate", "--counterfactual", *arguments, "--out", str(out), "--overwrite"]) == 2


def test_nothing_to_report_is_an_error(world):
    from reward.counterfactual import Changes

    with pytest.raises(InputError, match="no video could be scored"):
        report(Changes(), Judging())
