-- start.lua: give workers orders to start environments.
--
-- KEYS[1]  prefix of the partition
-- ARGV     for each: worker · environment · record (JSON) · order (the inbox item)
-- Returns  for each: 1, or 0 where the worker is not registered any more

local results = {}
for at = 1, #ARGV, 4 do
  local worker = ARGV[at]
  if redis.call('HEXISTS', P .. 'workers', worker) == 1 then
    redis.call('HSET', P .. 'envs:' .. worker, ARGV[at + 1], ARGV[at + 2])
    redis.call('RPUSH', P .. 'inbox:' .. worker, ARGV[at + 3])
    results[#results + 1] = 1
  else
    results[#results + 1] = 0
  end
end
return results
