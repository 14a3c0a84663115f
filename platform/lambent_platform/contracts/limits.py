"""Lambda's limits, by the names and units that the platform uses.

Source: AWS Lambda Developer Guide, "Lambda quotas"; botocore's service model for the ranges of fields.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024

SYNC_PAYLOAD_BYTES: Final = 6_291_556
"""Largest request and largest buffered reply of a synchronous invocation (6 MB and room for the envelope)."""
ASYNC_PAYLOAD_BYTES: Final = MIB
STREAM_BYTES: Final = 200 * MIB
"""Largest streamed reply."""
STREAM_WINDOW_BYTES: Final = MIB // 2
"""How much of one stream may be on its way to a client that has not taken it yet: on Redis and in its gateway."""
STREAM_CHUNK_BYTES: Final = MIB // 16
"""Largest part of a stream that travels as one."""
CREATE_REQUEST_BYTES: Final = 70_167_211
"""Largest body of a control-plane request; above it Lambda answers 413 `RequestEntityTooLargeException`."""
ZIP_BYTES: Final = 52_428_800
UNZIPPED_BYTES: Final = 262_144_000
ZIP_ENTRIES: Final = 100_000
ENVIRONMENT_VARIABLES_BYTES: Final = 4096
LOG_TAIL_BYTES: Final = 4096
CLIENT_CONTEXT_BYTES: Final = 3583

ACCOUNT_CONCURRENCY: Final = 1000
UNRESERVED_CONCURRENCY_MIN: Final = 100

MEMORY_MB_MIN, MEMORY_MB_MAX, MEMORY_MB_DEFAULT = 128, 10240, 128
TIMEOUT_S_MAX, TIMEOUT_S_DEFAULT = 900, 3
EPHEMERAL_MB_MIN, EPHEMERAL_MB_MAX = 512, 10240
MB_PER_VCPU: Final = 1769
"""Lambda gives one vCPU's worth of time at 1,769 MB, in proportion below and above."""
INIT_TIMEOUT_S: Final = 10.0
"""Lambda's init phase; a longer init is repeated inside the first invocation's own timeout."""

ASYNC_RETRIES_DEFAULT: Final = 2
ASYNC_MAX_AGE_S_DEFAULT: Final = 21_600
ASYNC_MAX_AGE_S_MIN: Final = 60

DEFAULT_ACCOUNT: Final = "000000000000"
DEFAULT_REGION: Final = "us-east-1"
DEFAULT_PORT: Final = 4566
