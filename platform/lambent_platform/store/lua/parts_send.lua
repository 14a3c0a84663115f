-- parts_send.lua: put parts of streamed replies into the stream boxes of their gateways.
--
-- KEYS[1]  prefix of the partition
-- ARGV     for each part: gateway · chunk ('' only asks whether somebody reads)
-- Reads    gateways
-- Writes   parts:<gateway>
-- Returns  for each part: 1, or 0 where nobody reads it: its gateway is gone
-- Atomic   a part is in the box or was refused. How much may be in a box is the sender's to keep: it sends on credit.

local results = {}
for at = 1, #ARGV, 2 do
  local gateway, chunk = ARGV[at], ARGV[at + 1]
  local read = redis.call('HEXISTS', P .. 'gateways', gateway)
  if read == 1 and chunk ~= '' then redis.call('RPUSH', P .. 'parts:' .. gateway, chunk) end
  results[#results + 1] = read
end
return results
