"""The adapter against the stock pipelines of all families: same predictions, same clips, same noise."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from reward.errors import InputError
from rl.families.family import Family
from rl.generator import Generator
from rl.tiny import TINY

PROMPTS = ["the red ball falls", "a blue square rises and then moves left"]
SEEDS = [5, 6]


def stock(generator, guidance=1.0, **options):
    """Return what `pipe(...)` gives for PROMPTS and SEEDS."""
    arguments = generator.adapter.call_arguments(generator.sampling) | {"guidance_scale": guidance}
    if generator.family == "hunyuan" and not generator.embeds_guidance:
        arguments |= {"guidance_scale": 1.0, "true_cfg_scale": guidance, "negative_prompt": ["", ""]}
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    return generator.pipe(prompt=PROMPTS, generator=generators, **arguments, **options).frames


def difference(one, other):
    return float((one - other).abs().max())


FAMILIES = ("wan", "ltx", "cogvideox", "hunyuan")
VARIANTS = pytest.mark.parametrize("generator", TINY, indirect=True)
"""Also the variants that the adapter treats differently; other tests take one generator of each family."""


@pytest.fixture(params=FAMILIES)
def generator(request, loaded):
    return loaded(request.param)


@pytest.fixture
def conditions(generator):
    return generator.encode(PROMPTS)


@pytest.fixture
def latents(generator):
    return torch.randn(2, *generator.adapter.latent_shape(generator.sampling.size), generator=rng())


def rng():
    return torch.Generator().manual_seed(0)


@VARIANTS
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_our_sampler_is_the_stock_pipeline(generator, conditions, guidance):
    sampling = dataclasses.replace(generator.sampling, guidance=guidance)
    ours = generator.sample(conditions, SEEDS, sampling)
    theirs = generator.adapter.unpack(stock(generator, guidance, output_type="latent"), ours.shape[1:])
    assert ours.dtype == torch.float32
    assert difference(ours, theirs) == 0


@VARIANTS
def test_the_replayed_prediction_is_the_pipelines_own(generator, conditions):
    calls = []

    def record(module, positional, keywords, output):
        calls.append((keywords["hidden_states"].clone(), output[0].clone()))

    hooks = [each.register_forward_hook(record, with_kwargs=True) for each in generator.transformers.values()]
    guidance = generator.sampling.guidance
    stock(generator, guidance if generator.embeds_guidance else 1.0, output_type="latent")
    for hook in hooks:
        hook.remove()
    shape = generator.adapter.latent_shape(generator.sampling.size)
    levels = generator.levels()
    times = [(level + 1) / 1000 for level in levels] if generator.family == "cogvideox" else levels[:-1]
    assert len(calls) == len(times) == generator.sampling.steps
    for time, (given, output) in zip(times, calls, strict=True):
        noisy, wanted = (generator.adapter.unpack(each, shape) for each in (given, output))
        ours = generator.predict(noisy, torch.full((2,), time), conditions, guidance)
        assert difference(ours, wanted) == 0


@VARIANTS
def test_a_clip_does_not_depend_on_its_neighbours(generator, conditions):
    both = generator.sample(conditions, SEEDS)
    alone = torch.cat([generator.sample([conditions[i]], [SEEDS[i]]) for i in range(2)])
    assert difference(both, alone) <= 1e-5
    assert difference(both[0], both[1]) > 0.1


def test_decoded_frames_are_the_stock_pipelines(generator, conditions):
    frames = generator.decode(generator.sample(conditions, SEEDS))
    assert frames.dtype == np.uint8
    assert frames.shape == (2, 9, 32, 32, 3)
    guidance = generator.sampling.guidance if generator.embeds_guidance else 1.0
    theirs = stock(generator, guidance, output_type="np")
    off = np.abs(frames - theirs * 255)
    assert off.max() < 0.51  # a value close to half a step may round either way


def test_normalised_latents_come_back(generator, latents):
    adapter = generator.adapter
    plain = adapter.denormalise(latents)
    assert difference(plain if plain.shape == latents.shape else plain.transpose(1, 2), latents) > 0.01
    assert difference(adapter.normalise(plain), latents) < 1e-6


def test_videos_are_encoded_as_the_vae_encodes_them(generator):
    frames = np.random.default_rng(0).integers(0, 256, (1, 9, 32, 32, 3), dtype=np.uint8)
    latents = generator.encode_video(frames)
    assert latents.shape[1:] == generator.adapter.latent_shape(generator.sampling.size)
    video = torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(0, 4, 1, 2, 3)
    with torch.no_grad():
        mode = generator.pipe.vae.encode(video).latent_dist.mode()
    assert difference(generator.adapter.denormalise(latents), mode) < 1e-5


def test_noise_is_mixed_as_the_scheduler_mixes_it(generator, latents):
    noise = torch.randn(latents.shape, generator=rng()) + 1
    scheduler = generator.schedule()
    if generator.family == "cogvideox":
        indices = torch.tensor([0, 700])
        times = (indices + 1) / 1000
        assert (
            difference(generator.target(latents, noise, times), scheduler.get_velocity(latents, noise, indices)) < 1e-6
        )
        theirs = scheduler.add_noise(latents, noise, indices)
    else:
        times = scheduler.sigmas[1:3]
        scheduler.set_begin_index(None)
        theirs = scheduler.scale_noise(latents, scheduler.timesteps[1:3], noise)
        assert difference(generator.target(latents, noise, times), noise - latents) == 0
    noisy = generator.noisy(latents, noise, times)
    assert difference(noisy, theirs) < 1e-6
    assert difference(generator.clean(noisy, generator.target(latents, noise, times), times), latents) < 1e-5
    alpha, sigma = generator.alpha_sigma(times)
    assert ((alpha >= 0) & (sigma > 0)).all()


def test_conditions_can_be_kept(generator, conditions):
    assert all(value.shape[0] == 1 and value.device.type == "cpu" for value in conditions[0].values())
    kept = [load(save({name: value.contiguous() for name, value in each.items()})) for each in conditions]
    assert difference(generator.sample(kept, SEEDS), generator.sample(conditions, SEEDS)) == 0
    first = {name: value.float() for name, value in conditions[0].items()}
    assert any(difference(first[name], conditions[1][name].float()) > 0.1 for name in first)


def test_a_prompt_that_is_too_long_is_refused(generator):
    tokens = 33 if generator.family == "hunyuan" else 26  # 7 more of the template
    with pytest.raises(InputError, match=rf"'the red ball.* has {tokens} tokens, more than the 16") as caught:
        generator.encode([*PROMPTS, "the red ball falls " * 6 + "down"])
    assert "\n" not in str(caught.value)


def test_gradients_reach_the_input_of_the_model(generator, conditions, latents):
    noisy = latents.clone().requires_grad_()
    prediction = generator.predict(noisy, torch.tensor([0.3, 0.95]), conditions)
    assert prediction.dtype == torch.float32
    prediction.square().mean().backward()
    assert noisy.grad is not None
    assert bool(noisy.grad.isfinite().all())
    assert bool(noisy.grad.any())


def test_training_times_move_towards_noise(generator):
    shift = 3.0
    times = generator.draw_times(4001, rng(), shift=shift)
    assert ((times > 0) & (times <= 1)).all()
    if generator.family == "cogvideox":
        assert difference(times * 1000, (times * 1000).round()) < 1e-3
        assert abs(float(times.mean()) - 0.5) < 0.02
        return
    assert abs(float(times.median()) - shift * 0.5 / (1 + (shift - 1) * 0.5)) < 0.02
    assert abs(float(generator.draw_times(4001, rng(), shift=1.0, mean=-1.0).median()) - 0.269) < 0.02
    assert abs(float(generator.draw_times(4001, rng(), shift=1.0, distribution="uniform").mean()) - 0.5) < 0.02
    own = generator.adapter.shift(generator.sampling)
    assert own > 1
    assert abs(float(generator.draw_times(4001, rng()).median()) - own / (own + 1)) < 0.02


def test_other_sizes_need_no_announcement(generator, conditions):
    shape = generator.adapter.latent_shape(dataclasses.replace(generator.sampling.size, num_frames=17, width=64))
    noisy = torch.randn(2, *shape, generator=rng())
    assert generator.predict(noisy, torch.tensor([0.5, 0.9]), conditions).shape == noisy.shape


@pytest.mark.parametrize(("options", "message"), [({"num_frames": 10}, "1 more than"), ({"height": 36}, "multiple of")])
def test_sizes_that_the_pipeline_would_change_are_refused(generator, conditions, options, message):
    with pytest.raises(InputError, match=message):
        generator.sample(conditions, SEEDS, dataclasses.replace(generator.sampling, **options))


def test_guidance_is_computed_from_the_negative_prompt(loaded):
    generator = loaded("wan")
    conditions, times = generator.encode(PROMPTS), torch.tensor([0.4, 0.8])
    noisy = generator.noise(SEEDS)
    guided = generator.predict(noisy, times, conditions, guidance=2.5)
    with_prompt = generator.predict(noisy, times, conditions)
    without = generator.predict(noisy, times, [generator.unconditional()] * 2)
    assert difference(guided, without + 2.5 * (with_prompt - without)) < 1e-6
    assert difference(guided, with_prompt) > 1e-3


def test_each_sample_goes_to_the_expert_of_its_time(loaded):
    """Wan2.2 A14B, boundary at .875."""
    generator = loaded("wan_a14b")
    conditions = generator.encode(PROMPTS) * 2
    times, noisy = torch.tensor([0.3, 0.95, 0.875, 0.874]), generator.noise([1, 2, 3, 4])
    generator.predict(noisy, times, conditions)  # what is captured once per size is captured now
    calls = {name: [] for name in generator.transformers}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, args, keywords, name=name: calls[name].extend(keywords["timestep"].tolist()), with_kwargs=True
        )
        for name, module in generator.transformers.items()
    ]
    together = generator.predict(noisy, times, conditions)
    for hook in hooks:
        hook.remove()
    assert {name: [round(t) for t in given] for name, given in calls.items()} == {
        "transformer": [950, 875],
        "transformer_2": [300, 874],
    }
    alone = [generator.predict(noisy[i : i + 1], times[i : i + 1], [conditions[i]]) for i in range(4)]
    assert difference(together, torch.cat(alone)) < 1e-5


def test_the_second_expert_has_its_own_guidance(loaded):
    generator = loaded("wan_a14b")
    conditions, noisy, times = generator.encode(PROMPTS[:1]), generator.noise([1]), torch.tensor([0.3])
    sampling = dataclasses.replace(generator.sampling, guidance_2=2.0)
    assert difference(
        generator.predict(noisy, times, conditions, 4.0, sampling), generator.predict(noisy, times, conditions, 2.0)
    ) == 0  # fmt: skip


def with_scheduler(tiny, name, scheduler):
    generator = Generator.load(str(tiny(name)), device="cpu")
    generator.pipe.scheduler = scheduler
    return Generator(generator.pipe, name=name, fingerprint="", sampling=generator.sampling)


def test_unipc_is_sampled_as_the_stock_pipeline_does(tiny):
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    generator = with_scheduler(tiny, "wan", scheduler)
    ours = generator.sample(generator.encode(PROMPTS), SEEDS)
    assert difference(ours, stock(generator, output_type="latent")) == 0


def test_the_stochastic_solver_of_cogvideox_gives_each_clip_its_own_noise(tiny):
    from diffusers import CogVideoXDPMScheduler

    scheduler = CogVideoXDPMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    generator = with_scheduler(tiny, "cogvideox", scheduler)
    conditions = generator.encode(PROMPTS)
    ours = generator.sample(conditions, SEEDS)
    assert difference(ours, stock(generator, output_type="latent")) == 0
    assert difference(ours[1:], generator.sample(conditions[1:], SEEDS[1:])) <= 1e-5


def test_the_schedule_is_what_the_settings_say(tiny, loaded):
    """FlowMatchEuler in the stock Wan pipeline shifts its smallest level twice; uniform levels are those of UniPC."""
    from diffusers import UniPCMultistepScheduler

    sampling = dataclasses.replace(loaded("wan").sampling, steps=10, shift=3.0)
    stock_levels = loaded("wan").levels(sampling)
    uniform = loaded("wan").levels(dataclasses.replace(sampling, schedule="uniform"))
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    unipc = with_scheduler(tiny, "wan", scheduler).levels(sampling)
    assert stock_levels[-2] == pytest.approx(0.0089, abs=1e-4)
    assert uniform[-2] == pytest.approx(0.2519, abs=1e-4)
    assert uniform == pytest.approx(unipc, abs=1e-4)
    assert uniform[5] == pytest.approx(3 * 0.5005 / (1 + 2 * 0.5005), abs=1e-4)


def test_a_shift_that_is_asked_for_is_the_stock_pipelines_with_that_shift(tiny):
    from diffusers import FlowMatchEulerDiscreteScheduler

    generator = Generator.load(str(tiny("wan")), device="cpu")
    conditions = generator.encode(PROMPTS)
    ours = generator.sample(conditions, SEEDS, dataclasses.replace(generator.sampling, shift=5.0))
    generator.pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    assert difference(ours, stock(generator, output_type="latent")) == 0


@pytest.mark.parametrize(
    ("name", "scheduler", "message"),
    [
        ("wan", "DDIMScheduler", "wan: scheduler DDIMScheduler is not known; known are FlowMatchEuler"),
        ("wan", "UniPCMultistepScheduler", "needs prediction_type flow_prediction"),
        ("cogvideox", "CogVideoXDDIMScheduler", "prediction_type epsilon is not known"),
        ("ltx", "UniPCMultistepScheduler", "ltx: scheduler UniPCMultistepScheduler is not known"),
    ],
)
def test_a_scheduler_that_is_not_known_is_refused(tiny, name, scheduler, message):
    import diffusers

    with pytest.raises(InputError, match=message):
        with_scheduler(tiny, name, getattr(diffusers, scheduler)())


def test_a_stochastic_euler_is_refused(tiny):
    from diffusers import FlowMatchEulerDiscreteScheduler

    with pytest.raises(InputError, match="stochastic_sampling"):
        with_scheduler(tiny, "hunyuan", FlowMatchEulerDiscreteScheduler(stochastic_sampling=True))


def test_options_of_flow_models_are_refused_where_they_mean_nothing(loaded):
    generator = loaded("cogvideox")
    with pytest.raises(InputError, match="for flow models"):
        generator.schedule(dataclasses.replace(generator.sampling, shift=2.0))
    with pytest.raises(InputError, match="must be the transformer's own, 16"):
        generator.encode(PROMPTS, dataclasses.replace(generator.sampling, max_sequence_length=20))


def test_an_unknown_pipeline_is_one_clear_error(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "MochiPipeline"}))
    with pytest.raises(InputError, match="pipeline MochiPipeline is not known; known are WanPipeline, LTXPipeline"):
        Generator.load(str(tmp_path))
    with pytest.raises(InputError, match="is not a folder, and cannot be a model on the hub"):
        Generator.load("no such thing")
    with pytest.raises(InputError, match="does not exist"):
        Generator.load(str(tmp_path.parent))


def test_the_fingerprint_is_of_configs_and_weights(tiny, tmp_path):
    first = Generator.load(str(tiny("wan")), device="cpu").fingerprint
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny("wan"), copy)
    (copy / "lora").mkdir()
    (copy / "lora" / "other.safetensors").write_bytes(b"x")
    assert Generator.load(str(copy), device="cpu").fingerprint == first
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert Generator.load(str(copy), device="cpu").fingerprint != first


def test_conditions_replace_the_text_encoder(tiny, loaded):
    full, blind = loaded("hunyuan"), Generator.load(str(tiny("hunyuan")), device="cpu", text=False)
    assert blind.pipe.text_encoder is None
    conditions = full.encode(PROMPTS)
    assert difference(blind.sample(conditions, SEEDS), full.sample(conditions, SEEDS)) == 0
    with pytest.raises(InputError, match="without its text encoder"):
        blind.encode(PROMPTS)


def test_guidance_without_a_text_encoder_takes_a_kept_negative_prompt(tiny, loaded):
    full, blind = loaded("wan"), Generator.load(str(tiny("wan")), device="cpu", text=False)
    blind.set_unconditional(full.unconditional())
    sampling = dataclasses.replace(full.sampling, guidance=3.0)
    conditions = full.encode(PROMPTS)
    assert difference(blind.sample(conditions, SEEDS, sampling), full.sample(conditions, SEEDS, sampling)) == 0


def test_sampling_leaves_the_global_random_numbers_alone(loaded):
    generator = loaded("wan")
    before = torch.get_rng_state()
    generator.decode(generator.sample(generator.encode(PROMPTS), SEEDS))
    assert torch.equal(before, torch.get_rng_state())


def test_noise_can_be_given(loaded):
    generator = loaded("wan")
    conditions = generator.encode(PROMPTS)
    assert difference(generator.sample(conditions, [8, 9], noise=generator.noise(SEEDS)),
                      generator.sample(conditions, SEEDS)) == 0  # fmt: skip
    with pytest.raises(InputError, match="one seed per clip"):
        generator.sample(conditions, [1])


def test_conditions_of_different_lengths_are_refused(loaded):
    generator = loaded("wan")
    longer = generator.encode(PROMPTS[:1], dataclasses.replace(generator.sampling, max_sequence_length=20))
    with pytest.raises(InputError, match="differ in shape"):
        generator.sample([*longer, *generator.encode(PROMPTS[:1])], SEEDS)


@VARIANTS
def test_every_family_says_all_that_is_asked_of_it(generator):
    assert isinstance(generator.adapter, Family)
    assert generator.family in ("wan", "ltx", "cogvideox", "hunyuan")
    assert len(generator.fingerprint) == 64
    placeholder = generator.adapter.placeholder(generator.sampling)
    encoded = generator.encode(PROMPTS[:1])[0]
    assert {name: value.shape for name, value in placeholder.items()} == {
        name: value.shape for name, value in encoded.items()
    }


def test_checkpointed_gradients_are_the_same(tiny):
    def gradient(checkpointing):
        generator = Generator.load(str(tiny("wan")), device="cpu")
        parameters = generator.add_lora(2, seed=3, init=False)
        if checkpointing:
            generator.enable_gradient_checkpointing()
        noisy = generator.noise(SEEDS)
        generator.predict(noisy, torch.tensor([0.3, 0.6]), generator.encode(PROMPTS)).square().mean().backward()
        return torch.cat([parameter.grad.flatten() for parameter in parameters])

    assert difference(gradient(True), gradient(False)) < 1e-7
