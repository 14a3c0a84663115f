-- function_delete.lua: delete one function, if it is still as its deleter read it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · generation that was read · name of its usage (`account:region`) · bytes of its code
--          · then the ids of its URLs
-- Writes   fn:<ident>, habits:<ident>, fns, preparing, urls, reserved, usage, deleted
-- Returns  1, or 0 where it was changed since
-- Atomic   all of it or nothing. What is queued for it is found by the scheduler, whose wake-up this is too;
--          what it leaves behind (meter:<ident>, dead:<ident>) is removed later, by what `deleted` says.

local ident = ARGV[1]
local fn = P .. 'fn:' .. ident
if redis.call('HGET', fn, 'gen') ~= ARGV[2] then return 0 end
local reserved = redis.call('HGET', fn, 'reserved')
if reserved then
  redis.call('HINCRBY', P .. 'reserved', '*', -number(reserved))
  redis.call('HDEL', P .. 'reserved', ident)
end
redis.call('DEL', fn, P .. 'habits:' .. ident)
local time = redis.call('TIME')
redis.call('ZADD', P .. 'deleted', time[1] * 1000 + math.floor(time[2] / 1000), ident)
redis.call('ZREM', P .. 'fns', ident)
redis.call('SREM', P .. 'preparing', ident)
if ARGV[4] ~= '0' and redis.call('HINCRBY', P .. 'usage', ARGV[3], -number(ARGV[4])) <= 0 then
  redis.call('HDEL', P .. 'usage', ARGV[3])
end
for at = 5, #ARGV do redis.call('HDEL', P .. 'urls', ARGV[at]) end
wake()
return 1
