-- queues/wait.lua: be told when something arrives in a queue.
--
-- KEYS[1]  prefix of the partition
-- ARGV     process · seconds after which a process that says nothing more is forgotten · then idents
-- Writes   qwait:<ident>
-- Returns  how many of the queues there are
-- Atomic   who waits is told of everything that comes after this

local found = 0
for at = 3, #ARGV do
  local waiters = name('qwait', ARGV[at])
  if redis.call('EXISTS', name('queue', ARGV[at])) == 1 then
    redis.call('SADD', waiters, ARGV[1])
    redis.call('EXPIRE', waiters, ARGV[2])
    found = found + 1
  end
end
return found
