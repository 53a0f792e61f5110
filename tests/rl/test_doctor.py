"""`worldcritic doctor`: green on the tiny families, red where something was broken on purpose."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from reward.critic import VideoCritic
from reward.fake import FakeCritic, hashed
from reward.loading import zero_shot_manifest
from reward.model import RewardModel
from rl.checks import environment, training
from rl.checks.critic import examine, packed_as_separate, same_twice
from rl.checks.generator import latents_finite, noise_levels, replay, sampler
from rl.checks.outcome import at_most, attempt
from rl.checks.subject import Subject, small_sampling
from rl.checks.training import dpo_at_start, gradient_in_adapter, lora_round_trip, reference_is_base, resume
from rl.generator import Generator
from rl.lora import FILES
from worldcritic import main


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Videos of the toy world and their prompts."""
    out = tmp_path_factory.mktemp("toy") / "world"
    assert main(["toyworld", "--out", str(out), "--num", "6", "--size", "32", "--frames", "9"]) == 0
    return out


@pytest.fixture
def subject(tiny):
    generator = Generator.load(str(tiny("wan")), device="cpu")
    return Subject(generator, small_sampling(generator, steps=2))


def doctor(tmp_path, *arguments):
    """Return the exit code and the rows of the report by name."""
    out = tmp_path / "doctor.json"
    code = main(["doctor", *map(str, arguments), "--device", "cpu", "--out", str(out), "--overwrite"])
    rows = json.loads(out.read_text())["checks"]
    return code, {f"{row['about']}: {row['name']}": row for row in rows}


@pytest.mark.parametrize("name", ["wan", "wan_a14b", "ltx", "cogvideox", "hunyuan"])
def test_tiny_families_are_green(tiny, tmp_path, capsys, name):
    code, rows = doctor(tmp_path, "--generator", tiny(name))
    of_generator = {key: row for key, row in rows.items() if key.startswith("generator")}
    assert code == 0
    assert len(of_generator) == 16
    # Wan's stock pipeline with FlowMatchEuler has the schedule trap; there is nothing else to say of any family.
    trapped = {"generator: noise levels"} if name.startswith("wan") else set()
    assert {key for key, row in of_generator.items() if row["status"] != "passed"} == trapped
    assert rows["generator: replayed prediction is the pipeline's"]["value"] == 0
    assert rows["generator: resumed training is the same"]["value"] == 0
    passed = sum(row["status"] == "passed" for row in rows.values())
    assert f"{passed} passed, " in capsys.readouterr().out


def test_half_precision_is_green(tiny):
    generator = Generator.load(str(tiny("wan")), device="cpu", dtype="bfloat16")
    subject = Subject(generator, small_sampling(generator, steps=2))
    for check in (replay, reference_is_base, dpo_at_start):
        outcome = check(subject)
        assert (outcome.status, outcome.value) == ("passed", pytest.approx(0, abs=1e-6))
    assert 0 < lora_round_trip(subject).value < 0.3


def test_unknown_pipelines_and_schedulers_fail_with_advice(tiny, tmp_path, capsys):
    folder = shutil.copytree(tiny("wan"), tmp_path / "g")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "AllegroPipeline"}))
    code, rows = doctor(tmp_path, "--generator", folder, "--fast")
    assert code == 1
    assert [key for key in rows if key.startswith("generator")] == ["generator: loads"]
    assert "AllegroPipeline is not known; known are" in rows["generator: loads"]["measured"]

    other = index | {"scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(other))
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000}))
    capsys.readouterr()
    code, rows = doctor(tmp_path, "--generator", folder, "--fast")
    assert code == 1
    assert "replace it in the generator's scheduler folder" in rows["generator: loads"]["measured"]
    out = capsys.readouterr().out
    assert "FAIL  generator  loads" in out
    assert "replace it in the generator's scheduler folder" in out


def test_the_schedule_trap_is_reported(subject):
    """Shift 3, 10 steps: 0.001 shifted twice is 0.00893, while the tenth of ten even levels, 0.1009, gives 0.2519."""
    generator = subject.generator
    generator.sampling = generator.sampling.with_options(steps=10, shift=3.0)
    outcome = noise_levels(subject)
    assert outcome.status == "warned"
    assert outcome.value == pytest.approx(3 * 0.002994 / (1 + 2 * 0.002994), rel=1e-3)
    assert "evenly spaced the last is 0.2519" in outcome.measured
    assert '"schedule": "uniform"' in outcome.advice
    generator.sampling = generator.sampling.with_options(schedule="uniform")
    assert noise_levels(subject).status == "passed"


def test_another_schedule_than_the_pipelines_fails(subject, monkeypatch):
    own = Generator.schedule
    monkeypatch.setattr(Generator, "schedule", lambda self, sampling: own(self, replace(sampling, shift=8.0)))
    assert replay(subject).status == "passed"
    outcome = sampler(subject, guided=False)
    assert outcome.status == "failed"
    assert "do not train on it" in outcome.advice


def test_levels_that_do_not_fall_fail(subject, monkeypatch):
    own = Generator.schedule

    def backwards(self, sampling):
        scheduler = own(self, sampling)
        scheduler.timesteps = scheduler.timesteps.flip(0)
        return scheduler

    monkeypatch.setattr(Generator, "schedule", backwards)
    outcome = noise_levels(subject)
    assert outcome.status == "failed"
    assert "sampling.json" in outcome.advice


def test_nan_weights_fail_and_are_never_equal(subject):
    with torch.no_grad():
        subject.generator.pipe.transformer.proj_out.weight.fill_(torch.nan)
    outcome = latents_finite(subject)
    assert (outcome.status, outcome.measured.split(" ")[0]) == ("failed", str(subject.latents.numel()))
    assert replay(subject).status == "failed"  # NaN on both sides is no agreement


def test_a_lost_alpha_fails(subject, monkeypatch):
    """Without its metadata the stock loader takes alpha for r; alpha being 2 r, half of the effect is lost."""
    assert lora_round_trip(subject).status == "passed"
    own = Generator.save_lora

    def without_alpha(self, folder):
        own(self, folder)
        path = f"{folder}/{FILES['transformer']}"
        save_file(load_file(path), path)

    monkeypatch.setattr(Generator, "save_lora", without_alpha)
    outcome = lora_round_trip(subject)
    assert outcome.status == "failed"
    assert 0.3 < outcome.value < 0.7
    assert "alpha" in outcome.advice


def test_a_reference_that_is_not_switched_off_fails(subject, monkeypatch):
    monkeypatch.setattr(Generator, "reference", lambda self: nullcontext())
    outcome = reference_is_base(subject)
    assert outcome.status == "failed"
    assert outcome.value > 0
    assert dpo_at_start(subject).status == "passed"  # a fresh adapter hides it
    monkeypatch.undo()
    assert reference_is_base(subject).status == "passed"


def test_a_thawed_base_fails(subject, monkeypatch):
    own = Generator.add_lora

    def thawing(self, *arguments, **options):
        parameters = own(self, *arguments, **options)
        self.pipe.transformer.proj_out.requires_grad_(True)
        return parameters

    monkeypatch.setattr(Generator, "add_lora", thawing)
    outcome = gradient_in_adapter(subject)
    assert (outcome.status, outcome.value) == ("failed", 2)  # weight and bias


def test_an_adapter_that_is_not_zero_at_the_start_fails(subject, monkeypatch):
    own = Generator.add_lora
    monkeypatch.setattr(
        Generator, "add_lora", lambda self, *each, **options: own(self, *each, **options, init="gaussian")
    )
    assert training.fresh_adapter(subject).status == "passed"  # gaussian leaves B at zero
    monkeypatch.setattr(Generator, "add_lora", lambda self, *each, **options: own(self, *each, **options, init=False))
    assert training.fresh_adapter(subject).status == "failed"
    assert dpo_at_start(subject).status == "failed"


def test_resuming_without_the_optimisers_state_fails(subject, monkeypatch):
    assert resume(subject).status == "passed"
    own = training.load_checkpoint

    def forgetful(folder):
        tensors, record = own(folder)
        return tensors | {"exp_avg": torch.zeros_like(tensors["exp_avg"])}, record

    monkeypatch.setattr(training, "load_checkpoint", forgetful)
    outcome = resume(subject)
    assert outcome.status == "failed"
    assert outcome.value > 0


def offer_critic(folder, monkeypatch, p_yes):
    """Install a critic named `blind` as a package would: by an entry point."""
    (folder / "blind_critic.py").write_text(
        "from reward.fake import FakeCritic\nfrom reward.model import RewardModel\n"
        f"def load(options):\n    return RewardModel(FakeCritic({p_yes}))\n"
    )
    info = folder / "blind_critic-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blind-critic\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[worldcritic.critics]\nblind = blind_critic:load\n")
    monkeypatch.syspath_prepend(str(folder))


def test_a_critic_that_ignores_its_video_fails(toy, tmp_path, monkeypatch, capsys):
    offer_critic(tmp_path, monkeypatch, "lambda clip, question: 0.7")
    given = ["--videos", toy / "videos", "--prompts", toy / "prompts.json"]
    code, rows = doctor(tmp_path, "--critic", "blind", *given)
    assert code == 1
    for what in ("video", "prompt"):
        row = rows[f"critic: scores depend on the {what}"]
        assert (row["status"], row["value"]) == ("failed", 0)
        assert row["what_to_do"] == f"the critic ignores its {what}: do not train on its reward"
    assert rows["critic: shuffled and reversed score otherwise"]["status"] == "warned"
    assert rows["critic: frozen and black clips are paid nothing"]["status"] == "passed"
    assert "-> the critic ignores its video: do not train on its reward" in capsys.readouterr().out

    code, rows = doctor(tmp_path, "--critic", "fake", *given)
    assert code == 0
    assert rows["critic: scores depend on the video"]["status"] == "passed"
    assert rows["critic: shuffled and reversed score otherwise"]["status"] == "passed"


def test_the_oracle_judges_clips_made_on_the_spot(tmp_path):
    code, rows = doctor(tmp_path, "--critic", "oracle", "--num_videos", "3")
    assert code == 0
    for what in ("video", "prompt"):
        assert rows[f"critic: scores depend on the {what}"]["value"] > 0.3


def test_a_critic_that_answers_by_chance_fails(tmp_path):
    rng = torch.Generator().manual_seed(0)
    model = RewardModel(FakeCritic(lambda clip, question: float(torch.rand(1, generator=rng))))
    outcome = same_twice(examine("chance", model, tmp_path))
    assert outcome.status == "failed"
    assert same_twice(examine("fake", RewardModel(FakeCritic(hashed)), tmp_path)).status == "passed"


def test_packed_questions_are_compared_with_separate_ones(model, tokenizer, tmp_path):
    manifest = zero_shot_manifest("tiny", model.config, tokenizer)
    critic = VideoCritic(model, tokenizer, manifest)
    examined = examine("tiny", RewardModel(critic), tmp_path)
    outcome = packed_as_separate(examined)
    assert outcome.status == "passed"
    assert 0 <= outcome.value <= 1e-4
    wrong = examined.judgements[0]
    first = replace(wrong.answers[0], p_yes=1 - wrong.answers[0].p_yes)
    examined.judgements[0] = replace(wrong, answers=(first, *wrong.answers[1:]))
    assert packed_as_separate(examined).status == "failed"


def test_fast_leaves_out_the_slow_checks(tiny, tmp_path):
    code, rows = doctor(tmp_path, "--generator", tiny("wan"), "--fast")
    assert code == 0
    left_out = {key for key, row in rows.items() if row["measured"] == "left out by --fast"}
    assert "generator: resumed training is the same" in left_out
    assert rows["generator: replayed prediction is the pipeline's"]["status"] == "passed"


def test_the_machine_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_version", {"decord": None, "openai": None}.get)
    assert "openai is missing" in environment.optional_packages("teacher").measured
    assert environment.optional_packages("teacher").advice.endswith('pip install "worldcritic[teacher]"')
    assert environment.decoders_agree().status == "passed"
    monkeypatch.undo()
    seconds = {torch.bfloat16: 3.0, torch.float32: 1.0}
    monkeypatch.setattr(environment, "_matmul_seconds", lambda device, number: seconds[number])
    code, rows = doctor(tmp_path)
    assert code == 0
    assert {row["about"] for row in rows.values()} == {"machine"}
    slow = rows["machine: bfloat16 speed"]
    assert (slow["status"], slow["value"], slow["what_to_do"]) == ("warned", 3.0, "use --dtype float32 on cpu")


def test_a_full_disk_and_an_unknown_device_fail(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert environment.disk_space(tmp_path / "new" / "doctor.json").status == "failed"
    outcome = environment.device_usable("cuda:99")
    assert outcome.status == "failed"
    assert "cpu" in outcome.advice


def test_a_check_that_raises_has_failed():
    outcome = attempt(lambda: 1 / 0)
    assert (outcome.status, outcome.measured) == ("failed", "ZeroDivisionError: division by zero")
    assert at_most(float("nan"), 1.0, "look").status == "failed"

    def missing():
        raise ImportError("No module named 'diffusers'")

    assert 'pip install "worldcritic[rl]"' in attempt(missing).advice


def test_bad_options_leave_with_2(tmp_path, capsys):
    assert main(["doctor", "--videos", str(tmp_path)]) == 2
    assert main(["doctor", "--critic", "fake", "--videos", str(tmp_path)]) == 2
    (tmp_path / "doctor.json").write_text("{}")
    assert main(["doctor", "--out", str(tmp_path / "doctor.json")]) == 2
    assert "--overwrite" in capsys.readouterr().err
