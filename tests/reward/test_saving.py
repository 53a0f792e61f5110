"""Saving and loading critics: a manifest, its weights and a calibration are bound to each other by hashes."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from reward import FakeCritic, InputError, LoadOptions, RewardModel, VideoError
from reward.calibration import Calibration, Platt
from reward.critic import VideoCritic
from reward.loading import zero_shot_manifest
from reward.prompts import Check, Prompt
from reward.tiny import tiny_model
from reward.video import Clip, write_video

ON_CPU = LoadOptions(device="cpu")
PROMPT = Prompt("p", "text", ("It falls.",), (Check("mechanics", "Does it fall?"), Check("depth_3d", "Is it near?")))


def noise_clip():
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    return Clip(frames, np.arange(8) / 8, np.arange(8), 1.0, 8.0, 8)


def answers(model):
    reward = model.score([noise_clip()], [PROMPT])[0]
    return [*(answer.p_yes for answer in reward.answers), reward.order.expected_lcs]


@pytest.fixture(scope="module")
def reward_model(model, tokenizer):
    manifest = zero_shot_manifest("tiny", model.config, tokenizer)
    manifest = dataclasses.replace(manifest, min_answer_mass=0.0)
    return RewardModel(VideoCritic(model, tokenizer, manifest), Calibration(maps={"pooled": Platt(a=0.7, b=0.3)}))


@pytest.fixture(scope="module")
def saved(reward_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("critic") / "saved"
    reward_model.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the saved critic that a test may spoil."""
    return shutil.copytree(saved, tmp_path / "critic")


def test_a_saved_critic_answers_the_same(reward_model, saved):
    loaded = RewardModel.from_pretrained(saved, ON_CPU)
    assert answers(loaded) == pytest.approx(answers(reward_model), abs=1e-6)
    assert loaded.identity == reward_model.identity
    assert loaded.identity["calibrated"]
    assert not list(saved.glob("*.bin")) + list(saved.glob("*.pt"))


def test_a_plain_checkpoint_is_a_zero_shot_critic(reward_model, folder):
    (folder / "worldcritic.json").unlink()
    (folder / "calibration.json").unlink()
    loaded = RewardModel.from_pretrained(folder, ON_CPU)
    assert loaded.critic.manifest.yes == reward_model.critic.manifest.yes
    assert loaded.min_answer_mass == 0.1
    assert not loaded.identity["calibrated"]


def test_a_saved_adapter_loads_on_its_base(model, tokenizer, saved, tmp_path):
    from peft import LoraConfig, get_peft_model

    base = tmp_path / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    config = LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|v_proj)", init_lora_weights=False)
    adapted = get_peft_model(tiny_model(model.config.model_type, tokenizer, gain=4.0), config).eval()
    manifest = dataclasses.replace(
        zero_shot_manifest("adapted", model.config, tokenizer), base_model=str(base), min_answer_mass=0.0
    )
    critic = RewardModel(VideoCritic(adapted, tokenizer, manifest))
    critic.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()

    loaded = RewardModel.from_pretrained(tmp_path / "adapter", ON_CPU)
    assert answers(loaded) == pytest.approx(answers(critic), abs=1e-6)
    plain = RewardModel.from_pretrained(base, ON_CPU, min_answer_mass=0.0)
    assert np.abs(np.subtract(answers(loaded), answers(plain))).max() > 1e-3


def spoil_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_changed_weights_are_refused_with_both_hashes(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model\.safetensors does not match.*says [0-9a-f]{12}.*is [0-9a-f]{12}"):
        RewardModel.from_pretrained(folder, ON_CPU)


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="absent"):
        RewardModel.from_pretrained(folder, ON_CPU)


def test_a_calibration_of_another_critic_is_refused_with_both_hashes(folder):
    spoil_json(folder / "calibration.json", manifest_sha256="0" * 64)
    with pytest.raises(InputError, match=r"000000000000.*[0-9a-f]{12}"):
        RewardModel.from_pretrained(folder, ON_CPU)


def test_other_frames_than_calibrated_for_are_refused(folder):
    with pytest.raises(InputError, match="calibrate this critic again"):
        RewardModel.from_pretrained(folder, LoadOptions(device="cpu", num_frames=4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"wording": "f" * 64}, "question wording is ffffffffffff"),
        ({"yes": [1, 2]}, "Yes token ids"),
        ({"model_type": "llava"}, "model type"),
        ({"surprise": 1}, "surprise"),
        ({"min_answer_mass": 3}, "min_answer_mass"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder, changes, message):
    (folder / "calibration.json").unlink()
    spoil_json(folder / "worldcritic.json", **changes)
    with pytest.raises(InputError, match=message):
        RewardModel.from_pretrained(folder, ON_CPU)


@pytest.mark.parametrize(
    "maps", [{"taste": {"kind": "platt"}}, {"pooled": {"kind": "spline"}}, {"pooled": {"kind": "platt", "a": -1}}, [1]]
)
def test_a_calibration_that_is_none_is_refused(folder, maps):
    spoil_json(folder / "calibration.json", maps=maps)
    with pytest.raises(InputError, match=r"calibration\.json"):
        RewardModel.from_pretrained(folder, ON_CPU)


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "has space"])
def test_an_unknown_critic_is_one_clear_error(name):
    with pytest.raises(InputError, match="short names are: fake, oracle, toyworld"):
        RewardModel.from_pretrained(name, ON_CPU)


def test_a_hub_that_cannot_be_reached_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="the hub does not give it"):
        RewardModel.from_pretrained("nobody/nothing", ON_CPU)


def test_a_folder_without_a_model_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        RewardModel.from_pretrained(str(tmp_path), ON_CPU)


def test_a_device_that_is_not_here_is_one_clear_error(saved):
    with pytest.raises(InputError, match="device 'cuda:99'"):
        RewardModel.from_pretrained(saved, LoadOptions(device="cuda:99"))


def test_the_embedded_critic_is_trained_calibrated_and_the_same_every_time():
    first, second = (RewardModel.from_pretrained("toyworld", ON_CPU) for _ in range(2))
    assert first.identity == second.identity
    assert first.identity["trained"] is True
    assert first.identity["calibrated"] is True
    assert answers(first) == answers(second)


def test_the_embedded_critic_in_bfloat16_keeps_its_positions_exact():
    rough = RewardModel.from_pretrained("toyworld", device="cpu", dtype="bfloat16")
    exact = RewardModel.from_pretrained("toyworld", device="cpu")
    assert answers(rough) == pytest.approx(answers(exact), abs=0.05)
    ours, theirs = (dict(m.critic.model.named_buffers()) for m in (rough, exact))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_files_are_scored_by_prompt_or_plain_text(tmp_path):
    clip = noise_clip()
    write_video(tmp_path / "a.mp4", clip.frames, fps=8)
    model = RewardModel.from_pretrained("fake", num_frames=4, weights={"mechanics": 3})
    checked, generic = model.score_files([tmp_path / "a.mp4"] * 2, [PROMPT, "A ball falls."])
    assert len(checked.answers) == 2
    assert len(generic.answers) == 9
    p, near = (answer.p_yes for answer in checked.answers)
    assert checked.scalar == pytest.approx((checked.order.expected_lcs + 3 * p + near) / 5)
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        model.score_files([tmp_path / "gone.mp4"], [PROMPT])


def test_a_fake_critic_has_nothing_to_save(tmp_path):
    with pytest.raises(InputError, match="FakeCritic"):
        RewardModel(FakeCritic()).save_pretrained(tmp_path)
