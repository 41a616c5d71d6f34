#!lua flags=allow-oom
-- What an incarnation may have written, noted before it writes (redis.md 5.5).
--
-- KEYS registry ("c<namespace>", later others; "#x" once closed)
-- ARGV operation (add, close, drop), key ttl s, items...
-- Answers 1, or 0 where an item may not be added any more.
local registry, operation = KEYS[1], ARGV[1]
if operation == 'add' then
  if redis.call('SISMEMBER', registry, '#x') == 1 then return 0 end
  redis.call('SADD', registry, unpack(ARGV, 3))
elseif operation == 'close' then
  redis.call('SADD', registry, '#x')
else
  redis.call('SREM', registry, unpack(ARGV, 3))
end
redis.call('EXPIRE', registry, ARGV[2])
return 1
