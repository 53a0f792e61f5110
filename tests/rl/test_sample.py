"""`worldcritic sample` and the store that it writes, through the console command."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import worldcritic
from reward.errors import InputError
from reward.video import FrameSampling, read_video
from rl.generator import Generator
from rl.store import RolloutStore

TEXTS = {"fall": "the red ball falls", "rise": "a blue square rises", "jump": "the green ball jumps"}


def write_prompts(path, texts):
    path.write_text("".join(json.dumps({"prompt_id": key, "prompt": text}) + "\n" for key, text in texts.items()))
    return path


@pytest.fixture
def prompts(tmp_path):
    return write_prompts(tmp_path / "prompts.jsonl", {key: TEXTS[key] for key in ("fall", "rise")})


@pytest.fixture(scope="module")
def generator(tiny):
    return str(tiny("wan"))


def sample(generator, prompts, out, *options):
    command = ["sample", "--generator", generator, "--prompts", str(prompts), "--out", str(out), "--device", "cpu"]
    return worldcritic.main([*command, "--num", "2", *map(str, options)])


def rows(out):
    return [row for path in sorted(Path(out).glob("index*.jsonl")) for row in read(path)]


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory, generator):
    """A store of two prompts with two clips each, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("made")
    prompts = write_prompts(folder / "prompts.jsonl", {key: TEXTS[key] for key in ("fall", "rise")})
    assert sample(generator, prompts, folder / "store") == 0
    return folder / "store"


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


def test_a_store_holds_what_the_generator_makes(made, generator):
    store = RolloutStore.open(made)
    assert [row.key for row in store.rows] == [("fall", 0), ("fall", 1), ("rise", 0), ("rise", 1)]
    assert len({row.seed for row in store.rows}) == 4
    source = Generator.load(generator, device="cpu")
    store.check(source)
    for row in store.rows:
        store.verify(row)
        wanted = source.sample([store.condition(row.prompt_id)], [row.seed], store.sampling)
        latents = store.latents(row)
        assert latents.dtype == torch.float32
        assert float((latents - wanted[0]).abs().max()) < 1e-5
        frames = source.decode(latents[None])[0]
        clip = read_video(store.video(row), FrameSampling(num_frames=9))
        assert clip.frames.shape == frames.shape
        assert clip.fps == store.sampling.fps
        assert float(np.abs(clip.frames.mean(axis=(1, 2)) - frames.mean(axis=(1, 2))).mean()) < 12
    (encoded,) = source.encode([TEXTS["fall"]])
    assert all(torch.equal(value, store.condition("fall")[name]) for name, value in encoded.items())
    assert all(torch.equal(value, store.negative()[name]) for name, value in source.unconditional().items())
    assert store.header.levels == source.levels(store.sampling)


def test_score_scores_a_store_in_place_and_from_its_manifest(made, tmp_path):
    prompts = write_prompts(tmp_path / "prompts.jsonl", {key: TEXTS[key] for key in ("fall", "rise")})
    common = ["score", "--critic", "fake", "--prompts", str(prompts), "--workers", "1"]
    assert worldcritic.main([*common, "--videos", str(made), "--out", str(tmp_path / "a.jsonl")]) == 0
    manifest = str(made / "videos.jsonl")
    assert worldcritic.main([*common, "--manifest", manifest, "--out", str(tmp_path / "b.jsonl")]) == 0
    hashes = {row["sha256"] for row in rows(made)}
    for name in ("a.jsonl", "b.jsonl"):
        assert {row["sha256"] for row in read(tmp_path / name)} == hashes


def test_the_same_command_goes_on_where_it_stopped(copied, prompts, generator, capsys):
    before = (copied / "fall" / "0000.mp4").stat().st_mtime_ns
    index = copied / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:2]) + lines[2][:40])  # killed while the third row was written
    (copied / "fall" / "0001.safetensors").unlink()
    old = {row["video"]: row for row in map(json.loads, lines)}
    assert sample(generator, prompts, copied) == 0
    assert "3 clips made, 0 failed; 4 in" in capsys.readouterr().err
    assert (copied / "fall" / "0000.mp4").stat().st_mtime_ns == before
    store = RolloutStore.open(copied)
    assert [row.key for row in store.rows] == [("fall", 0), ("fall", 1), ("rise", 0), ("rise", 1)]
    assert {row.video: row.seed for row in store.rows} == {video: row["seed"] for video, row in old.items()}


def test_more_candidates_and_prompts_change_nothing_that_was_there(copied, tmp_path, generator):
    before = rows(copied)
    more = write_prompts(tmp_path / "more.jsonl", {key: TEXTS[key] for key in ("jump", "rise", "fall")})
    assert sample(generator, more, copied, "--num", 3) == 0
    after = rows(copied)
    assert after[:4] == before
    assert len(after) == 9
    alone = tmp_path / "alone"
    assert sample(generator, more, alone, "--num", 1) == 0
    seeds = {(row["prompt_id"], row["candidate"]): row["seed"] for row in after}
    assert all(seeds[row["prompt_id"], row["candidate"]] == row["seed"] for row in rows(alone))


def test_shards_make_the_whole_together(tmp_path, generator):
    prompts = write_prompts(tmp_path / "prompts.jsonl", {f"p{i}": TEXTS["fall"] for i in range(4)})
    out = tmp_path / "store"
    for shard in range(2):
        assert sample(generator, prompts, out, "--num", 1, "--num_shards", 2, "--shard_index", shard) == 0
    assert {row.prompt_id for row in RolloutStore.open(out).rows} == {"p0", "p1", "p2", "p3"}
    assert len(rows(out)) == 4
    assert len((out / "videos.jsonl").read_text().splitlines()) == 4


def test_limit_and_dry_run(tmp_path, prompts, generator, capsys):
    out = tmp_path / "store"
    assert sample(generator, prompts, out, "--dry_run", "--steps", 3) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan == {"clips": 4, "prompts": 2, "clips_to_make": 4, "settings_given": {"steps": 3}}
    assert not out.exists()
    assert sample(generator, prompts, out, "--limit", 1, "--steps", 3, "--guidance", 2, "--schedule", "uniform") == 0
    store = RolloutStore.open(out)
    assert len(store.rows) == 1
    assert (store.sampling.steps, store.sampling.guidance, store.sampling.schedule) == (3, 2.0, "uniform")
    record = json.loads((out / "index.jsonl.run.json").read_text())
    assert record["generator"]["sampling"]["steps"] == 3


def test_a_wasted_last_step_is_not_silent(tmp_path, prompts, generator, capsys):
    assert sample(generator, prompts, tmp_path / "a", "--limit", 1) == 0
    told = capsys.readouterr().err
    assert "4 steps, noise levels 1, 0.8005, 0.5015, 0.003988, 0" in told
    assert "--schedule uniform spends it better" in told
    assert sample(generator, prompts, tmp_path / "b", "--limit", 1, "--schedule", "uniform") == 0
    assert "spends it better" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--steps", 5], "was made with steps 4, not 5"),
        (["--seed", 1], "was made with seed 0, not 1"),
        (["--dtype", "bfloat16"], 'was made with dtype "float32", not "bfloat16"'),
    ],
)
def test_a_store_of_other_settings_is_refused(copied, prompts, generator, capsys, options, told):
    before = (copied / "index.jsonl").read_bytes()
    assert sample(generator, prompts, copied, *options) == 2
    assert told in capsys.readouterr().err
    assert (copied / "index.jsonl").read_bytes() == before


def test_overwrite_makes_all_clips_again(copied, prompts, generator, capsys):
    assert sample(generator, prompts, copied, "--seed", 1, "--overwrite") == 0
    assert "4 clips made" in capsys.readouterr().err
    assert RolloutStore.open(copied).header.seed == 1
    assert len(rows(copied)) == 4


def test_a_store_of_another_generator_is_refused(copied, prompts, tiny, capsys):
    assert sample(str(tiny("wan_ti2v")), prompts, copied) == 2
    assert "was made with fingerprint" in capsys.readouterr().err
    with pytest.raises(InputError, match="made by another generator: family wan"):
        RolloutStore.open(copied).check(Generator.load(str(tiny("ltx")), device="cpu"))
    with pytest.raises(InputError, match="made by another generator: fingerprint"):
        RolloutStore.open(copied).check(Generator.load(str(tiny("wan_ti2v")), device="cpu"))


def test_damaged_stores_are_refused(copied):
    from safetensors.torch import save_file

    store = RolloutStore.open(copied)
    first, second, third = store.rows[:3]
    save_file({"latents": torch.zeros(4, 3, 4, 8)}, copied / first.latents)
    with pytest.raises(InputError, match=r"holds .*\(4, 3, 4, 8\).*; a clip of this store has latents \(4, 3, 4, 4\)"):
        store.latents(first)
    with pytest.raises(InputError, match="is not the file"):
        store.verify(first)
    (copied / second.latents).write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is damaged"):
        store.latents(second)
    (copied / third.latents).unlink()
    with pytest.raises(InputError, match="does not exist"):
        store.latents(third)
    with pytest.raises(InputError, match="does not exist"):
        store.condition("nobody")
    row = json.loads((copied / "index.jsonl").read_text().splitlines()[0])
    (copied / "index.jsonl").write_text(json.dumps(row | {"video": "../../etc/passwd"}) + "\n")
    with pytest.raises(InputError, match="leaves the folder"):
        RolloutStore.open(copied)
    with pytest.raises(InputError, match="is not a rollout store"):
        RolloutStore.open(copied.parent)


def test_bad_input_is_one_clear_line(tmp_path, prompts, generator, copied, capsys):
    def told(*arguments):
        assert sample(*arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        return lines[-1]

    reserved = write_prompts(tmp_path / "reserved.jsonl", {"conditions": "the ball falls"})
    assert "a name that a rollout store uses itself" in told(generator, reserved, tmp_path / "a")
    long = write_prompts(tmp_path / "long.jsonl", {"long": "the red ball falls " * 5})
    assert "has 21 tokens, more than the 16" in told(generator, long, tmp_path / "b")
    changed = write_prompts(tmp_path / "changed.jsonl", {"fall": "the blue ball falls"})
    assert "prompt fall had another text" in told(generator, changed, copied)
    assert "must be below --num_shards" in told(generator, prompts, tmp_path / "c", "--shard_index", 1)
    assert "other shards" in told(generator, prompts, copied, "--overwrite", "--num_shards", 2)


def test_a_folder_of_something_else_is_refused(tmp_path, prompts, generator, capsys):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"x")
    assert sample(generator, prompts, out) == 2
    assert "holds holiday.jpg and is not a rollout store" in capsys.readouterr().err


def test_a_prompt_whose_text_changed_before_its_first_clip_is_encoded_again(copied, tmp_path, generator):
    (copied / "index.jsonl").write_text("")
    changed = write_prompts(tmp_path / "changed.jsonl", {"fall": "the blue ball falls"})
    assert sample(generator, changed, copied, "--limit", 1) == 0
    (encoded,) = Generator.load(generator, device="cpu").encode(["the blue ball falls"])
    kept = RolloutStore.open(copied).condition("fall")
    assert all(torch.equal(value, kept[name]) for name, value in encoded.items())


def test_clips_with_a_lora_are_others_and_say_so(tmp_path, prompts, generator, made, capsys):
    source = Generator.load(generator, device="cpu")
    source.add_lora(2, alpha=8, init=False)
    source.save_lora(tmp_path / "lora")
    out = tmp_path / "store"
    assert sample(generator, prompts, out, "--limit", 1, "--lora", tmp_path / "lora") == 0
    with_lora, without = RolloutStore.open(out), RolloutStore.open(made)
    (row,) = with_lora.rows
    assert row.seed == without.rows[0].seed
    assert float((with_lora.latents(row) - without.latents(without.rows[0])).abs().max()) > 1e-3
    assert list(with_lora.header.lora["sha256"]) == ["pytorch_lora_weights.safetensors"]
    capsys.readouterr()
    assert sample(generator, prompts, out) == 2
    assert "was made with lora" in capsys.readouterr().err


def test_clips_that_are_no_numbers_fail_and_the_rest_is_kept(tmp_path, prompts, tiny, capsys):
    """A generator whose text embedding of one word is NaN."""
    from diffusers import WanPipeline

    pipe = WanPipeline.from_pretrained(tiny("wan"))
    with torch.no_grad():
        pipe.text_encoder.shared.weight[pipe.tokenizer.convert_tokens_to_ids("blue")] = float("nan")
    pipe.save_pretrained(tmp_path / "broken")
    shutil.copy(tiny("wan") / "sampling.json", tmp_path / "broken")
    out = tmp_path / "store"
    assert sample(str(tmp_path / "broken"), prompts, out) == 3
    told = capsys.readouterr().err
    assert "rise/0000: latents are not finite" in told
    assert "2 clips made, 2 failed; 2 in" in told
    assert {row.prompt_id for row in RolloutStore.open(out).rows} == {"fall"}


@pytest.mark.parametrize("name", ["ltx", "cogvideox", "hunyuan"])
def test_every_family_is_sampled(tmp_path, prompts, tiny, name):
    out = tmp_path / "store"
    assert sample(str(tiny(name)), prompts, out, "--limit", 2) == 0
    store = RolloutStore.open(out)
    assert [store.latents(row).shape for row in store.rows] == [torch.Size(store.header.latent_shape)] * 2


@pytest.mark.slow
def test_a_killed_run_leaves_only_whole_clips(tmp_path, generator):
    prompts = write_prompts(tmp_path / "prompts.jsonl", {f"p{i}": TEXTS["fall"] for i in range(40)})
    out = tmp_path / "store"
    command = [sys.executable, "-m", "worldcritic", "sample", "--generator", generator, "--prompts", str(prompts)]
    process = subprocess.Popen([*command, "--out", str(out), "--batch_size", "1", "--num", "2", "--device", "cpu"])
    index = out / "index.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not index.exists() or index.read_text().count("\n") < 3):
        time.sleep(0.05)
    process.kill()
    process.wait()
    store = RolloutStore.open(out)
    assert 3 <= len(store.rows) < 80
    for row in store.rows:
        store.verify(row)
        assert store.latents(row).isfinite().all()
    assert sample(generator, prompts, out) == 0
    assert len(RolloutStore.open(out).rows) == 80
