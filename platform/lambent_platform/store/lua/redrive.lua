-- redrive.lua: make a new event of a dead one.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · id of the dead event · generation of the function · most events that may be queued for one target
--          · new id · target · message (header \n payload) · meta (JSON) · when it expires (event time)
-- Writes   dead:<ident>, deadbytes, ev:<id>, ev:<new id>, evq:<target>, expiries, demand
-- Returns  redriven | gone (it is not dead any more) | stale (the function was changed) | full
-- Atomic   it is dead or queued, never both or neither.

local ident, id, new_id, target = ARGV[1], ARGV[2], ARGV[5], ARGV[6]
if redis.call('HGET', P .. 'fn:' .. ident, 'gen') ~= ARGV[3] then return 'stale' end
if redis.call('LLEN', P .. 'evq:' .. target) >= tonumber(ARGV[4]) then return 'full' end
if not exhume(ident, id) then return 'gone' end
obliterate(id)
redis.call('HSET', P .. 'ev:' .. new_id, 'message', ARGV[7], 'meta', ARGV[8], 'attempts', 1, 'ident', ident, 'target', target)
redis.call('ZADD', P .. 'expiries', ARGV[9], new_id)
redis.call('RPUSH', P .. 'evq:' .. target, new_id)
demand(target)
tally('redriven')
return 'redriven'
