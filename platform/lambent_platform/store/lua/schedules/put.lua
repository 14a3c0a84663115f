-- schedules/put.lua: store firings of a rule that matched an event.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id of the rule · most firings that it may have pending · when to send them · then for each: id · firing (JSON)
-- Writes   firings, firingsdue, pending, wake-schedules
-- Returns  1, or 0 where too many are pending and none was stored
-- Atomic   all of them or none.

local id, count = ARGV[1], (#ARGV - 3) / 2
if number(redis.call('HGET', P .. 'pending', id)) + count > number(ARGV[2]) then return 0 end
for at = 4, #ARGV, 2 do
  redis.call('HSET', P .. 'firings', ARGV[at], ARGV[at + 1])
  if redis.call('ZADD', P .. 'firingsdue', ARGV[3], ARGV[at]) == 1 then redis.call('HINCRBY', P .. 'pending', id, 1) end
end
wake()
return 1
