import ast
from pathlib import Path

import numpy as np
import pytest

import toyworld.oracle
from reward.errors import InputError
from reward.prompts import Check, Prompt, with_generic_questions
from reward.video import FrameSampling, read_video, write_video
from toyworld.measure import measure
from toyworld.oracle import judge, look
from toyworld.perturb import add_noise, blur, halve, shift_hue
from toyworld.world import World, sample_clip, sample_prompt


def draw(index, seed=21, **options):
    rng = np.random.default_rng([seed, index])
    toy = sample_prompt(rng, f"toy-{index:06d}", **options)
    return toy, sample_clip(toy, rng)


def shares_right(clips, frames_of, times=None):
    """Return the share of right answers and of exactly right orders."""
    answers, orders = [], []
    for toy, clip in clips:
        verdict = judge(toy.prompt, frames_of(clip), times)
        answers += [answer.yes == truth for answer, truth in zip(verdict.answers, clip.checks, strict=True)]
        orders.append(verdict.order == clip.order)
    return np.mean(answers), np.mean(orders)


CLIPS = [draw(index) for index in range(60)]


@pytest.mark.parametrize(("size", "frames"), [(32, 9), (48, 13), (64, 16), (64, 17), (96, 24)])
def test_answers_are_right_at_every_size(size, frames):
    world = World(size, frames)
    answers, orders = shares_right(CLIPS, lambda clip: world.render(clip.scene))
    assert answers >= 0.99
    assert orders >= 0.98


def test_answers_are_right_on_decoded_videos(tmp_path):
    world = World()

    def decoded(clip):
        write_video(tmp_path / "clip.mp4", world.render(clip.scene), world.fps, crf=18)
        return read_video(tmp_path / "clip.mp4", FrameSampling(num_frames=8)).frames

    answers, orders = shares_right(CLIPS[:30], decoded)
    assert answers >= 0.97
    assert orders >= 0.93


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: blur(frames, 0.7),
        lambda frames: blur(frames, 1.0),
        lambda frames: shift_hue(frames, 8),
        lambda frames: shift_hue(frames, -8),
        halve,
        lambda frames: add_noise(frames, 6, np.random.default_rng(0)),
    ],
    ids=["blur 0.7", "blur 1", "hue +8", "hue -8", "half", "noise 6"],
)
def test_harmless_changes_change_no_answer(change):
    world = World()
    answers, orders = shares_right(CLIPS[:40], lambda clip: change(world.render(clip.scene)))
    assert answers >= 0.98
    assert orders >= 0.97


def test_uneven_timestamps_are_respected():
    """A pan is steady in time, so a clip sampled densely at its start is told from one at changing speed."""
    toy, clip = next(pair for pair in map(draw, range(99)) if pair[1].scene.camera.startswith("pan"))
    world = World(frames=33)
    chosen = np.array([0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 28, 32])
    frames = world.render(clip.scene)[chosen]
    assert measure(frames, world.seconds[chosen]).camera.kind == clip.scene.camera
    assert judge(toy.prompt, frames, world.seconds[chosen]).order == clip.order


def test_the_oracle_imports_nothing_that_knows_the_truth():
    folder = Path(toyworld.oracle.__file__).parent
    seen, todo = set(), {"oracle"}
    while todo:
        name = todo.pop()
        seen.add(name)
        tree = ast.parse((folder / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            names = {alias.name for alias in node.names}
            assert not names & {"Scene", "Actor", "ToyClip", "pose_at", "camera_at"}
            if node.module == "toyworld":
                todo |= names - seen
            elif node.module is not None and node.module.startswith("toyworld."):
                todo |= {node.module.removeprefix("toyworld.")} - seen
    assert {"measure", "questions", "judging", "events"} <= seen
    assert not seen & {"clips", "acts", "world", "stories", "plan", "render", "make"}


def test_a_frozen_clip_follows_no_event_and_has_a_still_camera():
    for toy, clip in CLIPS[:20]:
        frames = np.repeat(World().render(clip.scene)[:1], 16, axis=0)
        assert judge(toy.prompt, frames).order == ""
        assert measure(frames).camera.kind == "stay still"


def test_a_reversed_clip_reverses_the_camera():
    turned = {"pan to the left": "pan to the right", "zoom in": "zoom out", "stay still": "stay still"}
    turned |= {after: before for before, after in turned.items()}
    for _, clip in CLIPS[:30]:
        assert measure(World().render(clip.scene)[::-1]).camera.kind == turned[clip.scene.camera]


@pytest.mark.parametrize("grey", [0, 128])
def test_an_empty_clip_answers_no_and_cannot_tell_the_camera(grey):
    toy, _ = draw(3, story="trio")
    verdict = judge(toy.prompt, np.full((16, 64, 64, 3), grey, np.uint8))
    for question, answer in zip(toy.plan.questions, verdict.answers, strict=True):
        if question.template == "camera":
            assert np.isnan(answer.yes)
            assert "background" in answer.reason
        else:
            assert answer.yes == 0
            assert "no " in answer.reason
    assert verdict.order == ""


def test_coloured_noise_is_no_thing():
    toy, _ = draw(3, story="trio")
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    assert not any(seen.coherent for seen in look(measure(frames)))
    assert judge(toy.prompt, frames).order in ("", None)


def test_questions_of_another_world_are_refused_with_a_reason():
    prompt = with_generic_questions("p", "A dog runs.")
    verdict = judge(prompt, World().render(CLIPS[0][1].scene))
    assert all(np.isnan(answer.yes) and "worded" in answer.reason for answer in verdict.answers)
    assert verdict.order is None


def test_two_things_of_one_colour_cannot_be_told_apart():
    checks = (Check("mechanics", "Does the ball fall down?"), Check("camera_control", "Does the camera stay still?"))
    prompt = Prompt("p", "We see a red ball and a red box. The ball falls down.", ("The ball falls down.",), checks)
    verdict = judge(prompt, World().render(CLIPS[0][1].scene))
    assert np.isnan(verdict.answers[0].yes)
    assert "shares its colour" in verdict.answers[0].reason
    assert verdict.answers[1].yes in (0, 1)
    assert verdict.order is None


@pytest.mark.parametrize(
    ("frames", "times", "words"),
    [
        (np.zeros((16, 64, 64), np.uint8), None, "shape"),
        (np.zeros((16, 64, 64, 3), np.float32), None, "uint8"),
        (np.zeros((3, 64, 64, 3), np.uint8), None, "5 frames"),
        (np.zeros((9, 16, 64, 3), np.uint8), None, "24x24"),
        (np.zeros((9, 64, 64, 3), np.uint8), np.zeros(9), "rising"),
        (np.zeros((9, 64, 64, 3), np.uint8), np.arange(8), "rising"),
        (np.zeros((9, 64, 64, 3), np.uint8), np.full(9, np.nan), "rising"),
    ],
)
def test_a_clip_that_cannot_be_measured_is_refused(frames, times, words):
    with pytest.raises(InputError, match=words):
        measure(frames, times)


def test_look_tells_colour_motion_and_coherence():
    for index in range(20):
        toy, clip = draw(index, story="solo", camera="stay still")
        actor, part = clip.scene.actors[0], toy.plan.parts[0]
        if part.act != "drop" or clip.order != "A" or actor.y + actor.moves[0].y > 2 or not clip.checks[0]:
            continue
        (seen,) = look(measure(World(32, 9).render(clip.scene)))
        assert (seen.colour, seen.motion, seen.coherent) == (actor.colour, ("down",), True)
        return
    raise AssertionError("no falling thing was drawn")


def test_look_calls_a_thing_that_changes_colour_or_doubles_incoherent():
    _, clip = next(pair for pair in (draw(i, story="journey") for i in range(99)) if pair[1].order == "A")
    frames = World(32, 9).render(clip.scene)
    assert all(seen.coherent for seen in look(measure(frames)) if seen.presence > 0.9)
    drifting = np.concatenate([frames[:4], shift_hue(frames[4:], 100)])
    assert not any(seen.coherent for seen in look(measure(drifting)))
    doubled = np.where(np.ptp(frames, axis=-1, keepdims=True) > 60, frames, np.roll(frames, 16, axis=2))
    assert not any(seen.coherent for seen in look(measure(doubled)))
