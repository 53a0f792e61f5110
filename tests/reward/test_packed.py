"""Questions packed behind one video train exactly like one row per question."""

import numpy as np
import pytest
import torch

from reward.frontend import FrontEnd
from reward.packed import BIN, pack_batch, packed_loss, soft_answer, text_answer
from reward.tokens import answer_tokens
from reward.video import Clip
from reward.wording import check_text, order_answer, order_text


def make_clip(frames, height, width, step, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return Clip(pixels, np.arange(frames) * step, np.arange(frames), frames * step, 1 / step, frames)


@pytest.fixture
def asked(model, tokenizer):
    pixels = FrontEnd.default_pixels(model.config.model_type, 64 * 64, 32 * 32)
    end = FrontEnd(model.config, tokenizer, pixels, model.model.get_rope_index)
    tokens = answer_tokens(tokenizer)

    def check(text, p, weight=1.0):
        return soft_answer(end.question(check_text(text)), tokens.yes[0], tokens.no[0], p, weight)

    def order(events, letters, weight=1.0):
        answer = [*end.data(order_answer(letters)), tokens.stop]
        return text_answer(end.question(order_text(events)), answer, weight)

    clips = [make_clip(8, 64, 64, 0.125, 0), make_clip(4, 48, 64, 2.0, 1)]
    questions = [
        [check("Is it red?", 1.0), check("Does the long thing fall down?", 0.3, 0.5), order(["It falls."] * 3, "CA")],
        [check("Is it blue?", 0.0), order(["It rises."], "")],
    ]
    return [(end.prefix(clip), each) for clip, each in zip(clips, questions, strict=True)]


def gradients(model, videos):
    model.zero_grad(set_to_none=True)
    loss, metrics = packed_loss(model, pack_batch(videos))
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), grads, metrics["losses"]


def test_loss_and_gradient_equal_one_row_per_question(model, asked):
    loss, grads, losses = gradients(model, asked)

    weights = [question.weight * len(question.targets) for _, questions in asked for question in questions]
    total = {name: torch.zeros_like(g) for name, g in grads.items()}
    mean, seen = 0.0, []
    singles = [(prefix, [question]) for prefix, questions in asked for question in questions]
    for single, weight in zip(singles, weights, strict=True):
        one, one_grads, one_losses = gradients(model, [single])
        mean += one * weight / sum(weights)
        seen += one_losses.tolist()
        for name, g in one_grads.items():
            total[name] += g * weight / sum(weights)
    assert loss == pytest.approx(mean, rel=1e-5)
    assert losses.tolist() == pytest.approx(seen, rel=1e-4)
    scale = max(float(g.norm()) for g in grads.values())
    for name, g in grads.items():
        assert float((g - total[name]).norm()) <= 1e-5 * max(float(g.norm()), 1e-2 * scale), name


def test_loss_by_hand(model, asked):
    """The first check's cross-entropy, from the stock model's own logits."""
    prefix, questions = asked[0]
    second = questions[1]
    ids = torch.cat([prefix.ids, torch.tensor(second.suffix.ids)])[None]
    behind = prefix.next_position + torch.arange(len(second.suffix.ids)).expand(3, -1)
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            position_ids=torch.cat([prefix.positions, behind], dim=1)[:, None],
            pixel_values_videos=prefix.patches,
            video_grid_thw=torch.tensor([prefix.grid]),
        ).logits[0, -1]
        _, metrics = packed_loss(model, pack_batch([asked[0]]))
    p = logits.double().softmax(-1)
    (yes, _), (no, _) = second.targets[0]
    expected = -(0.3 * p[yes].log() + 0.7 * p[no].log())
    assert float(metrics["losses"][1]) == pytest.approx(float(expected), rel=1e-5)


def test_weights_and_soft_targets_enter_the_mean(model, asked):
    prefix, (first, second, _) = asked[0]
    with torch.no_grad():
        loss, metrics = packed_loss(model, pack_batch([(prefix, [first, second])]))
    one, two = metrics["losses"].tolist()
    assert float(loss) == pytest.approx((one + 0.5 * two) / 1.5, rel=1e-6)


def test_questions_that_share_a_bin_do_not_see_each_other(model, tokenizer, asked):
    """Short questions fill bins, a long one widens them, and each is answered as if it were alone."""
    prefix, (check, *_) = asked[1]
    words = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Is it red?", "Does it fall?", "No", "x")
    ]
    yes, no = (target for target, _ in check.targets[0])
    questions = [soft_answer([*words[i % 4], *words[i % 3]] * (1 + i % 4), yes, no, 0.1 * (i % 10)) for i in range(40)]
    questions.insert(7, text_answer(words[0] * 12, words[1] + words[2]))
    batch = pack_batch([(prefix, questions), asked[0]])
    longest = max(len(each.suffix.ids) for each in [*questions, *asked[0][1]])
    assert batch.sees.shape[1] == max(BIN, longest)
    bins = batch.sees.shape[0] // 2
    assert 1 < bins < 20
    with torch.no_grad():
        _, together = packed_loss(model, batch)
        alone = [packed_loss(model, pack_batch([(prefix, [each])]))[1]["losses"] for each in questions]
    assert together["losses"][: len(torch.cat(alone))].tolist() == pytest.approx(torch.cat(alone).tolist(), rel=1e-4)


def test_the_model_still_does_all_else(model, tokenizer, asked):
    """After a packed batch the model answers plain calls, with and without a mask, as before."""
    ids = torch.tensor(tokenizer(["Is it red?"])["input_ids"])
    calls = [{}, {"attention_mask": torch.ones_like(ids)}]
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        before = [model(input_ids=ids, **call).logits for call in calls]
        packed_loss(model, pack_batch(asked))
        after = [model(input_ids=ids, **call).logits for call in calls]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
