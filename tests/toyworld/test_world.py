import numpy as np
import pytest

from reward.errors import InputError
from toyworld.scene import COLOURS, Actor, Scene, pose_at
from toyworld.world import World, sample_clip, sample_prompt


def draw(index, **options):
    rng = np.random.default_rng([4, index])
    toy = sample_prompt(rng, f"toy-{index:06d}", **options)
    return toy, sample_clip(toy, rng)


@pytest.mark.parametrize(("size", "frames", "fps"), [(32, 9, 8), (48, 13, 8), (64, 16, 8), (96, 17, 24)])
def test_any_size_and_length_can_be_drawn(size, frames, fps):
    world = World(size, frames, fps)
    picture = world.render(draw(0)[1].scene)
    assert picture.shape == (frames, size, size, 3)
    assert picture.dtype == np.uint8
    assert world.seconds[-1] == pytest.approx((frames - 1) / fps)


def test_the_same_scene_at_another_size_shows_the_same_thing():
    for index in range(10):
        scene = draw(index)[1].scene
        large = World(96, 17).render(scene).astype(float)
        small = World(32, 9).render(scene).astype(float)
        pooled = large[::2].reshape(9, 32, 3, 32, 3, 3).mean(axis=(2, 4))
        assert np.abs(pooled - small).mean() < 1.5


def test_drawing_is_deterministic():
    one, two = (World().render(draw(7)[1].scene) for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("options", [{"size": 16}, {"frames": 4}, {"fps": 0}])
def test_an_impossible_world_is_refused(options):
    with pytest.raises(InputError, match="a world needs"):
        World(**options)


def test_latents_name_what_the_pixels_show():
    world = World(96, 17)
    centre = (np.arange(96) + 0.5) / 96
    compared = 0
    for index in range(20):
        scene = draw(index)[1].scene
        layers = world.layers(scene)
        latents = world.latents(scene, layers)
        for number in range(len(latents.nouns)):
            for frame in np.flatnonzero(latents.visible[number] > 0.98):
                shown = layers.visible[number, frame]
                x = (shown.sum(0) * centre).sum() / shown.sum()
                assert x == pytest.approx(latents.x[number, frame], abs=0.01)
                solid = shown > 0.999
                if solid.any():
                    colour = latents.colour[number, frame]
                    painted = layers.frames[frame][solid]
                    if colour >= 0:
                        assert np.abs(painted - np.array(list(COLOURS.values()))[colour]).max() <= 1
                    else:
                        assert np.ptp(painted) == 0
                compared += 1
    assert compared > 300


def test_cells_share_out_the_picture():
    world = World()
    layers = world.layers(draw(3, story="trio")[1].scene)
    cells = world.cells(layers, 8)
    assert cells.shape == (3, 16, 8, 8)
    assert cells.mean() == pytest.approx(layers.visible.mean(), rel=1e-5)
    assert cells.sum(0).max() <= 1 + 1e-6
    with pytest.raises(InputError, match="does not divide"):
        world.cells(layers, 7)


def test_event_times_are_in_seconds_and_missing_ones_are_nan():
    toy, clip = next(drawn for drawn in map(draw, range(99)) if len(drawn[1].order) < len(drawn[0].plan.events))
    world = World(fps=4)
    latents = world.latents(clip.scene, world.layers(clip.scene))
    assert np.isnan(latents.event_seconds).sum() == len(toy.plan.events) - len(clip.order)
    happening = latents.event_seconds[~np.isnan(latents.event_seconds)]
    assert np.all((happening > 0) & (happening < world.seconds[-1]))


def test_something_moves_when_an_event_happens():
    world = World()
    for index in range(15):
        _, clip = draw(index, story="journey")
        latents = world.latents(clip.scene, world.layers(clip.scene))
        assert latents.moving.any() or not clip.order


def test_a_hidden_thing_is_not_visible():
    ball = Actor("ball", "red", 0.5, 0.5, 0.2, 0.2)
    wall = Actor("box", "blue", 0.5, 0.5, 0.4, 0.4, layer=1)
    scene = Scene((ball, wall), "stay still")
    world = World()
    latents = world.latents(scene, world.layers(scene))
    assert latents.visible[0].max() < 0.01
    assert latents.visible[1].min() > 0.99


def test_moves_follow_each_other_and_end_where_they_say():
    actor = Actor("ball", "red", 0.2, 0.3, 0.2, 0.2).then(0.2, 0.4, "drop", y=0.7).then(0.5, 0.7, "toss", x=0.6, y=0.5)
    pose = pose_at(actor, np.array([0.0, 0.2, 0.3, 0.45, 0.7, 1.0]))
    assert pose.y.tolist() == pytest.approx([0.3, 0.3, 0.4, 0.7, 0.5, 0.5])
    assert pose.x.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.6, 0.6])
