-- queues/counts.lua: count a queue's messages.
--
-- KEYS[1]  prefix of the partition
-- ARGV     ident · now_ms (event time) · delay_ms of a FIFO queue
-- Returns  { visible, in flight, delayed, when the oldest waiting one was sent ('' for none) }, or nil without a queue
-- Atomic   a message is counted once; what is due counts as visible whether or not anybody has looked

local ident, now_ms = ARGV[1], tonumber(ARGV[2])
local fifo = redis.call('HGET', name('queue', ident), 'fifo')
if not fifo then return false end
local delayed_until = fifo == '1' and now_ms - tonumber(ARGV[3]) or now_ms
local delayed, flight = redis.call('ZCARD', name('qdelay', ident)), redis.call('ZCARD', name('qflight', ident))
local due = redis.call('ZCOUNT', name('qdelay', ident), '-inf', delayed_until)
local back = redis.call('ZCOUNT', name('qflight', ident), '-inf', now_ms)
local oldest = redis.call('ZRANGE', name('qready', ident), 0, 0, 'WITHSCORES')[2] or ''
return { redis.call('ZCARD', name('qready', ident)) + due + back, flight - back, delayed - due, oldest }
