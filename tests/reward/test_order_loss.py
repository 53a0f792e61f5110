"""E[LCS] as a training aim: by hand, against the reward's own sum, and its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch

from reward.answers import Order
from reward.critic import VideoCritic
from reward.frontend import FrontEnd
from reward.loading import zero_shot_manifest
from reward.order import EXACT_EVENTS, distribution, open_prefixes
from reward.order_loss import expected_lcs, lcs_loss
from reward.packed import pack_batch, packed_loss, scored_order, soft_answer, text_answer
from reward.prompts import Prompt
from reward.tokens import answer_tokens
from reward.video import Clip
from reward.wording import check_text, order_answer, order_text


def random_scores(num_events, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(open_prefixes(num_events)), num_events + 1)) * 2


def test_two_events_by_hand():
    """Prefixes "", "A", "B"; letters A, B, stop. "", A and B score 0, 1, 1; AB scores 2, BA scores 1."""
    p = [[0.2, 0.3, 0.5], [0.9, 0.6, 0.4], [0.25, 0.9, 0.75]]  # .9 stands at letters already used: they do not count
    by_hand = 0.2 * 0.4 * 1 + 0.2 * 0.6 * 2 + 0.3 * 0.75 * 1 + 0.3 * 0.25 * 1
    found = expected_lcs(torch.tensor(p, dtype=torch.float64).log(), 2)
    assert float(found) == pytest.approx(by_hand, rel=1e-12)
    assert float(lcs_loss(torch.tensor(p, dtype=torch.float64).log(), 2, 0.5)) == pytest.approx(
        (by_hand / 2 - 0.5) ** 2, rel=1e-12
    )


@pytest.mark.parametrize("num_events", range(1, EXACT_EVENTS + 1))
def test_it_is_the_sum_that_the_reward_pays(num_events):
    scores = random_scores(num_events)
    by_prefix = dict(zip(open_prefixes(num_events), scores, strict=True))
    expected = Order(num_events, distribution(num_events, by_prefix)).expected_lcs
    assert float(expected_lcs(torch.tensor(scores), num_events)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_events", [1, 2, 3])
def test_gradient_equals_finite_differences(num_events):
    scores = torch.tensor(random_scores(num_events), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lcs_loss(x, num_events, 0.3), (scores,), eps=1e-6, atol=1e-8)


def test_impossible_letters_get_no_gradient_and_no_nan():
    scores = torch.tensor(random_scores(3), requires_grad=True)
    expected_lcs(scores, 3).backward()
    assert torch.isfinite(scores.grad).all()
    used = [
        (row, i) for row, prefix in enumerate(open_prefixes(3)) for i, letter in enumerate("ABC") if letter in prefix
    ]
    assert all(scores.grad[at] == 0 for at in used)
    assert scores.grad.abs().max() > 0


EVENTS = ("It falls.", "It bounces.", "It stops.")


@pytest.fixture
def front(model, tokenizer):
    pixels = FrontEnd.default_pixels(model.config.model_type, 64 * 64, 32 * 32)
    return FrontEnd(model.config, tokenizer, pixels, model.model.get_rope_index)


def make_clip(seed):
    frames = np.random.default_rng(seed).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    return Clip(frames, np.arange(4) * 0.5, np.arange(4), 2.0, 2.0, 4)


def asked(front, tokenizer, target=2 / 3, weight=2.0):
    tokens = answer_tokens(tokenizer)
    check = soft_answer(front.question(check_text("Is it red?")), tokens.yes[0], tokens.no[0], 0.8, 0.5)
    question = front.question(order_text(EVENTS))
    spelled = text_answer(question, [*front.data(order_answer("BA")), tokens.stop])
    return [check, spelled, scored_order(question, len(EVENTS), tokens, target, weight)]


def test_a_packed_order_scores_as_the_critic_judges_it(model, tokenizer, front):
    """The same clip and question: the loss is that of the E[LCS] which the critic's judgement gives."""
    manifest = zero_shot_manifest("x", model.config, tokenizer)
    critic = VideoCritic(model, tokenizer, manifest)
    critic.front_end = front
    (judged,) = critic.judge([make_clip(0)], [Prompt("p", "x", EVENTS, ())])
    batch = pack_batch([(front.prefix(make_clip(0)), asked(front, tokenizer))])
    with torch.no_grad():
        loss, metrics = packed_loss(model, batch)
    expected = (judged.order.expected_lcs / 3 - 2 / 3) ** 2
    assert metrics["lcs_losses"].tolist() == pytest.approx([expected], rel=1e-3)
    check, *spelled = metrics["losses"].tolist()[:4]
    weighted = 0.5 * check + math.fsum(spelled) + 2 * metrics["lcs_losses"].item()
    assert len(spelled) == 3
    assert float(loss) == pytest.approx(weighted / (0.5 + 3 + 2), rel=1e-5)


def gradients(model, videos):
    model.zero_grad(set_to_none=True)
    loss, _ = packed_loss(model, pack_batch(videos))
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_packed_gradients_equal_one_question_a_row(model, tokenizer, front):
    videos = [(front.prefix(make_clip(i)), asked(front, tokenizer, target, 3.0)) for i, target in enumerate((1.0, 0.0))]
    loss, grads = gradients(model, videos)
    rows = [(prefix, [each]) for prefix, questions in videos for each in questions]
    weights = [each.aim.weight if each.aim else each.weight * len(each.targets) for _, (each,) in rows]
    mean, total = 0.0, {name: torch.zeros_like(g) for name, g in grads.items()}
    for row, weight in zip(rows, weights, strict=True):
        one, one_grads = gradients(model, [row])
        mean += one * weight / sum(weights)
        for name, g in one_grads.items():
            total[name] += g * weight / sum(weights)
    assert loss == pytest.approx(mean, rel=1e-5)
    scale = max(float(g.norm()) for g in grads.values())
    for name, g in grads.items():
        assert float((g - total[name]).norm()) <= 1e-5 * max(float(g.norm()), 1e-2 * scale), name
