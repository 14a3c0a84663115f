-- clock/look.lua: a process says that it follows the clock, and how far it has.
--
-- KEYS[1]  prefix of the partition
-- ARGV     process · the offset that it has followed, in ms · lease_ms
-- Writes   clockseen, clockbeats; forgets the processes that are silent for longer than the lease
-- Returns  the offset that there is

redis.call('HSET', P .. 'clockseen', ARGV[1], ARGV[2])
redis.call('ZADD', P .. 'clockbeats', liveness_ms(), ARGV[1])
alive(number(ARGV[3]))
return string.format('%.0f', offset())
