-- heartbeat.lua: a worker says that it lives and what it has.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · record (JSON) · now_ms (liveness) · register (1: become known) · grace_ms · then for each
--          environment: id · record (JSON)
-- Writes   workers, beats, envs:<worker>: the worker's word replaces what was there, except for orders younger than
--          the grace that it may not have read yet; nobody orders stems (without a target), so those go at once
-- Returns  1, or 0 where the worker was given up and must end what it runs

local worker, record, now_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if ARGV[4] == '0' and redis.call('HEXISTS', P .. 'workers', worker) == 0 then return 0 end
redis.call('HSET', P .. 'workers', worker, record)
redis.call('ZADD', P .. 'beats', now_ms, worker)
local known = {}
for at = 6, #ARGV, 2 do
  known[ARGV[at]] = true
  redis.call('HSET', P .. 'envs:' .. worker, ARGV[at], ARGV[at + 1])
end
for _, id in ipairs(redis.call('HKEYS', P .. 'envs:' .. worker)) do
  if not known[id] then
    local other = cjson.decode(redis.call('HGET', P .. 'envs:' .. worker, id))
    local ordered = (other.target or '') ~= '' and number(other.started_at_ms) >= now_ms - tonumber(ARGV[5])
    if not ordered then redis.call('HDEL', P .. 'envs:' .. worker, id) end
  end
end
return 1
