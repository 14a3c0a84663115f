-- connection_orphans.lua: find connections whose gateway is gone.
--
-- KEYS[1]  prefix of the partition
-- ARGV     most connections
-- Writes   socket-gateways: without those that hold nothing
-- Returns  gateway, connection id and record of each; the record is '' where there is none

local found = {}
local most = tonumber(ARGV[1])
for _, gateway in ipairs(redis.call('SMEMBERS', P .. 'socket-gateways')) do
  if redis.call('HEXISTS', P .. 'gateways', gateway) == 0 then
    local left = most - #found / 3
    if left <= 0 then break end
    local ids = redis.call('SRANDMEMBER', P .. 'sockets:' .. gateway, left)
    if #ids == 0 then redis.call('SREM', P .. 'socket-gateways', gateway) end
    for _, id in ipairs(ids) do
      found[#found + 1] = gateway
      found[#found + 1] = id
      found[#found + 1] = redis.call('HGET', P .. 'conn:' .. id, 'record') or ''
    end
  end
end
return found
