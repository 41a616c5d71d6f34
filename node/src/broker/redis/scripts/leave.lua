#!lua flags=allow-oom
-- Ends a lease before its time: the node left by itself, or it was reaped (redis.md 5.6, 5.9).
--
-- KEYS live, gone, meta
-- ARGV incarnation, done (1: nothing of it is left; 0: it is to be reaped)
local live, gone, meta = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZREM', live, ARGV[1]) == 1 then
  redis.call('HSET', meta, 'v', string.format('%.0f', (redis.call('HGET', meta, 'v') or 0) + 1))
end
redis.call('ZADD', gone, string.format('%.0f', ARGV[2] == '1' and -now or now), ARGV[1])
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, 86400) end
return 1
