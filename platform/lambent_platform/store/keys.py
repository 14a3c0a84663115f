"""The name of every key, in one place.

Keys live in a fixed number of partitions; a partition's tag (`{p0}`) keeps all keys that one script touches on one
node of a Redis Cluster. A function hashes to a partition with everything that belongs to it. Names start with the
version of the schema. `ident` is `account:region:name`, `target` one deployed state of one version.

    functions   fn:<ident> HASH · fns ZSET of idents · preparing SET of idents · urls HASH url id → ident|qualifier
                deleted ZSET ident → when it was deleted
                reserved HASH ident → reserved concurrency, `*` → their sum · generation STRING, counts all writes
                usage HASH account:region → bytes of code
    apis        api:<api id> HASH · apis ZSET of account:region:api id
    connections conn:<connection id> HASH · sockets:<gateway> SET of connection ids · socket-gateways SET
                orders:<gateway> LIST of orders for the connections that it holds, and of ends of its own orders
    slots       idle:<target> ZSET worker/environment → when it was last used
    waiting     wait:<target> ZSET call id → order · waitmsg:<target> HASH call id → call · order STRING, a counter
    events      ev:<id> HASH · evq:<target> LIST of ids · delayed ZSET id → due · expiries ZSET id → when
                outbox:<arn> LIST of `id kind` · outboxes SET of ARNs · wake-outbox LIST the outbox loop sleeps on
                dead:<ident> LIST of ids · deadbytes HASH ident → bytes · eventcounts HASH, see demand.py
                taken:<id> STRING, for a while: an event that must not be accepted again was
    counts      running HASH ident → calls now, `*` → those without reserved concurrency · meter:<ident> HASH
    demand      demand SET of targets that wait · wake LIST the scheduler sleeps on
    habits      habits:<ident> HASH of idle times by bin, and how calls found it: lua/habits.lua
                expected ZSET target → when an environment of it shall be brought up, though nothing waits for it
    stacks      stack:<ident> HASH body, revision · stacks ZSET of idents: see stacks.py
    builds      job:<id> HASH · wake-preparation LIST the preparation loop sleeps on
    logs        loggroups ZSET · logstreams, logchunks, logfirsts, logtail:<group>: see logs.py
    queues      queue:<ident> HASH · queues ZSET of idents · queue-generation STRING · deadletters HASH ident → ident of
                its dead-letter queue · qmsg HASH place → message, qready qdelay qflight ZSET, qstate HASH; FIFO:
                qorder qgroups ZSET, qlocks HASH; qdedup HASH, qdedupdue ZSET (each :<ident>): lua/queues/prelude.lua
                qout:<ident> HASH of messages on their way to other queues · outgoing SET of idents with such
                qmoves:<ident> HASH task id → task, JSON · moving SET of idents with an active one
                qwait:<ident> SET of processes that wait for it · arrivals:<process> LIST of idents
    workers     workers HASH · beats ZSET · inbox:<worker> LIST · held:<worker> HASH call id → lease
                envs:<worker> HASH environment id → record
    gateways    gateways HASH · replies:<gateway> LIST · parts:<gateway> LIST of parts of streamed replies, on credit
    mappings    mapping:<uuid> HASH · mappings ZSET uuid → generation · mapping-generation STRING, counts all writes
                mapping-index ZSET of what they are found by · mapping-pairs HASH `source function` → uuid
                wake-mappings LIST the scheduler's pollers sleep on. All in the home partition
                stream-notes HASH uuid → where its consumer group began, how far failing batches have got
    streams     on `--streams-redis`: keys of producers' choice, none beginning l1:{ or rq:, with groups lambent:<uuid>
    schedules   source:<id> HASH · sources ZSET of ids · source-generation STRING · ticks ZSET id → due · firings HASH
                firingsdue ZSET firing id → due · pending HASH id → count · deleted-by:<id>:<token> STRING, for a
                while · wake-schedules LIST, on which the loop of
                schedules sleeps: lua/schedules/prelude.lua. In the home partition schedule-groups:<account:region>
                HASH · schedule-groups-deleting SET
    clock       clock, clockseen HASH · clockbeats ZSET · clockbox:<process>, clockmoves LIST: lua/clock/prelude.lua;
                all in the home partition, and with a movable clock only
    roles       leader STRING · metrics HASH role → snapshot · objects-owner STRING, which the object store holds too
"""

from __future__ import annotations

import zlib
from typing import Final

SCHEMA: Final = "l1"


class Keys:
    """Names keys for a number of partitions, which never changes during the life of a data set."""

    def __init__(self, partitions: int = 1) -> None:
        self.prefixes = tuple(f"{SCHEMA}:{{p{n}}}:" for n in range(partitions))

    def prefix(self, ident: str) -> str:
        """The prefix of the partition that holds a function (`account:region:name`)."""
        return self.prefixes[zlib.crc32(ident.encode()) % len(self.prefixes)]

    @property
    def home(self) -> str:
        """The partition for what belongs to no function."""
        return self.prefixes[0]

    def function(self, ident: str) -> str:
        """The hash of one function."""
        return f"{self.prefix(ident)}fn:{ident}"

    def api(self, api_id: str) -> str:
        """The hash of one API."""
        return f"{self.prefix(api_id)}api:{api_id}"
