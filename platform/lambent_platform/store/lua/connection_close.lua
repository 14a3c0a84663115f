-- connection_close.lua: forget a connection, if its gateway holds it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     connection id · gateway
-- Writes   conn:<id>, sockets:<gateway>, socket-gateways
-- Returns  1, or 0 where it was forgotten before

local id, gateway = ARGV[1], ARGV[2]
local known = redis.call('HGET', P .. 'conn:' .. id, 'gateway') == gateway
if known then redis.call('DEL', P .. 'conn:' .. id) end
redis.call('SREM', P .. 'sockets:' .. gateway, id)
if redis.call('EXISTS', P .. 'sockets:' .. gateway) == 0 then redis.call('SREM', P .. 'socket-gateways', gateway) end
return known and 1 or 0
