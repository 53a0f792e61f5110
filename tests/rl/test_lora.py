"""LoRA: the stock pipeline loads what we save, and the reference is the model as it was."""

import dataclasses
import json

import pytest
import torch
from diffusers import DiffusionPipeline

from reward.errors import InputError
from rl.generator import Generator
from rl.tiny import TINY

PROMPTS = ["the red ball falls", "a blue square rises"]
SEEDS = [1, 2]
TIMES = torch.tensor([0.3, 0.95])


def load(tiny, name):
    return Generator.load(str(tiny(name)), device="cpu")


def predict(generator):
    with torch.no_grad():
        return generator.predict(generator.noise(SEEDS), TIMES, generator.encode(PROMPTS))


def difference(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize("name", TINY)
def test_the_stock_pipeline_loads_what_we_save(tiny, loaded, tmp_path, name):
    """With alpha that is not r, and both experts of Wan2.2 A14B."""
    generator, base = load(tiny, name), predict(loaded(name))
    generator.add_lora(4, alpha=12, seed=1, init=False)
    adapted = predict(generator)
    assert difference(adapted, base) > 1e-3
    with generator.reference():
        assert difference(predict(generator), base) == 0
    assert difference(predict(generator), adapted) == 0
    ours = generator.sample(generator.encode(PROMPTS), SEEDS)
    generator.save_lora(tmp_path / "lora")

    pipe = DiffusionPipeline.from_pretrained(tiny(name))
    pipe.set_progress_bar_config(disable=True)
    for line in json.loads((tmp_path / "lora" / "lora.json").read_text())["load"]:
        exec(line.replace('"lora"', repr(str(tmp_path / "lora"))), {"pipe": pipe})
    arguments = generator.adapter.call_arguments(generator.sampling)
    if generator.embeds_guidance:
        arguments["guidance_scale"] = generator.sampling.guidance
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    theirs = pipe(prompt=PROMPTS, generator=generators, output_type="latent", **arguments).frames
    assert difference(ours, generator.adapter.unpack(theirs, ours.shape[1:])) == 0

    again = load(tiny, name)
    parameters = again.load_lora(tmp_path / "lora")
    assert difference(predict(again), adapted) == 0
    assert sum(each.numel() for each in parameters) == sum(
        each.numel() for each in generator.pipe.transformer.parameters() if each.requires_grad
    ) * len(generator.transformers)


def test_a_fresh_adapter_changes_nothing_and_is_all_that_is_trained(tiny, loaded):
    generator = load(tiny, "wan_a14b")
    parameters = generator.add_lora(2)
    assert difference(predict(generator), predict(loaded("wan_a14b"))) == 0
    trained = [
        name
        for transformer in generator.transformers.values()
        for name, parameter in transformer.named_parameters()
        if parameter.requires_grad
    ]
    assert len(trained) == len(parameters) == 64
    assert all("lora_" in name for name in trained)
    assert all(parameter.dtype == torch.float32 for parameter in parameters)


def test_the_seed_decides_the_fresh_adapter(tiny):
    def first(seed):
        torch.rand(1)
        return torch.cat([each.detach().flatten() for each in load(tiny, "wan").add_lora(2, seed=seed)])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_parameters_are_precise_where_weights_are_not(tiny):
    generator = Generator.load(str(tiny("wan")), device="cpu", dtype="bfloat16")
    parameters = generator.add_lora(2, init=False)
    assert generator.pipe.transformer.dtype == torch.bfloat16
    assert generator.pipe.vae.dtype == torch.float32
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    prediction = generator.predict(generator.noise(SEEDS), TIMES, generator.encode(PROMPTS))
    assert prediction.dtype == torch.float32
    prediction.square().mean().backward()
    assert all(bool(parameter.grad.any()) for parameter in parameters)


def test_the_adapter_is_on_again_however_the_block_is_left(tiny):
    generator = load(tiny, "wan")
    generator.add_lora(2, init=False)
    adapted = predict(generator)

    class StopError(Exception):
        pass

    with pytest.raises(StopError), generator.reference():
        raise StopError
    assert difference(predict(generator), adapted) == 0


def test_there_is_no_reference_without_an_adapter(tiny):
    generator = load(tiny, "wan")
    with pytest.raises(RuntimeError, match="no adapter to switch off"), generator.reference():
        pass


def test_bad_adapters_are_refused(tiny, tmp_path):
    generator = load(tiny, "wan")
    with pytest.raises(InputError, match="LoRA target 'no_such_layer' is no linear layer"):
        generator.add_lora(2, targets=["to_q", "no_such_layer"])
    generator.add_lora(2)
    with pytest.raises(InputError, match="already has an adapter"):
        generator.add_lora(2)
    generator.save_lora(tmp_path / "lora")
    with pytest.raises(InputError, match="made for family wan, and this generator's is ltx"):
        load(tiny, "ltx").load_lora(tmp_path / "lora")
    with pytest.raises(InputError, match="made for fingerprint"):
        load(tiny, "wan_ti2v").load_lora(tmp_path / "lora")
    with pytest.raises(InputError, match="does not exist"):
        load(tiny, "wan").load_lora(tmp_path / "nothing")


def test_saving_leaves_no_half_written_files(tiny, tmp_path):
    generator = load(tiny, "wan_a14b")
    generator.add_lora(2)
    generator.save_lora(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "lora.json",
        "pytorch_lora_weights.safetensors",
        "transformer_2_lora_weights.safetensors",
    ]
    record = json.loads((tmp_path / "lora.json").read_text())
    assert record["family"] == "wan"
    assert record["fingerprint"] == generator.fingerprint


def test_settings_are_checked(tiny):
    sampling = load(tiny, "wan").sampling
    assert sampling.with_options(steps=None) == sampling
    assert sampling.with_options(steps=7) == dataclasses.replace(sampling, steps=7)
    with pytest.raises(InputError, match="guidance"):
        sampling.with_options(guidance=0.5)
