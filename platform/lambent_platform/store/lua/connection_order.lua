-- connection_order.lua: tell the gateway that holds a connection to do something with it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     connection id · order · wait_ms: until when it may be done · most items of a box
--          · silence_ms: how long a gateway may have said nothing
-- Writes   orders:<gateway>: until_ms (the server's own time) \n order
-- Returns  'sent'; 'gone' where there is no such connection; 'full' where the box is, or its gateway says nothing:
--          whether that one is dead is for others to find out, who then forget the connection

local gateway = redis.call('HGET', P .. 'conn:' .. ARGV[1], 'gateway')
if not gateway then return 'gone' end
local beat = redis.call('HGET', P .. 'gateways', gateway)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if not beat or now_ms - number(beat) > tonumber(ARGV[5]) then return 'full' end
local box = P .. 'orders:' .. gateway
if redis.call('LLEN', box) >= tonumber(ARGV[4]) then return 'full' end
redis.call('RPUSH', box, string.format('%d', now_ms + tonumber(ARGV[3])) .. '\n' .. ARGV[2])
return 'sent'
