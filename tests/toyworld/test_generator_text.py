"""The generator's text side: every prompt fits, and every word comes to tell what the prompt asks for."""

import pytest
import torch

from toyworld.generator_text import MAX_WORDS, asked, build_text_encoder, build_tokenizer, train_reading
from toyworld.repertoire import find, repertoire


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_prompt_fits_and_no_two_read_alike(tokenizer):
    rows = [tuple(tokenizer(known.text).input_ids) for known in repertoire()]
    assert max(map(len, rows)) == MAX_WORDS == tokenizer.model_max_length
    assert len(set(rows)) == len(rows)
    assert all(row[-1] == tokenizer.eos_token_id for row in rows)
    assert all(tokenizer.unk_token_id not in row for row in rows)


def test_articles_and_punctuation_are_no_words_and_strange_words_are_unknown(tokenizer):
    assert tokenizer.tokenize("A red ball, first: moves up.") == ["red", "ball", "first", "moves", "up"]
    assert tokenizer("").input_ids == [tokenizer.eos_token_id]
    assert tokenizer("the pink ball").input_ids[0] == tokenizer.unk_token_id


def test_what_a_prompt_asks_for():
    assert asked(find("duo-red-blue-left-balloon_first")) == {
        "kind": "duo",
        "side": "left",
        "colour of the box": "red",
        "colour of the balloon": "blue",
        "event 0": "rises balloon",
        "event 1": "falls box",
    }
    assert asked(find("move-green-up")) == {
        "kind": "move",
        "side": "middle",
        "colour of the ball": "green",
        "event 0": "moves ball up",
    }


def test_the_encoder_learns_to_read_and_is_frozen(tokenizer):
    torch.manual_seed(0)
    encoder = build_text_encoder(len(tokenizer))
    losses = []
    prompts = [find(name) for name in ("move-red-left", "move-red-right", "move-blue-left", "move-blue-right")]
    train_reading(tokenizer, encoder, prompts, 60, after_step=lambda step, loss: losses.append(loss))
    assert losses[-1] < 0.05 < 0.3 < losses[0]
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
