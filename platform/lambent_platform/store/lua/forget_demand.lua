-- forget_demand.lua: a target that nothing waits for any more needs no capacity.
--
-- KEYS[1]  prefix of the partition
-- ARGV     target
-- Returns  1 where it was forgotten, 0 where something waits after all

if waits(ARGV[1]) then return 0 end
redis.call('SREM', P .. 'demand', ARGV[1])
return 1
