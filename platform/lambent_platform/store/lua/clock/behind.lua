-- clock/behind.lua: who has not followed a move yet.
--
-- KEYS[1]  prefix of the partition
-- ARGV     the offset, in ms · lease_ms
-- Writes   forgets the processes that are silent for longer than the lease
-- Returns  the names of the live processes that are behind

local behind = {}
for _, member in ipairs(alive(number(ARGV[2]))) do
  if number(redis.call('HGET', P .. 'clockseen', member)) < number(ARGV[1]) then behind[#behind + 1] = member end
end
return behind
