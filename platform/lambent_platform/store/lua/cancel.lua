-- cancel.lua: take a call that still waits out of its queue.
--
-- KEYS[1]  prefix of the partition
-- ARGV     call id · target
-- Returns  1 where it was waiting and is gone, 0 where it was placed or answered in the meantime.

local id, target = ARGV[1], ARGV[2]
if redis.call('ZREM', P .. 'wait:' .. target, id) == 0 then return 0 end
local raw = redis.call('HGET', P .. 'waitmsg:' .. target, id)
redis.call('HDEL', P .. 'waitmsg:' .. target, id)
if raw then
  local parts = split(raw:match('^(.-)\n'), '|')
  count(parts[2], parts[1], -1)
end
return 1
