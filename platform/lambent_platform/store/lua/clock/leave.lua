-- clock/leave.lua: a process ends; nobody waits for it any more.
--
-- KEYS[1]  prefix of the partition
-- ARGV     process
-- Writes   clockseen, clockbeats, its clockbox

forget(ARGV[1])
return 1
