-- channel of announcements
local key = KEYS[1]
local t, w = unpack(redis.call('HMGET', key, 't', 'w'))
local existed = redis.call('DEL', key)
if t then
  wake(w, frame('voided') .. frame(key) .. frame(t))
end
redis.pcall('PUBLISH', ARGV[1], frame('dropped') .. frame(key))
return existed
