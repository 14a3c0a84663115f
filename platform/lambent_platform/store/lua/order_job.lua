-- order_job.lua: want a build, and learn whether it has to be put into the queue (again).
--
-- KEYS[1]  prefix of the partition
-- ARGV     build id · queue_lease_ms · attempts_max · kept_ms · reason of a build whose builders are lost each time
-- Returns  enqueue (0 or 1) · phase · attempts · ended_ms · reason · code · result · now_ms
-- Atomic   of all who want a build at once, one puts it into the queue

local key = P .. 'job:' .. ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local job = redis.call('HMGET', key, 'phase', 'due_ms', 'attempts')
local phase, overdue, attempts = job[1], number(job[2]) <= now, number(job[3])
local enqueue = 0

if not phase or (overdue and (phase == 'queued' or phase == 'waiting')) then
  -- New, lost from the queue, or due again after a failure of the infrastructure.
  enqueue = 1
elseif overdue and phase == 'running' then
  attempts = attempts + 1 -- its builder is gone
  if attempts >= tonumber(ARGV[3]) then
    redis.call('HSET', key, 'phase', 'failed', 'ended_ms', now, 'reason', ARGV[5], 'code', 'InternalError')
  else
    enqueue = 1
  end
end
if enqueue == 1 then
  redis.call('HSET', key, 'phase', 'queued', 'due_ms', now + ARGV[2], 'attempts', attempts)
  redis.call('HDEL', key, 'owner')
end
redis.call('PEXPIRE', key, ARGV[4])
local told = redis.call('HMGET', key, 'phase', 'attempts', 'ended_ms', 'reason', 'code', 'result')
for at = 1, 6 do told[at] = told[at] or '' end
return { enqueue, told[1], number(told[2]), number(told[3]), told[4], told[5], told[6], now }
