-- queues/expel.lua: send received messages to the dead-letter queue, however often they were received.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · where they go, as qout has it · then for each: incarnation · place · number of the receive
-- Reads    queue:<ident>
-- Writes   qout, outgoing, qflight, qmsg, qstate; FIFO: qlocks, qgroups
-- Returns  how many were still held by that receive
-- Atomic   a message is in the queue or on its way, never both

local ident, dead_letters = ARGV[1], ARGV[2]
local queue = redis.call('HMGET', name('queue', ident), 'incarnation', 'fifo')
local moved = 0
for at = 3, #ARGV, 3 do
  local place = ARGV[at + 1]
  local state = redis.call('HGET', name('qstate', ident), place)
  local message = redis.call('HGET', name('qmsg', ident), place)
  if queue[1] == ARGV[at] and state and message and redis.call('ZSCORE', name('qflight', ident), place) then
    local count, first, sent, group = parse_state(state)
    if count == tonumber(ARGV[at + 2]) then
      local out = dead_letters .. '\n' .. table.concat({ count, first, decimal(sent), '' }, '|') .. '\n' .. message
      redis.call('HSET', name('qout', ident), place, out)
      redis.call('SADD', P .. 'outgoing', ident)
      redis.call('ZREM', name('qflight', ident), place)
      forget(ident, place)
      if queue[2] == '1' then unlock(ident, group) end
      moved = moved + 1
    end
  end
end
if moved > 0 and queue[2] == '1' then arrive(ident) end
return moved
