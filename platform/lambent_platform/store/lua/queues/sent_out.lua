-- queues/sent_out.lua: what was on its way to another queue has arrived there, or comes back.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · 1 to put it back into this queue · task that moved it ('' for none) · why it came back · then places
-- Writes   qout, outgoing; with 1 qmsg, qstate, qready (FIFO: qorder, qgroups), and qmoves: the task has failed
-- Returns  how many places there were
-- Atomic   a message is on its way or in the queue, never both

local ident, back = ARGV[1], ARGV[2] == '1'
local fifo = redis.call('HGET', name('queue', ident), 'fifo')
local found = 0
for at = 5, #ARGV do
  local place = ARGV[at]
  local out = redis.call('HGET', name('qout', ident), place)
  if out then
    found = found + 1
    redis.call('HDEL', name('qout', ident), place)
    if back and fifo then
      local count, first, sent, rest = out:match('^[^\n]*\n(%d+)|(%d+)|(%d+)|[^\n]*\n(.*)$')
      local group = rest:match('^([^\n]*)\n')
      redis.call('HSET', name('qmsg', ident), place, rest)
      -- It may be received once more before it is sent out again, however often it was.
      redis.call('HSET', name('qstate', ident), place, table.concat({ math.max(tonumber(count) - 1, 0), first, sent, group }, '|'))
      ready(ident, fifo == '1', place, tonumber(sent), group)
    end
  end
end
if redis.call('HLEN', name('qout', ident)) == 0 then redis.call('SREM', P .. 'outgoing', ident) end
if back and found > 0 then
  arrive(ident)
  local text = ARGV[3] ~= '' and redis.call('HGET', name('qmoves', ident), ARGV[3])
  if text then
    local task = cjson.decode(text)
    task.status, task.reason, task.moved = 'FAILED', ARGV[4], task.moved - found
    redis.call('HSET', name('qmoves', ident), ARGV[3], cjson.encode(task))
    redis.call('SREM', P .. 'moving', ident)
  end
end
return found
