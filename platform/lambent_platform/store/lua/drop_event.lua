-- drop_event.lua: end a queued event without another attempt.
--
-- KEYS[1]  prefix of the partition
-- ARGV     target · id · delivery ('' or JSON) · dead events kept
-- Returns  1, or 0 where the event was not queued any more

if redis.call('LREM', P .. 'evq:' .. ARGV[1], 1, ARGV[2]) == 0 then return 0 end
settle(ARGV[2], 'dead', '0', ARGV[3], tonumber(ARGV[4]))
return 1
