-- delivered.lua: take a delivery off the outbox: it was made, or its target refuses it for good.
--
-- KEYS[1]  prefix of the partition
-- ARGV     destination · entry (`id kind`) · refusal ('' where it was made, else JSON for an operator to read)
--          · dead events kept · bytes of them kept
-- Writes   outbox:<destination>, outboxes, ev:<id>; a refused one's event goes to dead:<ident>, deadbytes
-- Returns  1, or 0 where it was not in the outbox any more
-- Atomic   an event with deliveries left is never gone, and one that was refused is kept in the same step.

local arn, entry, refusal = ARGV[1], ARGV[2], ARGV[3]
if redis.call('LREM', P .. 'outbox:' .. arn, 1, entry) == 0 then return 0 end
if redis.call('EXISTS', P .. 'outbox:' .. arn) == 0 then redis.call('SREM', P .. 'outboxes', arn) end
local id, kind = entry:match('^(.-) (.*)$')
local ev = P .. 'ev:' .. id
local state = redis.call('HMGET', ev, 'ident', 'dead')
if not state[1] then return 1 end
tally((refusal == '' and 'delivered_' or 'refused_') .. kind)
local left = redis.call('HINCRBY', ev, 'left', -1)
if refusal ~= '' then
  redis.call('HSET', ev, 'refused:' .. kind, refusal)
  if state[2] ~= '1' then inter(state[1], id, tonumber(ARGV[4]), tonumber(ARGV[5])) end
elseif left <= 0 and state[2] ~= '1' then
  redis.call('DEL', ev)
end
return 1
