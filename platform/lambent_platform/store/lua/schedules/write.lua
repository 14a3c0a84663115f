-- schedules/write.lua: make or change one schedule or rule, if it is still as its writer read it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · generation that was read (0: it must not exist) · record (JSON) · next tick in ms ('' for none, 'keep'
--          for the one that it has by now) · most sources that may exist
-- Writes   source:<id>, sources, ticks, source-generation, wake-schedules
-- Returns  the new generation; 0 where it was changed, made or deleted since; -1 where there are too many
-- Atomic   all of it or nothing.

local id, key = ARGV[1], P .. 'source:' .. ARGV[1]
local generation = redis.call('HGET', key, 'gen')
if (generation or '0') ~= ARGV[2] then return 0 end
if not generation and redis.call('ZCARD', P .. 'sources') >= number(ARGV[5]) then return -1 end
generation = redis.call('INCR', P .. 'source-generation')
redis.call('HSET', key, 'gen', generation, 'record', ARGV[3])
redis.call('ZADD', P .. 'sources', 0, id)
if ARGV[4] ~= 'keep' then
  redis.call('HSET', key, 'passed', 0)
  set_next(id, ARGV[4])
  if ARGV[4] ~= '' then wake() end
end
return generation
