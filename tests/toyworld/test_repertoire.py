"""The repertoire of the generator: its prompts, which the oracle must understand, and its split."""

from collections import Counter

import pytest

from reward.errors import InputError
from reward.prompts import load_prompts
from toyworld.questions import asked_colours, parse_event, parse_question
from toyworld.repertoire import KINDS, find, repertoire, split, write_splits
from toyworld.scene import COLOURS


def test_every_prompt_has_its_own_id_and_text():
    known = repertoire()
    assert len(known) == 120
    assert len({each.id for each in known}) == len({each.text for each in known}) == len(known)
    assert Counter(each.kind for each in known) == {
        "move": 16, "two_moves": 32, "drop": 8, "rise": 8, "bounce": 8, "duo": 48
    }  # fmt: skip


def test_the_oracle_understands_every_prompt():
    for known in repertoire():
        prompt, plan = known.toy_prompt.prompt, known.toy_prompt.plan
        assert asked_colours(prompt.text) == plan.colours
        for check in prompt.checks:
            template, slots = parse_question(check.question)
            assert template.dimension == check.dimension
            assert slots["thing"] in plan.colours
            assert slots.get("colour", plan.colours[slots["thing"]]) == plan.colours[slots["thing"]]
        assert all(parse_event(text) for text in prompt.events)
        assert prompt.events


def test_the_texts_say_what_is_asked():
    texts = {known.id: known.text for known in repertoire()}
    assert texts["move-red-left"] == "A red ball moves to the left."
    assert texts["two_moves-blue-up-right"] == "A blue ball first moves up, then moves to the right."
    assert texts["rise-green-left"] == "On the left a green balloon rises and stays up."
    assert texts["duo-red-blue-right-balloon_first"] == (
        "On the left a blue balloon, on the right a red box: first the balloon rises, then the box falls down."
    )


def test_held_out_prompts_are_new_combinations_of_known_parts():
    train, heldout = split("train"), split("heldout")
    assert {known.id for known in train}.isdisjoint(known.id for known in heldout)
    assert len(train) + len(heldout) == 120
    for kind in KINDS:
        here = [known for known in repertoire() if known.kind == kind]
        assert sum(known.split == "heldout" for known in here) == len(here) / 4
        seen = [known.id.split("-")[1:] for known in train if known.kind == kind]
        kept = [known.id.split("-")[1:] for known in heldout if known.kind == kind]
        assert all({row[place] for row in kept} <= {row[place] for row in seen} for place in range(len(kept[0])))
    assert {colour for known in train for colour in known.toy_prompt.plan.colours.values()} == set(COLOURS)


def test_find():
    assert find("drop-red-left").kind == "drop"
    with pytest.raises(InputError, match="knows no prompt 'drop-pink-left'"):
        find("drop-pink-left")


def test_splits_are_written_in_videoverse_form(tmp_path):
    train, heldout = write_splits(tmp_path)
    read = load_prompts(train)
    assert list(read) == [known.id for known in split("train")]
    for known in split("train"):
        assert read[known.id].text == known.text
        assert read[known.id].events == known.toy_prompt.prompt.events
        assert read[known.id].checks == known.toy_prompt.prompt.checks
    assert len(load_prompts(heldout)) == 30
    with pytest.raises(InputError, match="exists; give --overwrite"):
        write_splits(tmp_path)
    assert write_splits(tmp_path, overwrite=True) == (train, heldout)
