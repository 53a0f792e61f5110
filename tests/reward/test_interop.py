import json
import math

import numpy as np
import pytest
import torch

from reward import Check, FakeCritic, InputError, Prompt, RewardModel, write_video
from reward.errors import CriticError
from reward.interop import MissingRewardError, RewardFunction, flow_grpo_reward, trl_reward


def red(clip, question):
    return float(clip.frames[..., 0].mean()) / 255


def model(p_yes=red):
    return RewardModel(FakeCritic(p_yes, num_frames=4), gates=False)


def clip(level, frames=6):
    """Frames (T, 16, 16, 3) whose red is `level` and whose green moves."""
    made = np.zeros((frames, 16, 16, 3), np.uint8)
    made[..., 0] = level
    made[..., 1] = np.linspace(0, 200, frames, dtype=np.uint8)[:, None, None]
    return made


ASKED = Prompt("ball", "a ball rolls", (), (Check("mechanics", "Does the ball roll?"),))
SILENT = Prompt("silent", "nothing is asked")


def test_arrays_tensors_and_paths_give_the_same_rewards(tmp_path):
    reward = RewardFunction(model(), {"ball": ASKED}, fps=8)
    videos = np.stack([clip(51), clip(204)])
    expected = [0.2, 0.8]
    assert reward(videos, ["a ball rolls", "ball"]) == pytest.approx(expected)
    assert reward(torch.from_numpy(videos), [ASKED, ASKED]) == pytest.approx(expected)
    assert reward([clip(51, 5), clip(204, 9)], [ASKED, ASKED]) == pytest.approx(expected)
    paths = [tmp_path / "a.mp4", str(tmp_path / "b.mp4")]
    for path, video in zip(paths, videos, strict=True):
        write_video(path, video, 8.0, crf=0)
    assert reward(paths, [ASKED, ASKED]) == pytest.approx(expected, abs=0.02)


def test_frames_in_memory_are_seen_at_their_own_rate():
    seen = []

    def remember(clip, question):
        seen.append((clip.duration, list(clip.timestamps)))
        return 0.5

    RewardFunction(model(remember), fps=2)([clip(9, 7)], [ASKED])
    assert seen == [(3.5, [0.0, 1.0, 2.0, 3.0])]


def test_an_unknown_text_is_asked_about_with_generic_questions():
    asked = []

    def remember(clip, question):
        asked.append(question)
        return 1.0

    assert RewardFunction(model(remember))([clip(9)], ["a cat sleeps"]) == pytest.approx([1.0])
    assert sum('"a cat sleeps"' in question for question in asked) == 9
    assert "events" in asked


def test_what_cannot_be_judged_is_nan_with_a_reason(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    write_video(tmp_path / "good.mp4", clip(204), 8.0)
    reward = RewardFunction(model(), root=tmp_path)
    outcomes = reward.judge(["good.mp4", "broken.mp4", "gone.mp4", "good.mp4"], [ASKED, ASKED, ASKED, SILENT])
    rewards = reward(["good.mp4", "broken.mp4", "gone.mp4", "good.mp4"], [ASKED, ASKED, ASKED, SILENT])
    assert rewards[0] == pytest.approx(0.8, abs=0.02)
    assert np.isnan(rewards[1:]).all()
    assert outcomes[0].reason is None
    assert "broken.mp4" in outcomes[1].reason
    assert outcomes[2].reason.endswith("gone.mp4 does not exist")
    assert outcomes[3].reason == "the prompt asks nothing"
    with pytest.raises(MissingRewardError, match=r"video 1 has no reward: .*broken\.mp4"):
        RewardFunction(model(), root=tmp_path, missing="raise")(["good.mp4", "broken.mp4"], [ASKED, ASKED])


def test_a_clip_that_the_critic_fails_on_does_not_take_the_others_down():
    def picky(clip, question):
        if clip.frames[0, 0, 0, 0] > 200:
            raise CriticError("out of memory")
        return 0.25

    outcomes = RewardFunction(model(picky)).judge([clip(10), clip(255), clip(20)], [ASKED] * 3)
    assert [outcome.reason for outcome in outcomes] == [None, "out of memory", None]
    assert [outcome.scalar for outcome in outcomes[::2]] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("videos", "prompts", "fault"),
    [
        ([clip(1)], ["a", "b"], "1 videos for 2 prompts"),
        (np.zeros((1, 4, 3, 8, 8), np.uint8), ["a"], r"uint8 \(T, H, W, 3\)"),
        (np.zeros((1, 4, 8, 8, 3), np.float32), ["a"], "got float32"),
        ([clip(1)], [" "], "a prompt is a text"),
        ([3], ["a"], "got int"),
        (["../b.mp4"], ["a"], "leaves the folder"),
        (["/etc/passwd"], ["a"], "must be relative"),
    ],
)
def test_wrong_calls_are_refused(tmp_path, videos, prompts, fault):
    with pytest.raises(InputError, match=fault):
        RewardFunction(model(), root=tmp_path)(videos, prompts)


# flow_grpo: multi_score calls fn(images, prompts, metadata), weighs the scores and adds them up.


def multi_score(functions, images, prompts, metadata):
    details, total = {}, []
    for name, (function, weight) in functions.items():
        scores, _ = function(images, prompts, metadata)
        details[name] = scores
        weighted = [weight * score for score in scores]
        total = [a + b for a, b in zip(total, weighted, strict=True)] if total else weighted
    return {**details, "avg": total}, {}


def test_flow_grpo_calls_it_with_float_videos_channels_second():
    images = torch.from_numpy(np.stack([clip(51), clip(204)])).permute(0, 1, 4, 2, 3).float() / 255
    function = flow_grpo_reward(RewardFunction(model(), {"ball": ASKED}, fps=8))
    details, _ = multi_score(
        {"worldcritic": (function, 0.5)}, images, ["a ball rolls"] * 2, [{}, {"prompt_id": "ball"}]
    )
    gathered = {key: torch.as_tensor(value).float() for key, value in details.items()}
    assert gathered["worldcritic"].tolist() == pytest.approx([0.2, 0.8])
    assert gathered["avg"].tolist() == pytest.approx([0.1, 0.4])
    scores, info = function(images.numpy(), ["a ball rolls"] * 2, [{}, {}])
    assert info["reasons"] == [None, None]
    assert info["dimensions"]["mechanics"] == pytest.approx([0.2, 0.8])
    assert scores == pytest.approx([0.2, 0.8])


def test_flow_grpo_gets_nan_for_frames_that_are_no_numbers():
    images = np.stack([clip(51), clip(204)]).transpose(0, 1, 4, 2, 3) / np.float32(255)
    images[1, 2, 0, 3, 3] = math.nan
    scores, info = flow_grpo_reward(RewardFunction(model()))(images, [ASKED.text] * 2, None)
    assert math.isfinite(scores[0])
    assert math.isnan(scores[1])
    assert info["reasons"][1] == "the frames hold values that are no finite numbers"
    assert all(math.isnan(values[1]) for values in info["dimensions"].values())
    with pytest.raises(MissingRewardError, match="video 1 has no reward"):
        flow_grpo_reward(RewardFunction(model(), missing="raise"))(images, [ASKED.text] * 2, None)


def test_flow_grpo_single_images_and_unknown_ids_are_refused():
    function = flow_grpo_reward(RewardFunction(model()))
    with pytest.raises(InputError, match="single images have no events"):
        function(torch.zeros(2, 3, 8, 8), ["a", "b"], [{}, {}])
    with pytest.raises(InputError, match="prompt id 'cat' is not among"):
        function(torch.zeros(1, 2, 3, 8, 8), ["a"], [{"prompt_id": "cat"}])


# TRL: reward_func(prompts=..., completions=..., completion_ids=..., **columns, trainer_state, log_extra, log_metric).


def test_trl_conversations_columns_and_logs():
    reward = RewardFunction(model(), {"ball": ASKED, "silent": SILENT}, fps=8)
    chat = [[{"role": "user", "content": [{"type": "text", "text": "a ball rolls"}]}], "nothing is asked"]
    extra, metrics = {}, {}
    rewards = trl_reward(reward, "video")(
        prompts=chat,
        completions=["x", "y"],
        completion_ids=[[1], [2]],
        video=[clip(204), clip(51)],
        trainer_state=None,
        log_extra=extra.__setitem__,
        log_metric=metrics.__setitem__,
    )
    assert rewards == [pytest.approx(0.8), None]
    assert extra == {"worldcritic_reason": ["", "the prompt asks nothing"]}
    assert metrics == {"worldcritic/missing": 0.5, "worldcritic/mechanics": pytest.approx(0.8)}
    with pytest.raises(InputError, match="no column 'clip'; its columns are video"):
        trl_reward(reward, "clip")(prompts=["a"], completions=["b"], video=[clip(1)])


def test_a_real_grpo_trainer_learns_from_it(tmp_path, tokenizer, caplog):
    """TRL trains a tiny language model that writes prompts; the generator is a function of the text's length."""
    from datasets import Dataset
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    made = []

    def generate(texts):
        made.extend(texts)
        return [clip((37 * i) % 256) if i % 4 else tmp_path / "missing.mp4" for i in range(len(texts))]

    torch.manual_seed(0)
    lm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip
    reward = RewardFunction(model(), {"ball": ASKED}, fps=8)
    trainer = GRPOTrainer(
        model=lm,
        reward_funcs=trl_reward(reward, generate, prompt_column="judged"),
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"), per_device_train_batch_size=4, num_generations=4, max_steps=1,
            max_completion_length=4, use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no",
            beta=0.0, disable_tqdm=True, activation_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "write", "judged": "ball"}] * 4),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    (row,) = [entry for entry in trainer.state.log_history if "rewards/worldcritic/mean" in entry]
    assert len(made) == 4
    # Videos 1 to 3 have red 37, 74 and 111; video 0 has no file, so that it counts nowhere.
    assert row["rewards/worldcritic/mean"] == pytest.approx((37 + 74 + 111) / 3 / 255, abs=1e-4)
    assert row["worldcritic/missing"] == pytest.approx(0.25)
    assert row["worldcritic/mechanics"] == pytest.approx(row["rewards/worldcritic/mean"], abs=1e-4)
    assert math.isfinite(row["loss"])
    json.dumps(row)
