-- queues/drop.lua: delete a queue with all its messages.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident
-- Writes   every key of the queue, queues, deadletters, moving, outgoing
-- Returns  1, or 0 where there was none
-- Atomic   all or nothing; what was on its way to other queues goes with it

local ident = ARGV[1]
if redis.call('EXISTS', name('queue', ident)) == 0 then return 0 end
arrive(ident)
for _, kind in ipairs({ 'queue', 'qmsg', 'qready', 'qdelay', 'qflight', 'qstate', 'qorder', 'qgroups', 'qlocks',
                        'qdedup', 'qdedupdue', 'qwait', 'qout', 'qmoves' }) do
  redis.call('UNLINK', name(kind, ident))
end
redis.call('ZREM', P .. 'queues', ident)
redis.call('HDEL', P .. 'deadletters', ident)
redis.call('SREM', P .. 'moving', ident)
redis.call('SREM', P .. 'outgoing', ident)
return 1
