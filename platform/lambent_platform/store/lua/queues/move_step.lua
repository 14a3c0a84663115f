-- queues/move_step.lua: send the next messages of a task on their way, or end the task.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · now_ms (event time) · retention_ms · delay_ms of a FIFO queue · task id · most messages now · where
--          they go, as qout has it
-- Writes   qmoves:<ident>; qready (FIFO: qorder, qgroups), qmsg, qstate, qout, outgoing; moving at the end
-- Returns  how many left
-- Atomic   a message is counted as moved when it leaves

local ident, now_ms, task_id = ARGV[1], tonumber(ARGV[2]), ARGV[5]
local tasks = name('qmoves', ident)
local text = redis.call('HGET', tasks, task_id)
local fifo = redis.call('HGET', name('queue', ident), 'fifo')
if not text or not fifo then
  redis.call('SREM', P .. 'moving', ident)
  return 0
end
fifo = fifo == '1'
local task = cjson.decode(text)
local function finish(status)
  task.status = status
  redis.call('SREM', P .. 'moving', ident)
end

local left = 0
if task.status == 'CANCELLING' then
  finish('CANCELLED')
elseif task.status ~= 'RUNNING' then
  redis.call('SREM', P .. 'moving', ident)
else
  promote(ident, fifo, now_ms, tonumber(ARGV[4]))
  local behind = expire(ident, fifo, now_ms - tonumber(ARGV[3]))
  local most = behind and 0 or math.min(tonumber(ARGV[6]), task.to_move - task.moved)
  local found = most > 0 and redis.call('ZRANGE', name('qready', ident), 0, most - 1, 'WITHSCORES') or {}
  for at = 1, #found, 2 do
    local member, sent = found[at], found[at + 1]
    local place, group = member:sub(1, 16), member:sub(18)
    local message = redis.call('HGET', name('qmsg', ident), place)
    local state = redis.call('HGET', name('qstate', ident), place)
    local count, first = 0, '0'
    if state then count, first = parse_state(state) end
    unready(ident, fifo, member)
    forget(ident, place)
    if fifo then offer(ident, group) end
    if message then
      local kept = table.concat({ count, first, decimal(tonumber(sent)), '' }, '|')
      redis.call('HSET', name('qout', ident), place, ARGV[7] .. '\n' .. kept .. '\n' .. message)
      redis.call('SADD', P .. 'outgoing', ident)
      left = left + 1
    end
  end
  task.moved = task.moved + left
  if task.moved >= task.to_move or (most > 0 and #found == 0) then finish('COMPLETED') end
end
redis.call('HSET', tasks, task_id, cjson.encode(task))
return left
