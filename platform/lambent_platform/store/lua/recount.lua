-- recount.lua: make the counts of running calls true again, from the leases and the queues.
--
-- KEYS[1]  prefix of the partition
-- Writes   running
-- Returns  how many calls run or wait

local totals, all = {}, 0
local function add(ident, shared)
  totals[ident] = (totals[ident] or 0) + 1
  if shared == '1' then totals['*'] = (totals['*'] or 0) + 1 end
  all = all + 1
end
for _, worker in ipairs(redis.call('ZRANGE', P .. 'beats', 0, -1)) do
  for _, held in ipairs(redis.call('HVALS', P .. 'held:' .. worker)) do
    local lease = split(held, '|')
    add(lease[2], lease[3])
  end
end
for _, target in ipairs(redis.call('SMEMBERS', P .. 'demand')) do
  for _, raw in ipairs(redis.call('HVALS', P .. 'waitmsg:' .. target)) do
    local parts = split(raw:match('^(.-)\n'), '|')
    add(parts[2], parts[1])
  end
end
redis.call('DEL', P .. 'running')
for ident, calls in pairs(totals) do redis.call('HSET', P .. 'running', ident, calls) end
return all
