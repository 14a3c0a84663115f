-- queues/expire.lua: drop what is too old in a queue that perhaps nobody receives from.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · now_ms (event time) · retention_ms · delay_ms of a FIFO queue
-- Writes   as a receive that takes nothing: qready and its kin, qdelay, qflight, qstate, qmsg, qdedup, qdedupdue
-- Returns  1 where there may be more to drop
-- Atomic   a bounded number of messages, each whole

local ident, now_ms = ARGV[1], tonumber(ARGV[2])
local fifo = redis.call('HGET', name('queue', ident), 'fifo')
if not fifo then return 0 end
promote(ident, fifo == '1', now_ms, tonumber(ARGV[4]))
local more = expire(ident, fifo == '1', now_ms - tonumber(ARGV[3]))
forget_ids(ident, now_ms, 1000)
local ids = redis.call('ZCOUNT', name('qdedupdue', ident), '-inf', now_ms)
return (more or ids > 0) and 1 or 0
