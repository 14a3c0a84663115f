-- function_write.lua: write one function, if it is still as its writer read it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · generation that was read (0: it must not exist) · `1` where a version awaits preparation
--          · reserved concurrency ('' for none) · most that may be reserved in all · reserved on other partitions
--          · name of its usage (`account:region`) · bytes of code more or less
--          · number of fields to set, then name and value of each
--          · number of fields to delete, then their names
--          · number of URLs to add, then id and qualifier of each
--          · number of URLs to remove, then their ids
-- Writes   fn:<ident>, fns, preparing, urls, reserved, usage, generation, wake-preparation
-- Returns  the new generation; 0 where it was changed, made or deleted since; -1 where too much would be reserved
-- Atomic   all of it or nothing; a generation is never used twice, also not by a function made again.

local ident, read, preparing, reserved = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local fn = P .. 'fn:' .. ident
if (redis.call('HGET', fn, 'gen') or '0') ~= read then return 0 end

local before = redis.call('HGET', fn, 'reserved')
if (before or '') ~= reserved then
  local sum = number(redis.call('HGET', P .. 'reserved', '*')) - number(before) + number(reserved)
  if number(reserved) > number(before) and sum + number(ARGV[6]) > number(ARGV[5]) then return -1 end
  redis.call('HSET', P .. 'reserved', '*', sum)
  if reserved == '' then
    redis.call('HDEL', P .. 'reserved', ident)
    redis.call('HDEL', fn, 'reserved')
  else
    redis.call('HSET', P .. 'reserved', ident, reserved)
    redis.call('HSET', fn, 'reserved', reserved)
  end
end

local generation = redis.call('INCR', P .. 'generation')
redis.call('HSET', fn, 'gen', generation)
if ARGV[8] ~= '0' then redis.call('HINCRBY', P .. 'usage', ARGV[7], ARGV[8]) end
redis.call('ZADD', P .. 'fns', 0, ident)
if preparing == '1' then
  redis.call('SADD', P .. 'preparing', ident)
  if redis.call('LLEN', P .. 'wake-preparation') == 0 then redis.call('RPUSH', P .. 'wake-preparation', '1') end
else
  redis.call('SREM', P .. 'preparing', ident)
end

local at = 9
local function each(width, what)
  local last = at + tonumber(ARGV[at]) * width
  at = at + 1
  while at <= last do
    what(ARGV[at], ARGV[at + 1])
    at = at + width
  end
end
each(2, function(name, value) redis.call('HSET', fn, name, value) end)
each(1, function(name) redis.call('HDEL', fn, name) end)
each(2, function(id, qualifier) redis.call('HSET', P .. 'urls', id, ident .. '|' .. qualifier) end)
each(1, function(id) redis.call('HDEL', P .. 'urls', id) end)
return generation
