-- api_write.lua: write one API, if it is still as its writer read it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · ident (`account:region:id`) · generation that was read (0: it must not exist)
--          · number of fields to set, then name and value of each · then the names of fields to delete
-- Writes   api:<id>, apis, generation
-- Returns  the new generation; 0 where it was changed, made or deleted since
-- Atomic   all of it or nothing; a generation is never used twice, also not by an API made again

local api = P .. 'api:' .. ARGV[1]
if (redis.call('HGET', api, 'gen') or '0') ~= ARGV[3] then return 0 end
local generation = redis.call('INCR', P .. 'generation')
redis.call('HSET', api, 'gen', generation)
redis.call('ZADD', P .. 'apis', 0, ARGV[2])
local last = 4 + tonumber(ARGV[4]) * 2
for at = 5, last, 2 do redis.call('HSET', api, ARGV[at], ARGV[at + 1]) end
for at = last + 1, #ARGV do redis.call('HDEL', api, ARGV[at]) end
return generation
