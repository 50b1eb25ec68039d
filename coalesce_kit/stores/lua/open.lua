-- channel of announcements, a channel as those that wait have: what this user may not do, by the server's own words
local key, refused = KEYS[1], {}
local function try(...)
  local done = redis.pcall(...)
  -- Not OOM, READONLY and the like: these are about the server, and pass.
  if is_refused(done) and (string.find(done.err, '^NOPERM') or string.find(done.err, '^ERR')) then
    refused[#refused + 1] = select(1, ...) .. ' ' .. select(2, ...) .. ': ' .. done.err
  end
end
try('HSET', key, 't', '1')
try('HMGET', key, 't')
try('HGET', key, 't')
try('HSTRLEN', key, 't')
try('PEXPIREAT', key, text(now + 1000))
try('HDEL', key, 't')
try('DEL', key)
try('SET', key, '1', 'PX', '1000')
try('GET', key)
try('PTTL', key)
try('PEXPIRE', key, '1000')
try('DEL', key)
try('PUBLISH', ARGV[1], '')
try('PUBLISH', ARGV[2], '')
return refused
