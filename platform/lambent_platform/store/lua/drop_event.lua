-- drop_event.lua: end an event that waits, without another attempt.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · ending (JSON) · response · dead events kept · bytes of them kept · when to look again (event time)
-- Writes   evq:<target> or delayed, and what `settle` of the prelude does; or, of an event that runs now, expiries:
--          its attempt decides, and if that is given back the event is looked at again
-- Returns  1, or 0 where the event did not wait any more

local id = ARGV[1]
local target = redis.call('HGET', P .. 'ev:' .. id, 'target')
if not target then
  redis.call('ZREM', P .. 'expiries', id)
  return 0
end
if redis.call('ZREM', P .. 'delayed', id) == 0 and redis.call('LREM', P .. 'evq:' .. target, 1, id) == 0 then
  redis.call('ZADD', P .. 'expiries', 'XX', ARGV[6], id)
  return 0
end
settle(id, 'dead', '0', ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
return 1
