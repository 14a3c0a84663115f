"""What a container is made like: pure functions from sizes and settings to the engine's own words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambent_platform.contracts.limits import MIB
from lambent_workers.drivers.cgroup_files import CPU_PERIOD_US, cpu_quota_us, cpu_weight
from lambent_workers.drivers.docker.settings import ENVIRONMENT_LABEL, DockerSettings

TASK_ROOT = "/var/task"
LAYERS_ROOT = "/opt"
SOCKETS_ROOT = "/run/lambent"
INIT = "/lambent/init"
_TMP_INODES_PER_MB = 128


def memory_limit_bytes(memory_mb: int, ephemeral_mb: int, share_mb: int) -> int:
    """Return a container's hard limit. It has room for a full `/tmp`, which is charged to it like memory."""
    return (memory_mb + ephemeral_mb + share_mb) * MIB


def limits(memory_mb: int, ephemeral_mb: int, share_mb: int, *, boosted: bool = False) -> dict[str, int]:
    """Return the limits in the engine's words, for a creation or an update."""
    memory = memory_limit_bytes(memory_mb, ephemeral_mb, share_mb)
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "CpuPeriod": CPU_PERIOD_US,
        "CpuQuota": cpu_quota_us(memory_mb, boosted=boosted),
        "CpuShares": cpu_weight(memory_mb),
    }


def container_config(
    settings: DockerSettings,
    *,
    image: str,
    environment_id: str,
    sizes: Mapping[str, int],
    ephemeral_mb: int,
    folder: Path,
    network: str,
) -> dict[str, Any]:
    """Describe a hardened container whose process 1 is init.

    `folder` is the environment's own, as the engine sees it; `sizes` come from `limits`. Default seccomp and AppArmor
    profiles stay in force because nothing here names another.
    """
    return {
        "Image": image,
        "Hostname": "sandbox",
        "User": settings.user,
        "Entrypoint": [INIT],
        "Cmd": [],
        "WorkingDir": "/",
        "Labels": {**settings.labels, ENVIRONMENT_LABEL: environment_id},
        "AttachStdout": False,
        "AttachStderr": False,
        "HostConfig": {
            **sizes,
            "AutoRemove": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Privileged": False,
            "IpcMode": "private",
            "NetworkMode": network,
            "PidsLimit": settings.pids_max,
            "Ulimits": [
                {"Name": "nofile", "Soft": settings.files_max, "Hard": settings.files_max},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "Tmpfs": {
                "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={ephemeral_mb}m,"  # noqa: S108
                f"nr_inodes={ephemeral_mb * _TMP_INODES_PER_MB}"
            },
            "Mounts": [
                _bind(folder / "task", TASK_ROOT),
                _bind(folder / "opt", LAYERS_ROOT),
                _bind(folder / "sock", SOCKETS_ROOT),
            ],
            **({"Runtime": settings.engine_runtime} if settings.engine_runtime else {}),
        },
    }


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}
