-- schedules/delete.lua: drop one schedule or rule, if it is still as it was read.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · generation that was read · token of the request ('' for none) · how long to keep it in seconds
-- Writes   source:<id>, sources, ticks, deleted-by:<id>:<token>; firings that were made already are sent
-- Returns  1, or 0 where it was changed or deleted since

if redis.call('HGET', P .. 'source:' .. ARGV[1], 'gen') ~= ARGV[2] then return 0 end
drop(ARGV[1])
if ARGV[3] ~= '' then redis.call('SET', P .. 'deleted-by:' .. ARGV[1] .. ':' .. ARGV[3], '1', 'EX', ARGV[4]) end
return 1
