"""The network of a platform's containers: the internet, and nothing that is private.

All containers of a platform share one bridge on which they cannot see each other. A packet filter of our own, in an
nftables table of its own, refuses whatever comes from that bridge for private, link-local or this machine's own
addresses; it is evaluated beside whatever Docker, firewalld or an operator have in place, and a packet has to pass
both. It is loaded by a short-lived container in the host's network. Where it cannot be loaded, containers get no
network at all rather than an unfiltered one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.core.images import ImagePlan
from lambent_workers.drivers.docker.engine import Engine
from lambent_workers.drivers.docker.settings import PLATFORM_LABEL, DockerSettings

NO_NETWORK = "none"
READY_TIMEOUT_S = 120.0
_FILTER_TIMEOUT_S = 30.0
REFUSED_RANGES: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
"""IANA's special-purpose registry: what is not somebody's public address (documentation ranges are harmless)."""

_log = structlog.get_logger(__name__)

# Docker's resolver asks the host's name servers from within the container's own network, so those, and only on
# port 53, have to be let through. The script adds them where the rules say @RESOLVERS@.
_LOAD_SCRIPT = r"""
set -eu
resolvers=127.0.0.1
while read -r key value rest; do
  case "$key $value" in
    "nameserver "*:*) ;;
    "nameserver "*) resolvers="$resolvers, $value" ;;
  esac
done < /etc/resolv.conf
printf '%s\n' "$RULES" | sed "s/@RESOLVERS@/$resolvers/" | nft -f -
"""


def rules(bridge: str, table: str, allowed_cidrs: tuple[str, ...] = ()) -> str:
    """Return the packet filter for one bridge. Loading it again replaces it."""
    allowed = f"ip daddr {{ {', '.join(allowed_cidrs)} }} accept" if allowed_cidrs else ""
    resolvers = "ip daddr { @RESOLVERS@ } meta l4proto { tcp, udp } th dport 53 accept"
    return f"""
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname != "{bridge}" accept
    ct state established,related accept
    {resolvers}
    {allowed}
    meta nfproto ipv6 drop
    ip daddr {{ {", ".join(REFUSED_RANGES)} }} drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname != "{bridge}" accept
    {resolvers}
    {allowed}
    drop
  }}
}}
"""


class Network:
    """Makes and removes the bridge and its filter; `mode` is what a container's `NetworkMode` is set to."""

    def __init__(self, engine: Engine, settings: DockerSettings, tools: ImagePlan) -> None:
        self._engine = engine
        self._settings = settings
        self._tools = tools
        self._name = f"lambent-{settings.platform_id}"
        self._bridge = f"lam{settings.mark}"
        self._table = f"lambent_{settings.mark}"
        self._making: asyncio.Task[str] | None = None
        self._filtered = False
        self.warnings: list[str] = []

    async def open(self) -> None:
        """Put everything in place; at once where the filter's image is there, else while it is being built.

        A container that is started before it is in place waits for it.
        """
        if self._settings.egress == "none":
            return
        self._making = asyncio.create_task(self._make())
        if await self._engine.image(self._tools.tag) is not None:
            await asyncio.wait([self._making], timeout=_FILTER_TIMEOUT_S)

    async def mode(self) -> str:
        """Wait until it is known what containers get: the bridge's name, or no network.

        Raises:
            SandboxError: it is not known in time.
        """
        if self._making is None:
            return NO_NETWORK
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                return await asyncio.shield(self._making)
        except TimeoutError as error:
            raise SandboxError("the containers' network is not ready yet") from error

    async def close(self) -> None:
        """Remove the bridge, then its filter."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)
        await self._engine.remove_networks(f"{PLATFORM_LABEL}={self._settings.platform_id}")
        if self._filtered:
            await self._in_host_network("nft delete table inet " + self._table, "")
            self._filtered = False

    async def _make(self) -> str:
        try:
            if await self._engine.image(self._tools.tag) is None:
                await self._engine.build(self._tools)
            allowed = tuple(self._settings.allowed_cidrs)
            await self._in_host_network(_LOAD_SCRIPT, rules(self._bridge, self._table, allowed))
            self._filtered = True
            if not await self._engine.network_exists(self._name):
                await self._engine.create_network(self._bridge_config())
        except SandboxError as error:
            self.warnings.append(
                f"Functions run without a network: the packet filter that keeps private addresses from them could not "
                f"be put in place ({error})."
            )
            _log.warning("network.unfiltered", error=str(error), consequence="functions run without a network")
            return NO_NETWORK
        return self._name

    def _bridge_config(self) -> dict[str, object]:
        return {
            "Name": self._name,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "EnableIPv6": False,
            "Labels": self._settings.labels,
            "Options": {
                "com.docker.network.bridge.name": self._bridge,
                "com.docker.network.bridge.enable_icc": "false",
            },
        }

    async def _in_host_network(self, script: str, rules_text: str) -> None:
        """Run a script of ours, with the one capability that it needs, in a container that is gone afterwards."""
        container_id = await self._engine.create(
            f"lambent-filter-{self._settings.mark}",
            {
                "Image": self._tools.tag,
                "User": "0:0",
                "Entrypoint": ["sh", "-c", script],
                "Cmd": [],
                "Env": [f"RULES={rules_text}"],
                "Labels": self._settings.labels,
                "HostConfig": {
                    "NetworkMode": "host",
                    "CapDrop": ["ALL"],
                    "CapAdd": ["NET_ADMIN"],
                    "SecurityOpt": ["no-new-privileges"],
                    "ReadonlyRootfs": True,
                    "PidsLimit": 32,
                    "Memory": 64 * 1024 * 1024,
                    "LogConfig": {"Type": "json-file", "Config": {"max-size": "64k"}},
                },
            },
        )
        try:
            await self._engine.start(container_id)
            status = await self._engine.wait(container_id, _FILTER_TIMEOUT_S)
            if status != 0:
                said = ""
                with contextlib.suppress(SandboxError):
                    said = await self._engine.output(container_id)
                raise SandboxError(f"nft ended with {status}: {said.strip()[-500:]}")
        finally:
            await self._engine.remove(container_id)
