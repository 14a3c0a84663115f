-- accept_ended.lua: accept an event that is not to be run: what ends it is known already.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · ident · target · message (header \n payload) · meta (JSON) · ending (JSON) · response
--          · dead events kept · bytes of them kept · how long (s, liveness) to remember that it was accepted (0: not)
-- Writes   taken:<id>, ev:<id>, and what `settle` of the prelude does
-- Returns  1, or 0 where it was accepted before

local id = ARGV[1]
if redis.call('EXISTS', P .. 'ev:' .. id) == 1 then return 0 end
if ARGV[10] ~= '0' and not redis.call('SET', P .. 'taken:' .. id, '1', 'NX', 'EX', ARGV[10]) then return 0 end
redis.call('HSET', P .. 'ev:' .. id, 'message', ARGV[4], 'meta', ARGV[5], 'attempts', 0, 'ident', ARGV[2], 'target', ARGV[3])
settle(id, 'dead', '0', ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]))
tally('recursive')
return 1
