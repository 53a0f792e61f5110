"""What can be said of the launch configs without eight GPUs: accelerate takes them and finds the layers to shard."""

from pathlib import Path

import pytest
from accelerate import FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import load_config_from_file

FOLDER = Path(__file__).parents[2] / "configs" / "accelerate"


@pytest.mark.parametrize("name", ["ddp-8", "fsdp-8"])
def test_accelerate_takes_the_file(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (config.num_processes, config.num_machines, config.use_cpu) == (8, 1, False)
    assert {path.stem for path in FOLDER.iterdir()} == {"ddp-8", "fsdp-8"}


def test_the_layers_of_both_towers_are_sharded(model):
    given = load_config_from_file(str(FOLDER / "fsdp-8.yaml")).fsdp_config
    assert given["fsdp_state_dict_type"] == "FULL_STATE_DICT", "the critic is saved from the whole state dict"
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=given["fsdp_version"],
        auto_wrap_policy=given["fsdp_auto_wrap_policy"].lower(),
        reshard_after_forward=given["fsdp_reshard_after_forward"],
        state_dict_type=given["fsdp_state_dict_type"],
    )
    plugin.set_auto_wrap_policy(model)
    wrapped = [name for name, module in model.named_modules() if plugin.auto_wrap_policy(module, False, 0)]
    assert wrapped == [
        *(f"model.visual.blocks.{i}" for i in range(2)),
        *(f"model.language_model.layers.{i}" for i in range(4)),
    ]
