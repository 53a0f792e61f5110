"""The generator's text side: a word tokenizer and a small UMT5 encoder that has learned to read the repertoire.

The video model attends to the text without any notion of word order, so that who has which colour, and what comes
first, must stand in each word's own vector. An encoder with random weights does not put it there. This one is first
trained to tell, at every word, all that the prompt asks for; then it is frozen.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from toyworld.repertoire import Known, repertoire

MAX_WORDS = 16
"""Longest prompt in tokens; also `max_sequence_length` of the pipeline, which pads with zeros that are attended to."""
WIDTH = 64
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def build_tokenizer() -> Any:
    """Return the tokenizer: one token a word of the repertoire; articles and punctuation are dropped."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    clean = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"\b(a|an|the)\b|[^a-z ]"), " "), normalizers.Strip()]
    )
    words = sorted({word for known in repertoire() for word in clean.normalize_str(known.text).split()})
    vocabulary = {word: index for index, word in enumerate([PAD, END, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = clean
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    special = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_WORDS, **special)


def build_text_encoder(vocabulary: int) -> Any:
    """Return an untrained encoder for a vocabulary of that size."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=WIDTH,
        d_kv=16,
        d_ff=2 * WIDTH,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=32,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        is_decoder=False,
    )
    return UMT5EncoderModel(config)


def asked(known: Known) -> Mapping[str, str]:
    """Return what a prompt asks for, one answer a question: kind, colours by noun, sides, and the events in order."""
    plan = known.toy_prompt.plan
    answers = {"kind": known.kind, "side": "left" if plan.parts[0].centre < 0.4 else "right"}
    answers |= {f"colour of the {noun}": colour for noun, colour in plan.colours.items()}
    if known.kind in ("move", "two_moves"):
        answers["side"] = "middle"
    for number, event in enumerate(plan.events):
        answers[f"event {number}"] = " ".join((event.template, *event.slots.values()))
    return answers


def train_reading(
    tokenizer: Any,
    encoder: Any,
    prompts: Sequence[Known],
    steps: int,
    *,
    lr: float = 3e-3,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train the encoder in place until every word's vector tells all that its prompt asks for; then freeze it."""
    tokens = tokenizer([known.text for known in prompts], padding=True, return_tensors="pt")
    questions, answers = _questions([asked(known) for known in prompts])
    head = nn.Linear(WIDTH, sum(map(len, questions.values())))
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    word = tokens.attention_mask.bool()
    encoder.train()
    for step in range(1, steps + 1):
        hidden = encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        logits = head(hidden[word]).split([len(values) for values in questions.values()], dim=-1)
        each = answers.repeat_interleave(word.sum(1), dim=0).unbind(1)
        losses = [nn.functional.cross_entropy(guess, right) for guess, right in zip(logits, each, strict=True)]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        after_step(step, loss.item())
    encoder.eval().requires_grad_(False)


def _questions(asked: Sequence[Mapping[str, str]]) -> tuple[dict[str, list[str]], Tensor]:
    """Return each question's possible answers, and the index of every prompt's own (prompts, questions)."""
    names = sorted({name for answers in asked for name in answers})
    values = {name: sorted({answers.get(name, "none") for answers in asked}) for name in names}
    rows = [[values[name].index(answers.get(name, "none")) for name in names] for answers in asked]
    return values, torch.tensor(rows)
