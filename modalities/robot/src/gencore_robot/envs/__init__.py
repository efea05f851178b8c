"""Environments for gymnasium, registered when gymnasium is imported (entry point ``gymnasium.envs``)."""

from __future__ import annotations


def register() -> None:
    """Register the environments; calling it again changes nothing."""
    import gymnasium

    entries = {
        "gencore/AlohaTransferCube-v0": ("gencore_robot.envs.aloha:AlohaTransferCube", 400),
        "gencore/AlohaInsertion-v0": ("gencore_robot.envs.aloha:AlohaInsertion", 400),
        "gencore/TwoWayReach-v0": ("gencore_robot.envs.reach:TwoWayReach", 60),
    }
    for name, (entry_point, steps) in entries.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=entry_point, max_episode_steps=steps)
