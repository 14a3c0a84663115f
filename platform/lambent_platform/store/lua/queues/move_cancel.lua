-- queues/move_cancel.lua: have a task end before its next step.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · task id
-- Writes   qmoves:<ident>
-- Returns  how many messages it has moved, -1 where it is not running, -2 where there is none
-- Atomic   what has left arrives; nothing leaves after this

local text = redis.call('HGET', name('qmoves', ARGV[1]), ARGV[2])
if not text then return -2 end
local task = cjson.decode(text)
if task.status ~= 'RUNNING' then return -1 end
task.status = 'CANCELLING'
redis.call('HSET', name('qmoves', ARGV[1]), ARGV[2], cjson.encode(task))
return task.moved
