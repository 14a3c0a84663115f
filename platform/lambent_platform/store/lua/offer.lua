-- offer.lua: an environment became ready, or could not: take what waits for it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · now_ms (liveness) · account concurrency limit · environment · ident · target · record (JSON, '' to
--          take a call without offering the slot: the environment failed, and one waiting call is told why)
-- Returns  idle | retire | gone (the worker is not registered) | `> attempt and meta \n header \n payload`

local worker, now_ms, account_limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local environment, ident, target, record = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if redis.call('HEXISTS', P .. 'workers', worker) == 0 then return 'gone' end
if record ~= '' then
  redis.call('HSET', P .. 'envs:' .. worker, environment, record)
else
  redis.call('HDEL', P .. 'envs:' .. worker, environment)
end
local message = next_call(worker, environment, ident, target, account_limit)
if message then return '>' .. message end
if record == '' then return 'retire' end
return shelve(worker, environment, ident, target, now_ms)
