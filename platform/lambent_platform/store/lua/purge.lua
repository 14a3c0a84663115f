-- purge.lua: remove what a deleted function has left behind.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · 1 where nothing more of it is to be expected
-- Writes   meter:<ident>, dead:<ident>, ev:<id> of what is in it, deadbytes, eventcounts, deleted
-- Returns  1, or 0 where there is a function of this name again, whose all this is now
-- Atomic   a function made meanwhile loses nothing

local ident = ARGV[1]
if redis.call('EXISTS', P .. 'fn:' .. ident) == 1 then
  redis.call('ZREM', P .. 'deleted', ident)
  return 0
end
redis.call('DEL', P .. 'meter:' .. ident)
while true do
  local id = redis.call('LINDEX', P .. 'dead:' .. ident, 0)
  if not id then break end
  exhume(ident, id)
  obliterate(id)
  tally('purged')
end
if ARGV[2] == '1' then redis.call('ZREM', P .. 'deleted', ident) end
return 1
