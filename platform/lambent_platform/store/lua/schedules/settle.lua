-- schedules/settle.lua: a firing was sent or given up, or is to be sent later.
--
-- KEYS[1]  prefix of the partition
-- ARGV     firing id · id of its schedule · when to send it again ('' : it is over) · firing (JSON)
-- Writes   firings, firingsdue, pending
-- Returns  1, or 0 where it is over already

if redis.call('HEXISTS', P .. 'firings', ARGV[1]) == 0 then return 0 end
if ARGV[3] ~= '' then
  redis.call('HSET', P .. 'firings', ARGV[1], ARGV[4])
  redis.call('ZADD', P .. 'firingsdue', ARGV[3], ARGV[1])
  return 1
end
redis.call('HDEL', P .. 'firings', ARGV[1])
redis.call('ZREM', P .. 'firingsdue', ARGV[1])
if redis.call('HINCRBY', P .. 'pending', ARGV[2], -1) <= 0 then redis.call('HDEL', P .. 'pending', ARGV[2]) end
return 1
