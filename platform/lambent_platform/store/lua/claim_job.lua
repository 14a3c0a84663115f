-- claim_job.lua: begin a build, or go on holding one.
--
-- KEYS[1]  prefix of the partition
-- ARGV     build id · owner · lease_ms · `begin` or `renew`
-- Returns  its attempts where the owner holds it now; -1: another does, or nobody wants it any more
-- Atomic   a build has one owner at a time

local key = P .. 'job:' .. ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local job = redis.call('HMGET', key, 'phase', 'due_ms', 'owner', 'attempts')
local free = job[1] == 'queued' or (job[1] == 'running' and number(job[2]) <= now)
if ARGV[4] == 'renew' then free = job[1] == 'running' and job[3] == ARGV[2] end
if not free then return -1 end
redis.call('HSET', key, 'phase', 'running', 'owner', ARGV[2], 'due_ms', now + ARGV[3])
redis.call('PEXPIRE', key, 60000, 'GT') -- known for as long as it is worked on
return number(job[4])
