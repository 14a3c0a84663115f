-- parts_credit.lua: tell workers how much of their streams has been taken.
--
-- KEYS[1]  prefix of the partition
-- ARGV     for each word: worker · inbox item
-- Reads    workers
-- Writes   inbox:<worker>, of workers that are registered: nobody would read another
-- Returns  how many were told

local told = 0
for at = 1, #ARGV, 2 do
  if redis.call('HEXISTS', P .. 'workers', ARGV[at]) == 1 then
    redis.call('RPUSH', P .. 'inbox:' .. ARGV[at], ARGV[at + 1])
    told = told + 1
  end
end
return told
