#!lua flags=allow-oom
-- Reads a page of a topic's history, and the head it belongs to (redis.md 1.6).
--
-- KEYS head ("1", mode 1 B, epoch 8 B, mark 4 B, offset in decimal),
--      list (items; the last one has the head's offset)
-- ARGV from, offset, items at most, bytes: from that offset up, or from the oldest item there is
--   or last, items at most, bytes: the newest items
-- Answers {head or false, offset of the first item or 0, items in order...} or {CORRUPT}. A page ends with the
--      item that reaches `bytes`, so it has at least one if there is one.
--
-- It may run in a full Redis, and is not marked as one that only reads: a replica would answer it then.
local head_key, list = KEYS[1], KEYS[2]
local count_max, bytes_max = tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])

local head = redis.call('GET', head_key)
if not head then return {false, '0'} end
if string.sub(head, 1, 1) ~= '1' or not string.find(head, '^%d+$', 15) then return {'CORRUPT'} end
local offset = tonumber(string.sub(head, 15))
if offset >= 1e14 then return {'CORRUPT'} end
local oldest = math.max(offset - redis.call('LLEN', list) + 1, 1)

local page, bytes = {}, 0
local function is_full() return #page >= count_max or (#page > 0 and bytes >= bytes_max) end
local function take(item)
  if is_full() then return end
  page[#page + 1], bytes = item, bytes + #item
end
-- Items may be large: no more than 16 are read that the page has no room for.
local function items(first, last) return redis.call('LRANGE', list, first - offset - 1, last - offset - 1) end

local answer = {head, '0'}
if ARGV[1] == 'from' then
  local first = math.max(tonumber(ARGV[2]), oldest)
  local at = first
  while at <= offset and not is_full() do
    local last = math.min(at + 15, first + count_max - 1, offset)
    for _, item in ipairs(items(at, last)) do take(item) end
    at = last + 1
  end
  for place = 1, #page do answer[2 + place] = page[place] end
  if #page > 0 then answer[2] = string.format('%.0f', first) end
else
  local at = offset
  while at >= oldest and not is_full() do
    local first = math.max(at - 15, offset - count_max + 1, oldest)
    local chunk = items(first, at)
    for place = #chunk, 1, -1 do take(chunk[place]) end
    at = first - 1
  end
  for place = #page, 1, -1 do answer[#answer + 1] = page[place] end
  if #page > 0 then answer[2] = string.format('%.0f', offset - #page + 1) end
end
return answer
