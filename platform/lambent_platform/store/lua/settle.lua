-- settle.lua: end an event's lease outside a worker: its worker died, or nothing could run it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · id · action (done | retry | dead) · due_ms · ending ('' or JSON) · response · dead events kept
--          · bytes of them kept
-- Writes   held, running, and what `settle` of the prelude does
-- Returns  1, or 0 where the event was not held

if not release(ARGV[1], ARGV[2]) then return 0 end
settle(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]))
return 1
