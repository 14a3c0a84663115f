-- queues/purge.lua: delete all messages of a queue.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · now_ms (event time) · pause between two purges in ms
-- Writes   qmsg, qready, qdelay, qflight, qstate, qorder, qgroups, qlocks; queue:<ident> (purged)
-- Returns  ok, busy (purged within the pause), or gone
-- Atomic   what was sent before is gone, what is sent after stays; ids of deduplication are kept

local ident, now_ms = ARGV[1], tonumber(ARGV[2])
local queue = redis.call('HMGET', name('queue', ident), 'gen', 'purged')
if not queue[1] then return 'gone' end
if queue[2] and now_ms - tonumber(queue[2]) < tonumber(ARGV[3]) then return 'busy' end
for _, kind in ipairs({ 'qmsg', 'qready', 'qdelay', 'qflight', 'qstate', 'qorder', 'qgroups', 'qlocks' }) do
  redis.call('UNLINK', name(kind, ident))
end
redis.call('HSET', name('queue', ident), 'purged', ARGV[2])
return 'ok'
