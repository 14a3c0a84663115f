-- end_job.lua: end a build that its owner still holds.
--
-- KEYS[1]  prefix of the partition
-- ARGV     build id · owner · phase (`succeeded`, `failed`, `waiting`) · reason · code · result · delay_ms · failed_attempts
--          with `waiting` it is due again after delay_ms; failed_attempts (0 or 1) is added to its attempts
-- Returns  1 where it was held
-- Atomic   what an owner brings that lost its lease changes nothing

local key = P .. 'job:' .. ARGV[1]
local job = redis.call('HMGET', key, 'phase', 'owner', 'attempts')
if job[1] ~= 'running' or job[2] ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', key, 'phase', ARGV[3], 'ended_ms', now, 'reason', ARGV[4], 'code', ARGV[5], 'result', ARGV[6],
  'due_ms', now + ARGV[7], 'attempts', number(job[3]) + ARGV[8])
redis.call('HDEL', key, 'owner')
if redis.call('LLEN', P .. 'wake-preparation') == 0 then redis.call('RPUSH', P .. 'wake-preparation', '1') end
return 1
