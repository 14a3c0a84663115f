-- lead.lua: take, renew or give back the lease of a role.
--
-- KEYS[1]  prefix of the partition
-- ARGV     role · holder · lease_ms (0: give it back)
-- Returns  1 where the holder has it now

local key = P .. 'leader:' .. ARGV[1]
local holder = redis.call('GET', key)
if ARGV[3] == '0' then
  if holder == ARGV[2] then redis.call('DEL', key) end
  return 0
end
if holder and holder ~= ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
