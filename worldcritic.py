"""The front door: one console command, `worldcritic VERB`. A verb's module is imported only when it is called."""

import importlib
import os
import sys
from collections.abc import Sequence

VERBS = {
    "score": ("reward.score", "score a folder of videos in ten dimensions"),
    "rank": ("reward.rank", "pick the best of N videos per prompt"),
    "mine": ("reward.mine", "find preference pairs among scored videos"),
    "evaluate": ("reward.evaluate", "VideoVerse's totals; a critic against labels, people, counterfactuals"),
    "report": ("reward.report", "one HTML page about scored videos, their pairs, calibration and training"),
    "label": ("distill.label", "have a teacher answer the questions about videos"),
    "dataset": ("distill.dataset", "make SFT data from teacher labels"),
    "sft": ("distill.sft", "train a critic on SFT data"),
    "calibrate": ("distill.calibrate", "calibrate a critic on labelled videos"),
    "sample": ("rl.sample", "sample candidates from a generator into a rollout store"),
    "dpo": ("rl.dpo", "fine-tune a generator on preference pairs"),
    "rwr": ("rl.rwr", "fine-tune a generator on its own scored rollouts"),
    "nft": ("rl.nft", "fine-tune a generator online with a critic's rewards"),
    "doctor": ("rl.doctor", "check a generator, a critic and this machine"),
    "demo": ("worldcritic_demo", "run the whole loop on the toy world, offline, and measure what it gained"),
    "toyworld": ("toyworld.make", "make videos with known truth, to try everything offline"),
}

EXTRAS = {"reward": "plots", "distill": "distill,teacher", "rl": "rl", "worldcritic_demo": "distill,rl,teacher"}
"""What a verb of each package may need beside the core."""

HELP = """usage: worldcritic VERB [options]      (worldcritic VERB --help lists a verb's options)

Turn judgements of generated videos into a calibrated reward.

verbs:
{verbs}

exit codes: 0 complete, 1 failed, 2 bad input or usage, 3 some rows failed, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; errors made on purpose become one line on stderr."""
    # Threads of PyTorch that spin while they wait took twelve times as long beside another busy process (libgomp).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<10} {text}" for verb, (_, text) in VERBS.items())))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"worldcritic {version('worldcritic')}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"worldcritic: unknown verb {verb!r}; verbs are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return _run(verb, rest)


def _run(verb: str, arguments: list[str]) -> int:
    from reward.config import parse
    from reward.errors import WorldcriticError

    try:
        module = importlib.import_module(VERBS[verb][0])
        return int(module.main(parse(module.Config, arguments, verb, module.__doc__ or "")) or 0)
    except WorldcriticError as error:
        print(f"worldcritic {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(VERBS[verb][0].partition(".")[0])
        if extra is None or error.name is None or error.name.partition(".")[0] in (*EXTRAS, "toyworld", "worldcritic"):
            raise
        print(f"worldcritic {verb}: needs {error.name}; install: pip install 'worldcritic[{extra}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"worldcritic {verb}: interrupted; what is finished is kept, the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
