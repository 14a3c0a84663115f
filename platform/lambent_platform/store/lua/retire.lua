-- retire.lua: take an environment out of service.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · environment · target · dead (1: it is gone already, whatever was placed on it)
-- Returns  1 where it is out of service, 0 where a call was just placed on it (and it is not dead)

local worker, environment, target, dead = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local removed = redis.call('ZREM', P .. 'idle:' .. target, worker .. '/' .. environment)
if removed == 0 and dead ~= '1' then return 0 end
redis.call('HDEL', P .. 'envs:' .. worker, environment)
if waits(target) then demand(target) elseif redis.call('SCARD', P .. 'demand') > 0 then wake() end -- its memory is free
return 1
