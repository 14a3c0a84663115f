-- replace.lua: put calls that no environment has taken back in front of their queues.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · then for each call: id · message (header \n payload)
-- Returns  how many went back

local worker = ARGV[1]
local moved = 0
for at = 2, #ARGV, 2 do
  if requeue(worker, ARGV[at], ARGV[at + 1]) then moved = moved + 1 end
end
return moved
