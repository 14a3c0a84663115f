-- mapping_results.lua: note what the last batches of mappings ended with.
--
-- KEYS[1]  prefix of the home partition
-- ARGV     for each: uuid · text
-- Writes   mapping:<uuid>, where it still exists
-- Returns  nothing

for at = 1, #ARGV, 2 do
  local key = P .. 'mapping:' .. ARGV[at]
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'result', ARGV[at + 1]) end
end
