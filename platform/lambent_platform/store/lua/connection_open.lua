-- connection_open.lua: note down that a gateway holds a connection.
--
-- KEYS[1]  prefix of the partition
-- ARGV     connection id · gateway · record (JSON)
-- Writes   conn:<id>, sockets:<gateway>, socket-gateways
-- Returns  1, or 0 where the gateway is not known to live (somebody may have given up all that it holds) or the id
--          is taken
-- Atomic   a connection is known if and only if whoever cleans up after its gateway finds it

local conn = P .. 'conn:' .. ARGV[1]
if redis.call('HEXISTS', P .. 'gateways', ARGV[2]) == 0 or redis.call('EXISTS', conn) == 1 then return 0 end
redis.call('HSET', conn, 'gateway', ARGV[2], 'record', ARGV[3])
redis.call('SADD', P .. 'sockets:' .. ARGV[2], ARGV[1])
redis.call('SADD', P .. 'socket-gateways', ARGV[2])
return 1
