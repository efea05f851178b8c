"""A policy for a robot and a gymnasium environment of one's own: ``python examples/own_robot/run.py -o FOLDER``.

`planar_arm.py` is the team's environment and the controller it has already, `robot.json` says what its numbers are,
and `mapping.json` which entry of an observation is which word.  Demonstrations are recorded, a small diffusion policy
is trained on them, and its success is counted over seeds it has not seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from gencore.cli import main as gencore

HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Record, train and roll out.

    Args:
        argv: the words of the command line; None takes those of this process.
    """
    parser = argparse.ArgumentParser(description="A policy for a robot of one's own.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the demonstrations and the policy")
    parser.add_argument("--demonstrations", type=int, default=60)
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--episodes", type=int, default=50, help="of the roll-out")
    args = parser.parse_args(argv)
    demos, run = str(args.output / "demonstrations"), str(args.output / "run")
    arm = ["--env", "planar_arm:lab/PlanarArm-v0", "--mapping", str(HERE / "mapping.json")]
    commands = [
        ["record", "robot", *arm, "--expert", "planar_arm:controller", "--noise", "1", "-o", demos,
         "--episodes", str(args.demonstrations)],
        ["train", "robot", "--preset", "two-way-reach", "--data", demos, "--batch", "32", "--steps", str(args.steps),
         "-o", run],
        ["rollout", "robot", *arm, "--model", run, "--episodes", str(args.episodes), "--num-envs", "4"],
    ]  # fmt: skip
    return next((failed for words in commands if (failed := gencore(words))), 0)


if __name__ == "__main__":
    raise SystemExit(main())
