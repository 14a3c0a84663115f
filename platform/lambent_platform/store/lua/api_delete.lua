-- api_delete.lua: delete one API with all that belongs to it, if it is still as its deleter read it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · ident (`account:region:id`) · generation that was read
-- Writes   api:<id>, apis
-- Returns  1, or 0 where it was changed or deleted since

if redis.call('HGET', P .. 'api:' .. ARGV[1], 'gen') ~= ARGV[3] then return 0 end
redis.call('DEL', P .. 'api:' .. ARGV[1])
redis.call('ZREM', P .. 'apis', ARGV[2])
return 1
