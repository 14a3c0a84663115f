-- redeliver.lua: put what was refused of a dead event's deliveries back into the outbox.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · id · now_ms (event time)
-- Writes   dead:<ident>, deadbytes, ev:<id>, outbox:<destination>, outboxes, wake-outbox
-- Returns  redriven | gone (it is not dead any more)
-- Atomic   it is dead or in the outbox, never both or neither.

local ident, id = ARGV[1], ARGV[2]
local ev = P .. 'ev:' .. id
if not exhume(ident, id) then return 'gone' end
redis.call('HDEL', ev, 'dead')
redis.call('HSET', ev, 'resent', ARGV[3])
for _, delivery in ipairs(cjson.decode(redis.call('HGET', ev, 'ending')).deliveries) do
  if redis.call('HDEL', ev, 'refused:' .. delivery[1]) == 1 then
    redis.call('HINCRBY', ev, 'left', 1)
    post(id, delivery[1], delivery[2])
  end
end
tally('redriven')
return 'redriven'
