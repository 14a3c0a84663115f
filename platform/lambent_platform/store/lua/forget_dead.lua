-- forget_dead.lua: remove dead events.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · then ids
-- Writes   dead:<ident>, deadbytes, ev:<id>
-- Returns  how many were there

local removed = 0
for at = 2, #ARGV do
  if exhume(ARGV[1], ARGV[at]) then
    obliterate(ARGV[at])
    removed = removed + 1
  end
end
if removed > 0 then tally('purged', removed) end
return removed
