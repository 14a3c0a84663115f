-- mapping_delete.lua: drop one event source mapping, if it is still as it was read.
--
-- KEYS[1]  prefix of the home partition
-- ARGV     uuid · generation that was read · `account:region` · source ARN
-- Writes   mapping:<uuid>, mappings, mapping-index, mapping-pairs
-- Returns  1, or 0 where it was changed or deleted since
-- Atomic   all of it or nothing.

local uuid, owner, source = ARGV[1], ARGV[3], ARGV[4]
local key = P .. 'mapping:' .. uuid
local found = redis.call('HMGET', key, 'gen', 'function')
if found[1] ~= ARGV[2] then return 0 end
redis.call('HDEL', P .. 'mapping-pairs', source .. ' ' .. found[2])
redis.call('ZREM', P .. 'mapping-index', 'owner ' .. owner .. ' ' .. uuid, 'function ' .. found[2] .. ' ' .. uuid,
  'source ' .. owner .. ' ' .. source .. ' ' .. uuid)
redis.call('ZREM', P .. 'mappings', uuid)
redis.call('DEL', key)
return 1
