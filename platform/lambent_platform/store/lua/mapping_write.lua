-- mapping_write.lua: make or change one event source mapping, if it is still as its writer read it.
--
-- KEYS[1]  prefix of the home partition
-- ARGV     uuid · generation that was read (0: it must not exist) · record (JSON) · `account:region` · function ARN
--          · source ARN · most mappings that may exist
-- Writes   mapping:<uuid>, mappings, mapping-index, mapping-pairs, mapping-generation, wake-mappings
-- Returns  the new generation; 0 where it was changed, made or deleted since; -1 where there are too many; the UUID
--          of the mapping that has the same source and function already
-- Atomic   all of it or nothing; one source and function have one mapping at most.

local uuid, read, record, owner, fn, source = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local key = P .. 'mapping:' .. uuid
local before = redis.call('HMGET', key, 'gen', 'function')
if (before[1] or '0') ~= read then return 0 end
if not before[1] and redis.call('ZCARD', P .. 'mappings') >= tonumber(ARGV[7]) then return -1 end

local pairs_key, pair = P .. 'mapping-pairs', source .. ' ' .. fn
local holder = redis.call('HGET', pairs_key, pair)
if holder and holder ~= uuid then return holder end
local index = P .. 'mapping-index'
if before[2] and before[2] ~= fn then
  redis.call('HDEL', pairs_key, source .. ' ' .. before[2])
  redis.call('ZREM', index, 'function ' .. before[2] .. ' ' .. uuid)
end
redis.call('HSET', pairs_key, pair, uuid)
redis.call('ZADD', index, 0, 'owner ' .. owner .. ' ' .. uuid, 0, 'function ' .. fn .. ' ' .. uuid,
  0, 'source ' .. owner .. ' ' .. source .. ' ' .. uuid)

local generation = redis.call('INCR', P .. 'mapping-generation')
redis.call('HSET', key, 'gen', generation, 'record', record, 'function', fn)
redis.call('ZADD', P .. 'mappings', generation, uuid)
if redis.call('LLEN', P .. 'wake-mappings') == 0 then redis.call('RPUSH', P .. 'wake-mappings', '1') end
return generation
