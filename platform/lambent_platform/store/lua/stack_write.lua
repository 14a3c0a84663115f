-- stack_write.lua: write or remove the record of one stack, if it is still as its writer read it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · revision that was read (0: it must not exist) · body ('' removes it) · most stacks in a partition
-- Writes   stack:<ident>, stacks
-- Returns  the new revision (of a removed one, the old); 0 where it was written since; -1 where there are too many
-- Atomic   all of it or nothing. Two deployments of one stack cannot both go on from the same record.

local ident, read, body = ARGV[1], ARGV[2], ARGV[3]
local key = P .. 'stack:' .. ident
if (redis.call('HGET', key, 'revision') or '0') ~= read then return 0 end
if body == '' then
  redis.call('DEL', key)
  redis.call('ZREM', P .. 'stacks', ident)
  return tonumber(read)
end
if read == '0' and redis.call('ZCARD', P .. 'stacks') >= tonumber(ARGV[4]) then return -1 end
redis.call('ZADD', P .. 'stacks', 0, ident)
redis.call('HSET', key, 'body', body)
return redis.call('HINCRBY', key, 'revision', 1)
