-- queues/move_start.lua: begin to move a queue's messages elsewhere.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · now_ms (event time) · delay_ms of a FIFO queue · task id · task (JSON) · tasks kept
-- Writes   qmoves:<ident>, moving; what is due becomes ready
-- Returns  how many messages there are to move, or -1 where a task is active, -2 without a queue
-- Atomic   one task is active at a time; it moves no more messages than there are when it begins

local ident, now_ms = ARGV[1], tonumber(ARGV[2])
local fifo = redis.call('HGET', name('queue', ident), 'fifo')
if not fifo then return -2 end
local oldest
local kept = 0
for _, text in ipairs(redis.call('HVALS', name('qmoves', ident))) do
  local task = cjson.decode(text)
  if task.status == 'RUNNING' or task.status == 'CANCELLING' then return -1 end
  if not oldest or task.started_ms < oldest.started_ms then oldest = task end
  kept = kept + 1
end
if oldest and kept >= tonumber(ARGV[6]) then redis.call('HDEL', name('qmoves', ident), oldest.id) end
promote(ident, fifo == '1', now_ms, tonumber(ARGV[3]))
local task = cjson.decode(ARGV[5])
task.to_move = redis.call('ZCARD', name('qready', ident))
redis.call('HSET', name('qmoves', ident), ARGV[4], cjson.encode(task))
redis.call('SADD', P .. 'moving', ident)
return task.to_move
