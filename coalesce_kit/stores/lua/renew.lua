-- token, lease
local key, token, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
local t, s, y = unpack(redis.call('HMGET', key, 't', 's', 'y'))
if t ~= token then
  return 0
end
local done = redis.pcall('HSET', key, 'l', text(now + lease))
if is_refused(done) then
  return done
end
expire(key, s, y, now + lease)
return 1
