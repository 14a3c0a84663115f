-- queues/write.lua: create a queue or change its record.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · generation it was read at ('' to create) · record (JSON) · incarnation · 1 for FIFO · ident of the
--          dead-letter queue ('' for none)
-- Writes   queue:<ident>, queues, deadletters (ident → ident of its dead-letter queue)
-- Returns  the new generation, or 0 where the queue is not as it was read
-- Atomic   a record is written against the generation at which it was read, which is never used twice

local ident, generation = ARGV[1], ARGV[2]
local found = redis.call('HGET', name('queue', ident), 'gen') or ''
if found ~= generation then return 0 end
local new = redis.call('INCR', P .. 'queue-generation')
redis.call('HSET', name('queue', ident), 'gen', new, 'record', ARGV[3], 'incarnation', ARGV[4], 'fifo', ARGV[5])
redis.call('ZADD', P .. 'queues', 0, ident)
if ARGV[6] == '' then
  redis.call('HDEL', P .. 'deadletters', ident)
else
  redis.call('HSET', P .. 'deadletters', ident, ARGV[6])
end
-- A shorter delay or longer retention may make something receivable.
arrive(ident)
return new
