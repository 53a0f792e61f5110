"""K questions behind one shared prefix equal K separate forward passes, and answers mean what they say."""

import copy
import dataclasses
from itertools import permutations

import numpy as np
import pytest
import torch

from reward.answers import Order, lcs_length, letters
from reward.critic import VideoCritic
from reward.errors import CriticError
from reward.loading import zero_shot_manifest
from reward.manifest import FramesRecord
from reward.options import LoadOptions
from reward.prompts import Check, Prompt
from reward.tokens import answer_tokens
from reward.video import Clip
from reward.wording import check_text, order_answer, order_text

TOLERANCE = 1e-4


def make_clip(frames=8, height=64, width=64, step=0.125, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    times = np.arange(frames) * step
    return Clip(pixels, times, np.arange(frames), frames * step, 1 / step, frames)


def make_prompt(checks=3, events=2, name="p"):
    questions = tuple(Check("mechanics", f"Does thing number {i} fall {'very ' * i}fast?") for i in range(checks))
    return Prompt(name, "a prompt", tuple(f"Event {i} happens." for i in range(events)), questions)


CLIPS = [
    make_clip(),
    make_clip(5, 48, 96, 0.5, seed=1),
    make_clip(2, 100, 70, 2.0, seed=2),
    make_clip(12, 64, 80, 1.5, seed=3),
    make_clip(1, 40, 40, 1.0, seed=4),
]
PROMPTS = [make_prompt(3, 2), make_prompt(1, 0), make_prompt(0, 3), make_prompt(8, 4), make_prompt(2, 1)]


def make_critic(model, tokenizer, **options):
    manifest = zero_shot_manifest("tiny", model.config, tokenizer)
    pixels = dataclasses.replace(manifest.pixels, max_pixels=64 * 80, min_pixels=32 * 32)
    manifest = dataclasses.replace(manifest, pixels=pixels, frames=FramesRecord(num_frames=8))
    return VideoCritic(model, tokenizer, manifest, LoadOptions(**options))


def assert_same(a, b, tolerance=TOLERANCE):
    for one, other in zip(a, b, strict=True):
        for x, y in zip(one.answers, other.answers, strict=True):
            assert x.p_yes == pytest.approx(y.p_yes, abs=tolerance)
            assert x.answer_mass == pytest.approx(y.answer_mass, abs=tolerance)
        assert (one.order is None) == (other.order is None)
        if one.order:
            assert set(one.order.probabilities) == set(other.order.probabilities)
            for order, p in one.order.probabilities.items():
                assert p == pytest.approx(other.order.probabilities[order], abs=tolerance)


@pytest.fixture(scope="module")
def separate(model, tokenizer):
    return make_critic(model, tokenizer, sharing="separate", batch_size=1).judge(CLIPS, PROMPTS)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("sharing", ["packed", "expanded"])
def test_shared_prefix_equals_separate_forwards(model, tokenizer, separate, sharing, batch_size):
    critic = make_critic(model, tokenizer, sharing=sharing, batch_size=batch_size)
    assert_same(critic.judge(CLIPS, PROMPTS), separate)


def test_answers_are_spread_like_those_of_a_trained_critic(separate):
    """A comparison of answers that are all alike would prove nothing."""
    p = [answer.p_yes for judgement in separate for answer in judgement.answers]
    assert np.std(p) > 0.15


@pytest.mark.parametrize("sharing", ["packed", "expanded"])
def test_questions_run_in_small_groups_change_nothing(model, tokenizer, separate, sharing):
    critic = make_critic(model, tokenizer, sharing=sharing)
    critic.most_tokens = 100
    assert_same(critic.judge(CLIPS, PROMPTS), separate)


def test_eager_attention_gives_the_same(model, tokenizer, separate):
    model.set_attn_implementation("eager")
    try:
        assert_same(make_critic(model, tokenizer).judge(CLIPS, PROMPTS), separate)
    finally:
        model.set_attn_implementation("sdpa")


@torch.no_grad()
def stock_p_yes(model, tokenizer, critic, clip, question):
    """The model called as its documentation shows, with its own positions: the second implementation."""
    prefix = critic.front_end.prefix(clip)
    ids = torch.tensor([[*prefix.ids.tolist(), *critic.front_end.question(check_text(question))]])
    inputs = {"second_per_grid_ts": [2 * float(np.diff(clip.timestamps).mean())]}
    logits = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.video_token_id).int() * 2,
        pixel_values_videos=prefix.patches,
        video_grid_thw=torch.tensor([prefix.grid]),
        **(inputs if model.config.model_type == "qwen2_5_vl" else {}),
    ).logits[0, -1]
    probabilities = logits.double().softmax(-1)
    tokens = answer_tokens(tokenizer)
    yes, no = (float(sum(probabilities[token] for token in ids)) for ids in (tokens.yes, tokens.no))
    return yes / (yes + no), yes + no


@pytest.mark.parametrize("at", [0, 1, 3])
def test_equals_the_stock_model(model, tokenizer, at):
    critic = make_critic(model, tokenizer)
    prompt = PROMPTS[3]
    for check, answer in zip(prompt.checks, critic.judge([CLIPS[at]], [prompt])[0].answers, strict=True):
        p_yes, mass = stock_p_yes(model, tokenizer, critic, CLIPS[at], check.question)
        assert answer.p_yes == pytest.approx(p_yes, abs=1e-5)
        assert answer.answer_mass == pytest.approx(mass, abs=1e-5)


@torch.no_grad()
def test_order_distribution_equals_teacher_forcing(model, tokenizer):
    """Each ordered subset's probability, by running its text as an answer, letter by letter."""
    critic = make_critic(model, tokenizer)
    prompt, clip = make_prompt(0, 3), CLIPS[0]
    order = critic.judge([clip], [prompt])[0].order
    prefix = critic.front_end.prefix(clip)
    tokens = answer_tokens(tokenizer)
    question = critic.front_end.question(order_text(prompt.events))

    def next_scores(answer):
        ids = torch.tensor([[*prefix.ids.tolist(), *question, *answer]])
        behind = prefix.next_position + torch.arange(ids.shape[1] - len(prefix.ids)).expand(3, -1)
        positions = torch.cat([prefix.positions, behind], dim=1)[:, None]
        inputs = {"pixel_values_videos": prefix.patches, "video_grid_thw": torch.tensor([prefix.grid])}
        return model(input_ids=ids, position_ids=positions, **inputs).logits[0, -1].double()

    for subset in [s for n in range(4) for s in permutations("ABC", n)]:
        p, answer = 1.0, []
        for step in range(len(subset) + 1):
            scores = next_scores(answer)
            unused = [c for c in "ABC" if c not in subset[:step]]
            ids = [tokens.letters[ord(c) - ord("A")][min(step, 1)] for c in unused]
            ids.append(tokens.stop if step else tokens.none)
            shares = scores[ids].softmax(0)
            choice = unused.index(subset[step]) if step < len(subset) else len(unused)
            p *= float(shares[choice])
            if step < len(subset):
                answer.append(ids[choice])
        assert order.probabilities["".join(subset)] == pytest.approx(p, abs=1e-5)
    assert tokenizer(order_answer("CAB"), add_special_tokens=False)["input_ids"] == [
        tokens.letters[2][0], tokens.letters[0][1], tokens.letters[1][1]
    ]  # fmt: skip


def test_expected_lcs_equals_brute_force(separate):
    for judgement in separate:
        if judgement.order is None:
            continue
        asked = letters(judgement.order.num_events)
        subsets = [s for n in range(len(asked) + 1) for s in permutations(asked, n)]
        assert len(judgement.order.probabilities) == len(subsets)
        assert sum(judgement.order.probabilities.values()) == pytest.approx(1)
        brute = sum(judgement.order.probabilities["".join(s)] * increasing(s) for s in subsets)
        assert judgement.order.expected_lcs == pytest.approx(brute)
        second = sum(judgement.order.probabilities["".join(s)] * increasing(s) ** 2 for s in subsets)
        assert judgement.order.variance_lcs == pytest.approx(second - brute**2)


def increasing(subset):
    """The longest increasing run of picked letters: the LCS with an alphabetical order, by trying all picks."""
    from itertools import combinations

    return max(n for n in range(len(subset) + 1) for c in combinations(subset, n) if list(c) == sorted(c))


@pytest.mark.parametrize(
    ("a", "b", "length"), [("ABC", "CAB", 2), ("ABC", "", 0), ("ABCD", "DCBA", 1), ("AB", "AAB", 2)]
)
def test_lcs_length(a, b, length):
    assert lcs_length(a, b) == length


def test_more_events_than_can_be_enumerated_go_through_a_beam(model, tokenizer):
    critic = make_critic(model, tokenizer)
    order = critic.judge([CLIPS[0]], [make_prompt(0, 7)])[0].order
    assert 0.01 < order.covered <= 1 + 1e-9
    assert 0 <= order.expected_lcs <= 7
    assert all(len(set(s)) == len(s) and set(s) <= set("ABCDEFG") for s in order.probabilities)


def test_an_exact_beam_equals_enumeration(model, tokenizer, monkeypatch):
    critic = make_critic(model, tokenizer)
    exact = critic.judge([CLIPS[0]], [make_prompt(0, 4)])[0].order
    monkeypatch.setattr("reward.critic.EXACT_EVENTS", 0)
    monkeypatch.setattr("reward.critic.beam", lambda n, ask: __import__("reward.order").order.beam(n, ask, 999, 1e-300))
    beam = critic.judge([CLIPS[0]], [make_prompt(0, 4)])[0].order
    for letters_, p in exact.probabilities.items():
        assert beam.probabilities[letters_] == pytest.approx(p, abs=1e-6)


def test_the_same_answer_twice_to_the_bit(model, tokenizer):
    critic = make_critic(model, tokenizer)
    assert critic.judge(CLIPS, PROMPTS) == critic.judge(CLIPS, PROMPTS)


class OutOfMemory:
    """Wraps the model's forward: batches over `limit` rows run out of memory."""

    def __init__(self, forward, limit):
        self.forward, self.limit, self.sizes = forward, limit, []

    def __call__(self, *args, input_ids, **kwargs):
        self.sizes.append(len(input_ids))
        if len(input_ids) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.forward(*args, input_ids=input_ids, **kwargs)


def test_batch_size_falls_until_it_fits_and_stays_there(model, tokenizer, separate, monkeypatch):
    critic = make_critic(model, tokenizer, batch_size=5)
    limited = OutOfMemory(model.model.forward, limit=2)
    monkeypatch.setattr(model.model, "forward", limited)
    assert_same(critic.judge(CLIPS, PROMPTS), separate)
    assert critic.batch_size == 2
    assert limited.sizes.count(5) == 1


def test_no_memory_at_all_is_one_clear_error(model, tokenizer, monkeypatch):
    critic = make_critic(model, tokenizer, batch_size=4)
    monkeypatch.setattr(model.model, "forward", OutOfMemory(model.model.forward, limit=0))
    with pytest.raises(CriticError, match=r"8 frames of 64x64.*--num_frames"):
        critic.judge(CLIPS, PROMPTS)


def test_bfloat16_answers_are_close(model, tokenizer, separate):
    # A copy: the way to bfloat16 and back would leave rounded rotary frequencies in the shared model.
    rough = make_critic(copy.deepcopy(model).to(torch.bfloat16), tokenizer).judge(CLIPS, PROMPTS)
    differences = [
        abs(a.p_yes - b.p_yes)
        for x, y in zip(rough, separate, strict=True)
        for a, b in zip(x.answers, y.answers, strict=True)
    ]
    assert np.mean(differences) < 0.05


def test_order_ties_are_broken_the_same_way():
    assert Order(2, {"B": 0.4, "A": 0.4, "": 0.2}).best == "A"


def test_a_tokenizer_without_single_token_answers_is_refused(tokenizer):
    class Spelled:
        unk_token_id = None

        def __call__(self, text, **_):
            return {"input_ids": list(text.encode())}

    with pytest.raises(CriticError, match="'Yes'"):
        answer_tokens(Spelled())
