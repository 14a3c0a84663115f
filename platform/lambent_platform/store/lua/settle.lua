-- settle.lua: end an event's lease outside a worker: its worker died, or nothing could run it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · dead events kept · id · action (done | retry | dead) · due_ms · delivery ('' or JSON)
-- Returns  1, or 0 where the event was not held

if not release(ARGV[1], ARGV[3]) then return 0 end
settle(ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[2]))
return 1
