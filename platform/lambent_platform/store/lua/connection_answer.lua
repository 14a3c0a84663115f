-- connection_answer.lua: tell gateways how their orders ended.
--
-- KEYS[1]  prefix of the partition
-- ARGV     most items of a box · then for each: gateway · what it is told
-- Writes   orders:<gateway>; nothing for a gateway that is gone, or whose box is full: it stops waiting by itself

local time = redis.call('TIME')
local until_ms = string.format('%d', time[1] * 1000 + 60000)
for at = 2, #ARGV, 2 do
  local box = P .. 'orders:' .. ARGV[at]
  if redis.call('HEXISTS', P .. 'gateways', ARGV[at]) == 1 and redis.call('LLEN', box) < tonumber(ARGV[1]) then
    redis.call('RPUSH', box, until_ms .. '\n' .. ARGV[at + 1])
  end
end
