-- schedules/group.lua: replace one group of schedules, if it is still as it was read.
--
-- KEYS[1]  prefix of the home partition
-- ARGV     `account:region` · name · the group as it was read (JSON; '' for none) · as it is to be ('' for none)
-- Writes   schedule-groups:<account:region>, schedule-groups-deleting, wake-schedules
-- Returns  1, or 0 where it was changed, made or deleted since

local key, name, before, after = P .. 'schedule-groups:' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if (redis.call('HGET', key, name) or '') ~= before then return 0 end
local member = ARGV[1] .. ':' .. name
redis.call('SREM', P .. 'schedule-groups-deleting', member)
if after == '' then
  redis.call('HDEL', key, name)
  return 1
end
redis.call('HSET', key, name, after)
if cjson.decode(after).State == 'DELETING' then
  redis.call('SADD', P .. 'schedule-groups-deleting', member)
  wake()
end
return 1
