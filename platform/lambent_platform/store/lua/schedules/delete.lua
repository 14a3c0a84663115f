-- schedules/delete.lua: drop one schedule or rule, if it is still as it was read.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · generation that was read
-- Writes   source:<id>, sources, ticks; firings that were made already are sent
-- Returns  1, or 0 where it was changed or deleted since

if redis.call('HGET', P .. 'source:' .. ARGV[1], 'gen') ~= ARGV[2] then return 0 end
drop(ARGV[1])
return 1
